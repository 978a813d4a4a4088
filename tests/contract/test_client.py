"""Calling another server: answers, errors, progress, tokens, cancellation, outages."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from shared.client import StaticKey, TokenSource, Upstream
from shared.errors import (
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidInput,
    NotFound,
    Overloaded,
    TooLarge,
    Unauthenticated,
    Unavailable,
)
from shared.settings import Settings
from tests.serving_rig import HANGS_S, Answer, Events, Issuer, Vector, build, running


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), max_body_bytes=100_000)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def base(settings: Settings, issuer: Issuer, events: Events) -> AsyncIterator[str]:
    async with running(build(settings, issuer, events), settings) as address:
        yield address


@pytest.fixture
async def rig(base: str, settings: Settings, issuer: Issuer) -> AsyncIterator[Upstream]:
    async with Upstream(base + "/mcp", key=issuer.token(settings), name="rig") as upstream:
        yield upstream


class Authority:
    """The token endpoint's side of the protocol, on loopback; counts what it was asked."""

    def __init__(self, settings: Settings, issuer: Issuer) -> None:
        self.settings, self.issuer = settings, issuer
        self.asked: list[dict[str, str]] = []
        self.lifetime = 900
        self.refuse = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Settings]:
        server = await asyncio.start_server(self._handle, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            yield Settings(home=self.settings.home, marketplace_url=f"http://127.0.0.1:{port}")

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        size = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        form = {name: values[0] for name, values in parse_qs((await reader.readexactly(int(size[1]))).decode()).items()}  # type: ignore[index]
        self.asked.append(form)
        status, answer = self._answer(form)
        body = json.dumps(answer).encode()
        writer.write(b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-type: application/json\r\n" % status)
        writer.write(b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    def _answer(self, form: dict[str, str]) -> tuple[int, dict[str, object]]:
        if self.refuse or form["client_secret"] != "secret":
            told = {"code": "unauthenticated", "message": "no", "retryable": False}
            return 401, {"error": "invalid_client", "0711/error": told}
        number = len(self.asked)
        token = self.issuer.token(self.settings, customer=form.get("customer"), jti=f"tok_{number}")
        return 200, {"access_token": token, "expires_in": self.lifetime, "token_type": "Bearer"}


async def test_an_answer_is_the_contract(rig: Upstream) -> None:
    assert await rig.call("echo", {"text": "hi", "number": 3}, Answer) == Answer(text="hi", number=3)
    assert await rig.call("echo", {"text": "hi"}) == {"text": "hi", "number": 0}
    assert (await rig.call("vector", {}, Vector)).values == [1.0, 2.0]


async def test_an_error_is_the_same_class_on_this_side(rig: Upstream) -> None:
    with pytest.raises(Overloaded) as busy:
        await rig.call("fail", {"kind": "overloaded"}, Answer)
    assert (busy.value.message, busy.value.retry_after) == ("All places are taken.", 2.5)
    with pytest.raises(NotFound, match="no such thing"):
        await rig.call("fail", {"kind": "not_found"}, Answer)
    with pytest.raises(Internal):
        await rig.call("fail", {"kind": "other"}, Answer)
    with pytest.raises(InvalidInput, match="`number`"):
        await rig.call("echo", {"text": "x", "number": 10}, Answer)
    with pytest.raises(InvalidInput):
        await rig.call("no_such_tool", {}, Answer)
    with pytest.raises(Forbidden, match="admin"):
        await rig.call("change", {}, Answer)
    with pytest.raises(TooLarge):
        await rig.call("echo", {"text": "x" * 100_001}, Answer)


async def test_an_answer_that_is_not_the_contract_is_a_defect(rig: Upstream) -> None:
    with pytest.raises(Internal):
        await rig.call("echo", {"text": "x"}, Vector)


async def test_what_json_cannot_hold_is_not_sent(rig: Upstream) -> None:
    with pytest.raises(InvalidInput):
        await rig.call("echo", {"text": "x", "number": float("nan")}, Answer)


@pytest.mark.requirement("M-05")
async def test_progress_arrives_in_order(rig: Upstream) -> None:
    seen: list[tuple[float, float | None, str]] = []

    async def note(done: float, total: float | None, text: str) -> None:
        seen.append((done, total, text))

    await rig.call("count_up", {"steps": 3}, Answer, on_progress=note)
    assert seen == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.requirement("M-05")
async def test_a_caller_that_is_cancelled_cancels_the_tool(rig: Upstream, events: Events) -> None:
    waiting = asyncio.create_task(rig.call("wait", {}, Answer))
    async with asyncio.timeout(HANGS_S):
        await events.started.wait()
        waiting.cancel()
        await events.cancelled.wait()
    assert (await rig.call("echo", {"text": "on"}, Answer)).text == "on"


@pytest.mark.requirement("M-05")
async def test_a_deadline_here_cancels_the_tool_there(rig: Upstream, events: Events) -> None:
    with pytest.raises(DeadlineExceeded, match="rig"):
        await rig.call("wait", {}, Answer, deadline_s=0.2)
    async with asyncio.timeout(HANGS_S):
        await events.cancelled.wait()


async def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    async with Upstream("http://127.0.0.1:9/mcp", key="x", name="cradle") as upstream:
        with pytest.raises(Unavailable, match="cradle does not answer: start it with `0711 up`"):
            await upstream.call("echo", {}, Answer)


async def test_a_wrong_key_is_not_tried_twice(base: str) -> None:
    async with Upstream(base + "/mcp", StaticKey("wrong")) as upstream:
        with pytest.raises(Unauthenticated):
            await upstream.call("echo", {"text": "x"}, Answer)


@pytest.mark.requirement("A-02")
async def test_each_customer_has_its_own_token_fetched_once(base: str, settings: Settings, issuer: Issuer) -> None:
    authority = Authority(settings, issuer)
    async with authority.open() as known:
        tokens = TokenSource(known, "orchestrator", "secret")
        async with Upstream(base + "/mcp", tokens) as upstream:
            calls = [upstream.call("whoami", {}, Answer, name) for name in ("acme", "other", None) for _ in range(10)]
            told = [answer.text.split()[1] for answer in await asyncio.gather(*calls)]
    assert told == ["acme"] * 10 + ["other"] * 10 + ["None"] * 10
    assert sorted(each.get("customer", "") for each in authority.asked) == ["", "acme", "other"]
    assert {each["resource"] for each in authority.asked} == {base + "/mcp"}


async def test_a_refused_token_is_replaced_once(base: str, settings: Settings, issuer: Issuer) -> None:
    stranger = Authority(settings, Issuer("one"))
    async with stranger.open() as known:
        tokens = TokenSource(known, "orchestrator", "secret")
        async with Upstream(base + "/mcp", tokens, name="rig") as upstream:
            with pytest.raises(Unavailable, match="rig refuses"):
                await upstream.call("whoami", {}, Answer)
            assert len(stranger.asked) == 2
            stranger.issuer = issuer
            await upstream.call("whoami", {}, Answer)
            assert len(stranger.asked) == 3


async def test_a_credential_that_has_ended_says_so(base: str, settings: Settings, issuer: Issuer) -> None:
    authority = Authority(settings, issuer)
    authority.refuse = True
    async with authority.open() as known, Upstream(base + "/mcp", TokenSource(known, "x", "secret")) as upstream:
        with pytest.raises(Unauthenticated, match="credential"):
            await upstream.call("whoami", {}, Answer)


async def test_a_marketplace_that_is_not_there_is_named(base: str, tmp_path: Path) -> None:
    away = Settings(home=tmp_path, marketplace_url="http://127.0.0.1:9")
    async with Upstream(base + "/mcp", TokenSource(away, "x", "secret")) as upstream:
        with pytest.raises(Unavailable, match="marketplace does not answer"):
            await upstream.call("whoami", {}, Answer)


async def test_a_hundred_calls_at_once_get_their_own_answers(rig: Upstream) -> None:
    answers = await asyncio.gather(*(rig.call("echo", {"text": str(number)}, Answer) for number in range(100)))
    assert [answer.text for answer in answers] == [str(number) for number in range(100)]
