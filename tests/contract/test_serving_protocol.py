"""What a client of either era sees over HTTP: lists, answers, errors, progress, cancellation, deadlines."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

import httpx2
import orjson
import pytest
from mcp import MCPError
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import Field, ValidationError

from shared.auth import GivenKeys, TokenVerifier
from shared.contracts.model import Contract
from shared.errors import META, Unavailable
from shared.serving.failures import invalid_arguments
from shared.settings import Settings
from shared.telemetry import LineFormatter
from tests.serving_rig import HANGS_S, Events, Issuer, build, envelope, headers_for, legacy, modern, running

ERAS = [modern, legacy]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
def token(settings: Settings, issuer: Issuer) -> str:
    return issuer.token(settings)


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=HANGS_S) as opened:
        yield opened


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
async def base(settings: Settings, issuer: Issuer, events: Events) -> AsyncIterator[str]:
    async with running(build(settings, issuer, events), settings) as address:
        yield address


@pytest.fixture
def log(base: str) -> Iterator[io.StringIO]:
    """What the process logs from now on."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(LineFormatter("rig"))
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def message(response: httpx2.Response) -> dict[str, Any]:
    """The JSON-RPC answer, from a JSON body or the last event of a stream."""
    if response.headers["content-type"].startswith("text/event-stream"):
        return [orjson.loads(line[5:]) for line in response.text.splitlines() if line.startswith("data:")][-1]
    return response.json()


def connected(base: str, token: str, mode: str, http: httpx2.AsyncClient) -> Client:
    http.headers["authorization"] = f"Bearer {token}"
    return Client(streamable_http_client(base + "/mcp", http_client=http), mode=mode)


class Later:
    """A verifier that cannot find out who is calling, from the second call on."""

    def __init__(self, inner: Any) -> None:
        self._inner, self.away = inner, False

    async def verify(self, token: str) -> Any:
        if self.away:
            raise Unavailable("The registry does not answer now. Try again in a moment.", retry_after=1.0)
        return await self._inner.verify(token)


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_shows_why_a_request_was_refused_before_it_was_read(
    settings: Settings, issuer: Issuer, token: str, client: httpx2.AsyncClient, mode: str
) -> None:
    verifier = Later(TokenVerifier.of(settings, "cradle", GivenKeys(issuer.jwks)))
    served = running(build(settings, issuer, verifier=verifier), settings)
    async with served as base, connected(base, token, mode, client) as session:
        verifier.away = True
        with pytest.raises(MCPError, match=r"The registry does not answer now.* Retry after 1 s") as refused:
            await session.call_tool("echo", {"text": "a"})
        assert refused.value.error.data[META]["retryable"] is True
        answer = await modern(client, base, token, "echo", {"text": "a"})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        verifier.away = False


@pytest.mark.requirement("A-05")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_shows_which_scope_is_missing(
    settings: Settings, issuer: Issuer, client: httpx2.AsyncClient, mode: str
) -> None:
    served = running(build(settings, issuer), settings)
    async with served as base, connected(base, issuer.token(settings), mode, client) as session:
        with pytest.raises(MCPError, match="needs the scope admin: ask for a token that has it"):
            await session.call_tool("change", {})


@pytest.mark.requirement("M-01", "M-03")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_of_either_era_lists_calls_reads_and_sees_progress(
    base: str, token: str, client: httpx2.AsyncClient, mode: str
) -> None:
    seen: list[tuple[float, float | None, str | None]] = []

    async def note(done: float, total: float | None, text: str | None) -> None:
        seen.append((done, total, text))

    async with connected(base, token, mode, client) as mcp:
        first, second = await mcp.list_tools(), await mcp.list_tools()
        assert first.tools == second.tools
        for tool in first.tools:
            assert tool.title, tool.name
            assert "Use " in (tool.description or ""), tool.name
            assert tool.output_schema, tool.name
            assert tool.input_schema["additionalProperties"] is False, tool.name
            assert tool.annotations is not None, tool.name
            hints = tool.annotations.model_dump(exclude={"title"})
            assert None not in hints.values(), tool.name
        result = await mcp.call_tool("count_up", {"steps": 3}, progress_callback=note)
        assert result.structured_content == {"text": "done", "number": 3}
        note_text = await mcp.read_resource("rig://notes/abc")
        assert orjson.loads(note_text.contents[0].text) == {"text": "abc", "number": 0}
    assert seen == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]


