"""A worker's requests to the other workers of its machine, over sockets in a folder that their account alone can enter.

What the gateway holds of a call between two requests is in one process. So a call goes to the worker that holds what
it needs: a process of a package (the first one), or the gateway's session with a server of the older era (one for each
caller and server). What callers say of calls on their way, in requests of their own, is told to all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from zlib import crc32

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.marketplace.gateway.client import Client, Origin
from servers.marketplace.gateway.message import Message
from servers.marketplace.gateway.route import Route
from servers.marketplace.gateway.wire import Connection
from servers.marketplace.workers.counting import labelled, together
from servers.marketplace.workers.worker import Worker
from shared.auth import Principal
from shared.client.stream import read_whole
from shared.errors import Unavailable
from shared.serving.hanging_up import hung_up
from shared.serving.metrics import HEALTH_WITHIN_S, Measured, check_near
from shared.telemetry import event

PASSED_ON = "passed on"
"""The outcome of a call that another worker makes, which counts it; and the key of a request's scope that came so."""
OF_OTHER_REQUESTS = frozenset({"", "notifications/cancelled"})
"""Methods of what is said of a call on its way: an answer has none."""
TOLD_S = 2.0
MEASURED_S = HEALTH_WITHIN_S + 1
HOP = frozenset({b"connection", b"keep-alive", b"transfer-encoding"})
OWN = HOP | {b"content-length", b"host", b"user-agent"}
"""What a request to another worker has of its own; but it names the same host, which is looked at there."""
AT_ONCE = 65_536


class Peers:
    """The other workers. Alone, a worker has none and everything is its own."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._clients: dict[int, Client] = {}

    async def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()

    def elsewhere(self, scope: Scope, caller: Principal, route: Route) -> int | None:
        """The worker that makes a call for which the gateway holds something; None: this one."""
        if self._worker.alone or PASSED_ON in scope:
            return None
        home = 0 if route.package is not None else self._home(caller, route)
        return home if home != self._worker.number else None

    def _home(self, caller: Principal, route: Route) -> int:
        whose = "\n".join((caller.subject, caller.customer or "", route.server_name))
        return crc32(whose.encode()) % self._worker.count

    async def pass_on(self, number: int, scope: Scope, message: Message, receive: Receive, send: Send) -> str:
        """Let another worker serve a request, and bring its answer. Where the caller hangs up, so does this.

        Raises:
            Unavailable: that worker has ended, and nothing has been answered yet.
        """
        work = asyncio.create_task(self._ask(number, scope, message.body(), send))
        gone = asyncio.create_task(hung_up(receive))
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for each in (work, gone):
                each.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
        return PASSED_ON

    async def tell(self, scope: Scope, message: Message) -> None:
        """Let all others hear what is said of a call on its way; only the one that has it does something."""
        if self._worker.alone or PASSED_ON in scope or message.method not in OF_OTHER_REQUESTS:
            return

        async def nobody(_: object) -> None:
            """Their answers are the same as this worker's."""

        async def told(number: int) -> None:
            async with asyncio.timeout(TOLD_S):
                await self._ask(number, scope, message.body(), nobody)

        await self._of_each(told)

    async def metrics(self, request: Request, measured: Measured) -> Response:
        """The metrics of all workers; of one that does not answer in time, none.

        Raises:
            Forbidden: the request comes from another machine, or through a proxy.
        """
        check_near(request)
        found: dict[int, bytes] = {}

        async def asked(number: int) -> None:
            ask = self._client(number).request("GET", "http://worker/metrics", [])
            async with asyncio.timeout(MEASURED_S), ask as answer:
                found[number] = await read_whole(answer)

        (own, media_type), _ = await asyncio.gather(measured(), self._of_each(asked))
        found[self._worker.number] = labelled(own, self._worker.number)
        return Response(together(found[number] for number in sorted(found)), media_type=media_type)

    async def _of_each(self, ask: Callable[[int], Awaitable[None]]) -> None:
        others = [number for number in range(self._worker.count) if number != self._worker.number]
        results = await asyncio.gather(*(ask(number) for number in others), return_exceptions=True)
        for number, result in zip(others, results, strict=True):
            if isinstance(result, BaseException):
                event("worker_not_reached", level=logging.WARNING, worker=number, code=type(result).__name__)

    async def _ask(self, number: int, scope: Scope, body: bytes, send: Send) -> None:
        started = False
        headers = [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"] if k not in OWN]
        host = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"host"), None)
        url = "http://worker" + (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
        query = scope.get("query_string", b"").decode("latin-1")
        try:
            async with self._client(number).request(scope["method"], url, headers, body, query, host) as answer:
                kept = [(name, value) for name, value in answer.headers if name not in HOP]
                await send({"type": "http.response.start", "status": answer.status, "headers": kept})
                started = True
                async for chunk in answer:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:
            if not started:
                raise Unavailable("The call was lost on its way: try again.", retry_after=1.0) from None
            event("answer_cut_off", level=logging.WARNING, worker=number)  # the server ends what is not whole

    def _client(self, number: int) -> Client:
        client = self._clients.get(number)
        if client is None:
            # A new connection for each request: one that is kept may be closed as it is used again.
            way = partial(_connect, str(self._worker.lines[number]))
            client = self._clients[number] = Client(way, keeps=False, at_once=AT_ONCE)
        return client


async def _connect(path: str, origin: Origin) -> Connection:
    _, connection = await asyncio.get_running_loop().create_unix_connection(Connection, path)
    return connection


def private(app: ASGIApp, worker: Worker, measured: Measured) -> ASGIApp:
    """The application as the other workers reach it: what they pass on goes no further."""

    async def served(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/metrics":
            told = labelled((await measured())[0], worker.number)
            await Response(told, media_type="text/plain")(scope, receive, send)
        else:
            await app({**scope, PASSED_ON: True}, receive, send)

    return served
