"""Client id metadata documents: how they are read, and what having one fetched costs, since anybody can."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from servers.marketplace.authorization import clients as documents
from servers.marketplace.authorization.clients import AT_ONCE, LARGEST_DOCUMENT, Clients
from servers.marketplace.catalogue.mirror import _page
from servers.marketplace.gateway import outgoing as connections
from servers.marketplace.gateway.asking import Place, Session, ask_legacy, ask_modern
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.sessions import SessionSeal
from shared.errors import Overloaded, Unavailable

SEAL = SessionSeal([b"0" * 32])


class Site:
    """A site with documents."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.encodings: set[str | None] = set()
        self.held, self.open = asyncio.Semaphore(0), asyncio.Event()
        self.base = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """The document; in two pieces, late, large, or not at all, as the path says."""
        self.asked[request.path] += 1
        self.encodings.add(request.headers.get("accept-encoding"))
        if request.path.startswith("/late"):
            self.held.release()
            await self.open.wait()
        if request.path.startswith("/away"):
            status, place = int(request.path.split("/")[2]), {"location": self.base + "/trap"}
            return web.Response(status=status, headers=place, text='{"servers": []}')
        if request.path.startswith("/none"):
            return web.Response(status=404)
        told: dict[str, Any] = {"client_id": self.base + request.path, "redirect_uris": ["https://a.example/back"]}
        document = orjson.dumps(told | ({"more": "x" * LARGEST_DOCUMENT} if request.path == "/large" else {}))
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (document[:40], document[40:]):
            await response.write(piece)
            await asyncio.sleep(0)
        await response.write_eof()
        return response