@pytest.mark.requirement("M-03")
@pytest.mark.parametrize("era", ["modern", "legacy"])
async def test_a_long_list_comes_in_pages_each_thing_once_and_in_the_order_of_its_declaration(
    settings: Settings, issuer: Issuer, token: str, client: httpx2.AsyncClient, era: str
) -> None:
    server = build(settings, issuer)

    async def extra() -> None:
        """Do nothing. Use it to make a list long."""

    for number in range(120):
        server.mcp.resource(f"rig://fixed/{number}", name=f"r{number}")(extra)
        server.mcp.resource(f"rig://of/{number}/{{key}}", name=f"t{number}")(lambda key: key)
        server.mcp.add_tool(extra, name=f"extra_{119 - number}")
    async with running(server, settings) as base:

        async def page(method: str, cursor: str | None) -> dict[str, Any]:
            params = {"cursor": cursor} if cursor else {}
            body = envelope(method, params) if era == "modern" else {**envelope(method, {}), "params": params}
            headers = headers_for(token, method if era == "modern" else None)
            return message(await client.post(base + "/mcp", json=body, headers=headers))

        for method, kind, names in (
            ("tools/list", "tools", [*server.mcp.specs, *(f"extra_{number}" for number in reversed(range(120)))]),
            ("resources/list", "resources", [f"r{number}" for number in range(120)]),
            ("resources/templates/list", "resourceTemplates", ["note", *(f"t{number}" for number in range(120))]),
        ):
            seen, cursor = [], None
            while cursor is not None or not seen:
                result = (await page(method, cursor))["result"]
                assert 0 < len(result[kind]) <= 50
                assert result == (await page(method, cursor))["result"]
                seen += [each["name"] for each in result[kind]]
                cursor = result.get("nextCursor")
            assert seen == names
            for wrong in ("x", "LTE=", "w7w=", "\u0661"):
                assert (await page(method, wrong))["error"]["code"] == -32602, wrong


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize("call", ERAS)
async def test_what_a_model_can_mend_says_how_and_repeats_nothing(
    base: str, token: str, client: httpx2.AsyncClient, call: Any
) -> None:
    canary = "canary-5c1f"
    cases = {
        "too long": ({"text": canary * 20}, "`text`", "at most 100 characters"),
        "too high": ({"text": "x", "number": 77123}, "`number`", "less than or equal to 9"),
        "wrong kind": ({"text": "x", "number": canary}, "`number`", "valid integer"),
        "missing": ({}, "`text`", "is required"),
        "unknown": ({"text": "x", canary: canary}, "number, text, weight", "not known"),
        "nul": ({"text": f"{canary}\0"}, "`text`", "NUL"),
    }
    for name, (arguments, where, what) in cases.items():
        response = await call(client, base, token, "echo", arguments)
        result = message(response)["result"]
        text = result["content"][0]["text"]
        assert result["isError"], name
        assert where in text, (name, text)
        assert what in text, (name, text)
        assert canary not in response.text, name
        assert "77123" not in response.text, name
        assert result["_meta"]["0711/error"]["code"] == "invalid_input"


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize("call", ERAS)
async def test_an_error_of_the_platform_keeps_its_code_and_a_defect_leaks_nothing(
    base: str, token: str, client: httpx2.AsyncClient, call: Any, log: io.StringIO
) -> None:
    busy = message(await call(client, base, token, "fail", {"kind": "overloaded"}))["result"]
    assert busy["content"] == [{"type": "text", "text": "All places are taken. Retry after 3 s."}]
    assert busy["_meta"]["0711/error"] == {
        "code": "overloaded", "message": "All places are taken.", "retryable": True, "retry_after": 2.5,
    }  # fmt: skip
    response = await call(client, base, token, "fail", {"kind": "kind-canary"})
    assert message(response)["result"]["_meta"]["0711/error"]["code"] == "internal"
    logged = log.getvalue()
    assert "RuntimeError" in logged
    assert "tests.serving_rig:fail" in logged
    note = {"uri": "rig://notes/broken"}
    others = [
        await client.get(base + "/broken", headers=headers_for(token)),
        await client.post(
            base + "/mcp", json=envelope("resources/read", note),
            headers=headers_for(token, *(("resources/read", note["uri"]) if call is modern else ())),
        ),
    ]  # fmt: skip
    assert (others[0].status_code, others[0].json()["code"]) == (500, "internal")
    assert message(others[1])["error"]["data"]["0711/error"]["code"] == "internal"
    for answer in (response, *others):
        for canary in ("secret-canary", "kind-canary", "RuntimeError"):
            assert canary not in answer.text
    for canary in ("secret-canary", "kind-canary"):
        assert canary not in logged


