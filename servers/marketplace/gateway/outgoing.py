"""Connections to upstream servers, to no address that is not allowed. A name is checked where it is resolved, and that
very address is connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache, partial
from typing import cast

from aiohappyeyeballs import AddrInfoType, start_connection

from servers.marketplace.catalogue.address import check_address, ip_allowed
from servers.marketplace.gateway.client import Client, Origin
from servers.marketplace.gateway.wire import Connection
from shared.certificates import fault
from shared.errors import InvalidInput, Unavailable

NAMES_S = 10.0
"""How long the addresses of a name are remembered."""
NAMES = 1_000
"""Most names that are; each takes 1.2 KB, and anybody can have one looked up."""
NEXT_ADDRESS_S = 0.25
"""When the next address of a name is tried beside the one before (RFC 8305)."""
KEPT = 10_000
RESOLVERS = 16


def unreachable(error: BaseException, what: str = "server") -> Unavailable:
    """The error of an upstream that a request did not get to; a certificate's fault is told, for waiting mends none."""
    if (wrong := fault(error)) is not None:
        return Unavailable(f"The TLS certificate of the {what} {wrong}.")
    return Unavailable(f"The {what} cannot be reached: try again later.")


class Outgoing:
    """The clients of this process: one for the operator's own servers, whose addresses may be loopback or private, and
    one for everybody else's. And the same apart, for addresses that anybody can name: their names are resolved by a few
    threads of their own, so that one that nobody answers for holds up no other work."""

    def __init__(self) -> None:
        self._resolvers = ThreadPoolExecutor(RESOLVERS, "resolver")
        self._shared, self._apart = (
            {inside: Client(_Way(threads, inside=inside).connect) for inside in (True, False)}
            for threads in (None, self._resolvers)
        )
        self._allowed: set[tuple[str, bool]] = set()

    def client(self, url: str, *, operated: bool, apart: bool = False) -> Client:
        """The client for an address.

        Args:
            apart: anybody can name this address; nothing is remembered of it.

        Raises:
            Unavailable: nobody may be sent there.
        """
        if apart or (url, operated) not in self._allowed:
            try:
                check_address(url, inside=operated)
            except InvalidInput:
                raise Unavailable(
                    "The server's address is not allowed: its operator has to register another."
                ) from None
            if len(self._allowed) >= KEPT:
                self._allowed.clear()
            if not apart:
                self._allowed.add((url, operated))
        return (self._apart if apart else self._shared)[operated]

    def close(self) -> None:
        """Close the connections that nobody uses; each other one ends with its exchange."""
        for client in (*self._shared.values(), *self._apart.values()):
            client.close()
        self._resolvers.shutdown(wait=False, cancel_futures=True)


class _Way:
    """Resolves a name, leaves out addresses that nobody may be sent to, and connects to one of the others.

    Args:
        threads: what resolves names; None: the loop's own.
    """

    def __init__(self, threads: ThreadPoolExecutor | None, *, inside: bool) -> None:
        self._threads = threads
        self._inside = inside
        self._tls: ssl.SSLContext | None = None
        self._names: dict[tuple[str, int], tuple[float, asyncio.Task[Sequence[AddrInfoType]]]] = {}

    async def connect(self, origin: Origin) -> Connection:
        """A new connection.

        Raises:
            OSError: there is none.
        """
        found = await self._addresses(origin.host, origin.port)
        allowed = [each for each in found if ip_allowed(str(each[4][0]), inside=self._inside)]
        if not allowed:
            raise OSError("no allowed address")
        context = await self._trusted() if origin.scheme == "https" else None
        port = await start_connection(allowed, happy_eyeballs_delay=NEXT_ADDRESS_S, interleave=1)
        _, connection = await asyncio.get_running_loop().create_connection(
            Connection, sock=port, ssl=context, server_hostname=origin.host if context else None
        )
        return connection

    async def _trusted(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = await asyncio.to_thread(_trusted)
        return self._tls

    async def _addresses(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """What a name leads to; callers at the same time share one question."""
        loop = asyncio.get_running_loop()
        until, task = self._names.get((host, port), (0.0, None))
        if task is None or loop.time() >= until:
            if len(self._names) >= NAMES:
                self._names.clear()
            task = loop.create_task(self._ask(host, port), name="resolver")
            self._names[host, port] = loop.time() + NAMES_S, task
            task.add_done_callback(lambda done: self._asked((host, port), done))
        return await asyncio.shield(task)

    def _asked(self, name: tuple[str, int], task: asyncio.Task[Sequence[AddrInfoType]]) -> None:
        """What is no answer is not remembered."""
        if (task.cancelled() or task.exception()) and self._names.get(name, (0.0, None))[1] is task:
            del self._names[name]

    async def _ask(self, host: str, port: int) -> Sequence[AddrInfoType]:
        ask = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        with suppress(ValueError):  # an address needs no resolver
            ipaddress.ip_address(host.partition("%")[0])
            return cast("Sequence[AddrInfoType]", ask(flags=socket.AI_NUMERICHOST))
        found = await asyncio.get_running_loop().run_in_executor(
            self._threads, partial(ask, flags=socket.AI_ADDRCONFIG)
        )
        return cast("Sequence[AddrInfoType]", found)


@lru_cache(1)
def _trusted() -> ssl.SSLContext:
    """What this machine trusts. Reading it takes 2.5 MB and some time, for the first https address."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