@asynccontextmanager
async def looking_up() -> AsyncIterator[tuple[Clients, Site]]:
    site, app, outgoing = Site(), web.Application(), Outgoing()
    app.router.add_route("*", "/{path:.*}", site.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    listener = await asyncio.get_running_loop().create_server(runner.server or (lambda: None), "127.0.0.1", 0)  # pyright: ignore
    site.base = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield Clients(SEAL, outgoing, inside=True), site
    finally:
        site.open.set()
        outgoing.close()
        listener.close()
        await runner.cleanup()


@asynccontextmanager
async def opened() -> AsyncIterator[Outgoing]:
    outgoing = Outgoing()
    try:
        yield outgoing
    finally:
        outgoing.close()


@pytest.mark.requirement("A-06")
async def test_a_document_is_read_to_its_end_as_it_is_and_never_over_the_bound() -> None:
    async with looking_up() as (clients, site):
        assert await clients.get(site.base + "/pieces") is not None
        assert await clients.get(site.base + "/large") is None
        assert site.encodings == {"identity"}


async def test_what_is_no_address_names_no_client_and_is_looked_up_nowhere() -> None:
    async with looking_up() as (clients, site):
        for named in ("https://[", "https://[::1/a", "https://℀.example/a", "https://a.example", f"{site.base}/../a"):
            assert await clients.get(named) is None
        assert not site.asked


@pytest.mark.requirement("I-12")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_nothing_that_the_marketplace_asks_for_itself_is_fetched_from_where_a_redirect_says(status: int) -> None:
    """A client's document, a registry's page, what it asks of a server. (Calls are in the tests of the gateway.)"""
    async with looking_up() as (clients, site), opened() as outgoing:
        away = f"{site.base}/away/{status}"
        assert await clients.get(away) is None
        place = Place(away, operated=True, header=("authorization", "Bearer of the platform"))
        told = [
            await ask_modern(outgoing, place, "tools/list", {}),
            await ask_legacy(outgoing, place, "tools/list", {}, Session()),
        ]
        assert [(each.status, each.result) for each in told] == [(status, None)] * 2
        assert (await _page_of(outgoing, away)) == "What answers at this address is no registry of MCP servers."
        assert "/trap" not in site.asked
        assert sum(site.asked.values()) == 4


async def _page_of(outgoing: Outgoing, registry: str) -> str:
    with pytest.raises(Unavailable) as refused:
        await _page(outgoing.client(registry, operated=True), registry, {})
    return refused.value.message


LINK_LOCAL = ["169.254.169.254", "fe80::1%lo", "::ffff:169.254.169.254"]
INSIDE = ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", *LINK_LOCAL]


@pytest.mark.requirement("I-12")
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    ("operated", "told"), [*((False, each) for each in INSIDE), *((True, each) for each in LINK_LOCAL)]
)
async def test_to_a_name_that_leads_inside_no_connection_is_made(
    monkeypatch: pytest.MonkeyPatch, operated: bool, apart: bool, told: str
) -> None:
    """As if a public name had been pointed there since it was registered."""
    reached: list[object] = []
    listener = await asyncio.start_server(lambda *each: reached.append(each), ("127.0.0.1", "::1"), 0)
    port, family = listener.sockets[0].getsockname()[1], socket.AF_INET6 if ":" in told else socket.AF_INET
    found = (family, socket.SOCK_STREAM, 6, "", (told, port, 0, 0) if ":" in told else (told, port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [found])
    outgoing, url = Outgoing(), f"https://public.example:{port}/mcp"
    try:
        with pytest.raises(OSError, match="no allowed address"):
            await outgoing.client(url, operated=operated, apart=apart).request("GET", url, []).__aenter__()
        await asyncio.sleep(0)
        assert reached == []
    finally:
        outgoing.close()
        listener.close()


@pytest.mark.requirement("I-12")
async def test_a_document_is_fetched_once_at_a_time_and_a_failure_is_remembered_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with looking_up() as (clients, site):
        late, none = site.base + "/late", site.base + "/none"
        asking = [asyncio.create_task(clients.get(late)) for _ in range(20)]
        await site.held.acquire()
        asking[0].cancel()
        site.open.set()
        found = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert None not in found
        assert [await clients.get(none) for _ in range(3)] == [None] * 3
        assert site.asked == {"/late": 1, "/none": 1}
        monkeypatch.setattr(documents, "FAILED_S", -1.0)
        assert [await clients.get(site.base + "/none2") for _ in range(2)] == [None] * 2
        assert site.asked["/none2"] == 2


@pytest.mark.requirement("I-12")
async def test_beyond_a_few_documents_at_once_the_next_may_come_again_and_then_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(documents, "KEPT", 5)
    async with looking_up() as (clients, site):
        asking = [asyncio.create_task(clients.get(f"{site.base}/late{number}")) for number in range(AT_ONCE)]
        for _ in asking:
            await site.held.acquire()
        with pytest.raises(Overloaded) as caught:
            await clients.get(site.base + "/other")
        assert (caught.value.retryable, (caught.value.retry_after or 0) > 0) == (True, True)
        site.open.set()
        assert None not in await asyncio.gather(*asking)
        assert await clients.get(site.base + "/other") is not None
        for number in range(20):
            assert await clients.get(f"{site.base}/none{number}") is None
        assert len(clients._documents) == len(clients._failures) == 5


@pytest.mark.requirement("I-12")
async def test_a_name_that_nobody_answers_for_holds_up_no_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    answered, asked = threading.Event(), threading.Semaphore(0)

    def silent(*_: Any, **__: Any) -> Any:
        asked.release()
        answered.wait(120)
        raise socket.gaierror(-3, "no answer")

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    loop, outgoing = asyncio.get_running_loop(), Outgoing()
    loop.set_default_executor(ThreadPoolExecutor(2))
    clients = Clients(SEAL, outgoing, inside=False)
    try:
        asking = [asyncio.create_task(clients.get(f"https://h{each}.example/client")) for each in range(AT_ONCE)]
        with ThreadPoolExecutor(1) as aside:
            for _ in asking:
                assert await loop.run_in_executor(aside, asked.acquire, True, 60.0)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "done"), 60) == "done"
        answered.set()
        assert await asyncio.gather(*asking) == [None] * AT_ONCE
    finally:
        answered.set()
        outgoing.close()


@pytest.mark.requirement("I-12")
async def test_of_addresses_that_anybody_can_name_nothing_is_remembered_and_of_others_not_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "KEPT", 10)
    outgoing = Outgoing()
    try:
        for number in range(25):
            outgoing.client(f"https://a.example/{number}", operated=False, apart=True)
        assert not outgoing._allowed
        with pytest.raises(Unavailable):
            outgoing.client("https://127.0.0.1/client", operated=False, apart=True)
        for number in range(25):
            outgoing.client(f"https://a.example/{number}", operated=False)
        assert 0 < len(outgoing._allowed) <= 10
    finally:
        outgoing.close()


async def test_of_names_that_were_looked_up_few_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "NAMES", 10)
    way = connections._Way(None, inside=True)
    for number in range(1, 26):
        assert (await way._addresses(f"127.0.0.{number}", 80))[0][4] == (f"127.0.0.{number}", 80)
        assert 0 < len(way._names) <= 10