@pytest.mark.requirement("M-04")
def test_what_is_wrong_with_an_argument_repeats_no_name_or_value_of_the_callers() -> None:
    class Cat(Contract):
        kind: Literal["cat"]

    class Dog(Contract):
        kind: Literal["dog"]

    class Keeper(Contract):
        pet: Annotated[Cat | Dog, Field(discriminator="kind")]

    for pet in ({"kind": "canary"}, {"kind": "cat", "canary": "canary"}, {"canary": 1}):
        with pytest.raises(ValidationError) as wrong:
            Keeper.model_validate({"pet": pet})
        told = invalid_arguments(wrong.value, Keeper.model_json_schema())
        assert "`pet" in told.message
        assert "canary" not in str(told.as_dict())


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize("call", ERAS)
async def test_an_unknown_tool_is_an_error_of_the_protocol(
    base: str, token: str, client: httpx2.AsyncClient, call: Any
) -> None:
    answer = message(await call(client, base, token, "no_such_canary"))
    assert answer["error"]["code"] == -32602
    assert "canary" not in answer["error"]["message"]


@pytest.mark.requirement("I-03", "I-04")
@pytest.mark.parametrize("argument", ["number", "weight"])
@pytest.mark.parametrize(
    "text", ["NaN", "Infinity", "-Infinity", "1e400", "9223372036854775808", '"\\ud800"', '"a\\u0000"', "[" * 5000]
)
async def test_numbers_and_text_that_json_cannot_hold_are_refused(
    base: str, token: str, client: httpx2.AsyncClient, text: str, argument: str
) -> None:
    params = {"name": "echo", "arguments": {"text": "x", argument: "HERE"}}
    body = orjson.dumps(envelope("tools/call", params))
    plain = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
    for content, headers in (
        (body, headers_for(token, "tools/call", "echo")),
        (plain, headers_for(token)),
    ):
        answer = await client.post(base + "/mcp", content=content.replace(b'"HERE"', text.encode()), headers=headers)
        assert answer.status_code in (200, 400)
        if answer.status_code == 200:
            assert message(answer)["result"]["_meta"]["0711/error"]["code"] == "invalid_input"


@pytest.mark.requirement("I-03")
@pytest.mark.parametrize("text", ["NaN", "1e400", "9223372036854775808"])
async def test_a_route_refuses_such_numbers_too(base: str, token: str, client: httpx2.AsyncClient, text: str) -> None:
    answer = await client.post(base + "/repeat", content=f'{{"deep": [{text}]}}', headers=headers_for(token))
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_input")


@pytest.mark.requirement("I-03")
@pytest.mark.parametrize("call", ERAS)
@pytest.mark.parametrize("last", ["nan", "inf", "-inf", "9223372036854775808"])
async def test_a_number_that_is_not_finite_or_over_64_bits_never_leaves_as_null(
    base: str, token: str, client: httpx2.AsyncClient, call: Any, last: str
) -> None:
    good = message(await call(client, base, token, "vector"))["result"]
    assert good["structuredContent"] == {"values": [1.0, 2.0]}
    bad = await call(client, base, token, "vector", {"last": last})
    assert message(bad)["result"]["_meta"]["0711/error"]["code"] == "internal"
    assert "null" not in bad.text
    assert "NaN" not in bad.text


@pytest.mark.requirement("I-03")
async def test_nor_does_it_leave_a_route(base: str, token: str, client: httpx2.AsyncClient) -> None:
    bad = await client.get(base + "/endless", headers=headers_for(token))
    assert (bad.status_code, bad.json()["code"]) == (500, "internal")
    assert "null" not in bad.text


@pytest.mark.requirement("M-06")
@pytest.mark.parametrize("call", ERAS)
async def test_an_explicit_result_keeps_its_own_small_text(
    base: str, token: str, client: httpx2.AsyncClient, call: Any
) -> None:
    result = message(await call(client, base, token, "vector"))["result"]
    assert result["content"] == [{"type": "text", "text": "2 numbers"}]


@pytest.mark.requirement("M-05")
@pytest.mark.parametrize("call", ERAS)
async def test_a_deadline_stops_the_tool(
    base: str, token: str, client: httpx2.AsyncClient, events: Events, call: Any
) -> None:
    result = message(await call(client, base, token, "short"))["result"]
    assert result["_meta"]["0711/error"]["code"] == "deadline_exceeded"
    assert events.cancelled.is_set()


@pytest.mark.requirement("M-05")
@pytest.mark.parametrize("call", ERAS)
async def test_a_client_that_leaves_stops_the_tool(
    base: str, token: str, client: httpx2.AsyncClient, events: Events, call: Any
) -> None:
    waiting = asyncio.create_task(call(client, base, token, "wait"))
    async with asyncio.timeout(HANGS_S):
        await events.started.wait()
        waiting.cancel()
        await events.cancelled.wait()


@pytest.mark.requirement("M-05")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_the_official_client_cancels_a_call(
    base: str, token: str, client: httpx2.AsyncClient, events: Events, mode: str
) -> None:
    async with connected(base, token, mode, client) as mcp, asyncio.timeout(HANGS_S):
        waiting = asyncio.create_task(mcp.call_tool("wait", {}))
        await events.started.wait()
        waiting.cancel()
        await events.cancelled.wait()
        assert (await mcp.call_tool("echo", {"text": "still there"})).structured_content is not None


@pytest.mark.requirement("M-05", "T-06")
async def test_another_client_cannot_cancel_a_call(
    settings: Settings, issuer: Issuer, base: str, token: str, client: httpx2.AsyncClient, events: Events
) -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "wait", "arguments": {}}}
    cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
    mine = headers_for(token) | {"mcp-session-id": "mine"}
    waiting = asyncio.create_task(client.post(base + "/mcp", json=call, headers=mine))
    async with asyncio.timeout(HANGS_S):
        await events.started.wait()
        for other in (
            mine | {"mcp-session-id": "another"},
            mine | {"authorization": f"Bearer {issuer.token(settings, sub='user-2')}"},
        ):
            assert (await client.post(base + "/mcp", json=cancel, headers=other)).status_code == 202
        assert not events.cancelled.is_set()
        assert (await client.post(base + "/mcp", json=cancel, headers=mine)).status_code == 202
        await events.cancelled.wait()
        assert message(await waiting)["error"]["code"] == -32800


async def test_the_caller_is_the_one_in_the_token(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    """Interleaved calls of two customers, in both eras, on one server."""

    async def who(call: Any, customer: str) -> str:
        token = issuer.token(settings, sub=f"of-{customer}", customer=customer)
        return message(await call(client, base, token, "whoami"))["result"]["structuredContent"]["text"]

    for call in ERAS:
        customers = ["acme", "other"] * 20
        told = await asyncio.gather(*(who(call, customer) for customer in customers))
        assert told == [f"of-{customer} {customer} service" for customer in customers]


async def test_a_resource_that_is_not_there_and_one_without_the_scope(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    async def read(token: str, uri: str) -> dict[str, Any]:
        headers = headers_for(token, "resources/read", uri)
        return message(await client.post(base + "/mcp", json=envelope("resources/read", {"uri": uri}), headers=headers))

    missing = await read(issuer.token(settings), "rig://notes/none")
    assert missing["error"]["code"] == -32602
    refused = await read(issuer.token(settings, scope="write"), "rig://notes/abc")
    assert refused["error"]["data"]["0711/error"]["code"] == "forbidden"


@pytest.mark.requirement("M-01")
async def test_no_state_is_kept_between_requests_of_the_older_era(
    settings: Settings, issuer: Issuer, token: str, client: httpx2.AsyncClient
) -> None:
    """A session that one replica opened is served by another."""
    hello = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
    }  # fmt: skip
    async with running(build(settings, issuer), settings) as one, running(build(settings, issuer), settings) as other:
        opened = await client.post(one + "/mcp", json=hello, headers=headers_for(token))
        assert message(opened)["result"]["protocolVersion"] == "2025-11-25"
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        list_tools = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        listed = await client.post(other + "/mcp", json=list_tools, headers=headers_for(token) | session)
        assert message(listed)["result"]["tools"]
        for method in ("GET", "DELETE"):  # no stream to open, and no session that could be ended
            refused = await client.request(method, other + "/mcp", headers=headers_for(token) | session)
            assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
