"""The gateway's pure parts: messages and headers, names, eras, pins, the breaker, what is remembered."""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from typing import Any

import orjson
import pytest

from servers.marketplace import policy
from servers.marketplace.catalogue.address import check_address, ip_allowed
from servers.marketplace.catalogue.definitions import PinnedTool, digest_of_seen, read_definitions
from servers.marketplace.changes import FRESH_S, FRESH_UNHEARD_S, Remembered
from servers.marketplace.gateway.breaker import FAILURES, OPEN_S, Breakers
from servers.marketplace.gateway.eras import legacy_value, modern_request, translated_event, translation
from servers.marketplace.gateway.listing import PAGE, tools_page
from servers.marketplace.gateway.message import Message, ProtocolError, read_message
from servers.marketplace.gateway.names import LONGEST, full_names, is_full
from servers.marketplace.gateway.sessions import LIFETIME_S, SessionSeal
from shared.errors import InvalidInput, NotFound, Unavailable
from tests.marketplace_rig import definition
from tests.serving_rig import envelope, headers_for

MISMATCH = -32020


def call_of(tool: str, **headers: str) -> tuple[bytes, list[tuple[str, str]]]:
    told = headers_for(None, "tools/call", tool) | {name.replace("_", "-"): value for name, value in headers.items()}
    return orjson.dumps(envelope("tools/call", {"name": tool, "arguments": {}})), list(told.items())


@pytest.mark.parametrize(
    "headers", [{"mcp_name": "other"}, {"mcp_method": "tools/list"}, {"mcp_protocol_version": "2027-01-01"}]
)
def test_a_header_that_disagrees_with_the_body_is_refused_in_the_protocols_words(headers: dict[str, str]) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_message(*call_of("say", **headers))
    assert (caught.value.code, caught.value.status, caught.value.request_id) == (MISMATCH, 400, 1)


def test_a_missing_or_doubled_routing_header_is_refused_and_an_encoded_name_is_understood() -> None:
    body, headers = call_of("say")
    for wrong in ([each for each in headers if each[0] != "mcp-name"], [*headers, ("mcp-name", "say")]):
        with pytest.raises(ProtocolError):
            read_message(body, wrong)
    assert read_message(*call_of("say", mcp_name="=?base64?c2F5?=")).tool == "say"


@pytest.mark.parametrize("lie", [{"mcp-name": "blocked"}, {"mcp-method": "resources/read"}])
def test_headers_may_not_lie_either_where_the_body_lacks_its_envelope(lie: dict[str, str]) -> None:
    bare = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}})
    headers = headers_for(None, "tools/call", "say")
    assert read_message(bare, list(headers.items())).tool == "say"
    with pytest.raises(ProtocolError) as caught:
        read_message(bare, list((headers | lie).items()))
    assert caught.value.code == MISMATCH


def test_in_the_older_era_headers_may_be_missing_but_not_lie() -> None:
    body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}})
    assert read_message(body, list(headers_for(None).items())).tool == "say"
    for lie in (("mcp-name", "other"), ("mcp-method", "tools/list")):
        with pytest.raises(ProtocolError):
            read_message(body, [*headers_for(None).items(), lie])


def test_what_travels_upstream_is_what_was_read_so_a_doubled_key_cannot_name_a_second_tool() -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"blocked","name":"say"}}'
    message = read_message(body)
    assert message.tool == "say"
    assert b"blocked" not in message.body()


@pytest.mark.requirement("A-07")
@pytest.mark.parametrize(
    "said",
    [
        *({"id": wrong, "method": "tools/list"} for wrong in (1.0, True, None, [1], 2**64)),
        {"method": "tools/call", "params": {"name": "say"}},
        {"id": 1, "method": ["tools/list"]},
    ],
    ids=str,
)
def test_a_message_that_a_server_could_take_for_another_kind_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_message(json.dumps({"jsonrpc": "2.0", **said}).encode())
    assert caught.value.code == -32600


CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "say"}}


@pytest.mark.requirement("A-07")
@pytest.mark.parametrize(
    "said",
    [
        CALL | {"params": {"name": "say", "Name": "blocked"}},
        CALL | {"params": {"name": "say", "arguments": {}, "ARGUMENTS": {"path": "/etc"}}},
        CALL | {"Params": {"name": "blocked"}},
        CALL | {"paramſ": {"name": "blocked"}},
        {"jsonrpc": "2.0", "id": 1, "method": "ping", "Method": "tools/call", "params": {"name": "blocked"}},
        {"jsonrpc": "2.0", "id": 1, "result": {}, "Method": "tools/call", "params": {"name": "blocked"}},
    ],
    ids=lambda said: orjson.dumps(said).decode(),
)
def test_a_key_in_another_case_cannot_name_a_second_tool_to_a_server_that_folds_case(said: dict[str, Any]) -> None:
    """Go's encoding/json and .NET's web defaults do."""
    with pytest.raises(ProtocolError) as caught:
        read_message(orjson.dumps(said))
    assert caught.value.code == -32600
    read_message(orjson.dumps(CALL | {"params": {"name": "say", "arguments": {"a": 1, "A": 2}, "more": {"Name": "x"}}}))


@pytest.mark.requirement("I-01")
@pytest.mark.requirement("I-03")
@pytest.mark.parametrize(
    "number", [str(2**64), str(-(2**63) - 1), str(10**30), str(-(10**19)), f"1{'0' * 4500}"], ids=range(5)
)
@pytest.mark.parametrize("place", ['{"n":%s}', '{"n":[{"m":[1,%s]}]}', '{"n":"1","m":%s}'])
@pytest.mark.parametrize("more", [0, 100_000], ids=["small", "large"])
def test_a_whole_number_that_would_travel_as_another_is_refused(number: str, place: str, more: int) -> None:
    with pytest.raises(InvalidInput):
        read_message(call_with(place % number, more))


@pytest.mark.requirement("I-03")
@pytest.mark.parametrize(
    "said", ["18446744073709551615", "-9223372036854775808", "0.12345678901234567890123", "1234567890123456789012.5",
             '"123456789012345678901"', '"a 123456789012345678901, b"', '"\\"123456789012345678901"', "1e30"],
)  # fmt: skip
def test_numbers_that_are_read_as_they_are_and_digits_in_a_text_pass(said: str) -> None:
    arguments = read_message(call_with(f'{{"n":{said}}}', 0)).params["arguments"]
    assert arguments["n"] == json.loads(said)
    if said.startswith('"'):
        assert read_message(call_with(f'{{"n":{said}}}', 100_000)).params["arguments"]["n"] == json.loads(said)


def call_with(arguments: str, more: int) -> bytes:
    """A call with these arguments, in a body of so many bytes more."""
    told = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"say","arguments":%s,"more":"%s"}}'
    return (told % (arguments, "x" * more)).encode()


def test_a_message_that_could_not_be_written_again_is_refused_as_it_is_read() -> None:
    def nested(levels: int) -> bytes:
        inner = b"[" * levels + b"]" * levels
        return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"say","arguments":{"a":%s}}}' % inner

    with pytest.raises(InvalidInput, match="nested too deep"):
        read_message(nested(300))
    assert read_message(nested(200)).body() == nested(200)
    assert read_message(nested(60)).body() == nested(60)


def test_full_names_are_short_plain_and_never_shared() -> None:
    tools = [
        ("io.0711.acme/in-x", "say"),
        ("io-0711.acme/in.x", "say"),
        ("a/b", "x" * 100),
        ("a/b", "c"),
        ("a/b__c", "d"),
    ]
    names = full_names(tools)
    assert len(set(names)) == len(tools)
    assert all(len(name) <= LONGEST and is_full(name) for name in names)
    assert names[3] == "a-b__c"
    assert full_names(tools[:1]) == ["io-0711-acme-in-x__say"] != names[:1]


def test_the_tools_own_name_is_kept_where_the_servers_has_to_be_cut() -> None:
    server = "io.0711.habersaat-lichtwerk-elektrotechnik/instance"
    tools = ["search", "describe_dataset", "get_document", "find_products"]
    cut = [name.rpartition("__") for name in full_names([(server, tool) for tool in tools])]
    assert [tool for _, _, tool in cut] == tools
    assert {left for left, _, _ in cut} == {"io-0711-habersaat-lichtw-b70f9987d3c9"}
    collided = full_names([("io.0711.acme/in-x", "say"), ("io-0711.acme/in.x", "say")])
    assert all(re.fullmatch(r"io-0711-acme-in-x-[0-9a-f]{12}__say", name) for name in collided)


@pytest.mark.requirement("A-07")
def test_a_tool_that_is_called_what_another_is_called_with_its_digest_does_not_stand_in_for_it() -> None:
    victim, other = ("com.example.a/b", "search"), ("com/example.a-b", "search")
    tools = [victim, other]
    for _ in range(3):  # each is called what the victim is called by now
        tools.append((full_names(tools)[0].rpartition("__")[0], "search"))
    names = dict(zip(tools, full_names(tools), strict=True))
    assert len(set(names.values())) == len(tools)
    assert all(len(name) <= LONGEST and is_full(name) for name in names.values())
    for order in itertools.permutations(tools):
        assert full_names(order) == [names[each] for each in order]


@pytest.mark.requirement("A-07")
@pytest.mark.parametrize(
    "change",
    [
        {"name": "says"},
        {"description": "Say something!"},
        {"inputSchema": {"type": "object", "properties": {}}},
        {"outputSchema": {"type": "object"}},
        {"annotations": {"readOnlyHint": True}},
        {"title": "Say"},
        {"_meta": {"x": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_change_of_a_definition_changes_its_digest_and_the_order_of_keys_does_not(change: dict[str, Any]) -> None:
    first = definition("say")
    (pin,), (same,) = read_definitions([first]), read_definitions([dict(reversed(first.items()))])
    (other,) = read_definitions([first | change])
    assert pin.digest == same.digest != other.digest


def leaves(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    """Every text, number and truth value of a JSON value, with its place."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [(place, value)] if parts is None else [each for key, part in parts for each in leaves(part, (*place, key))]


def with_leaf(value: Any, place: tuple[Any, ...], leaf: Any) -> Any:
    """A copy of a JSON value with another leaf at a place."""
    changed = orjson.loads(orjson.dumps(value))
    inner = changed
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = leaf
    return changed


def altered(leaf: Any) -> set[Any]:
    """What a value could become without being noticed: each character gone, another or in the other case, and what only
    looks the same."""
    if not isinstance(leaf, str):
        return {str(leaf), not leaf if isinstance(leaf, bool) else leaf + 1}
    each = {leaf[:at] + put + leaf[at + 1 :] for at in range(len(leaf)) for put in ("", "_", leaf[at].swapcase())}
    alike = {unicodedata.normalize("NFD", leaf), leaf + " ", leaf + "\u200b", leaf.replace("a", "\u0430")}
    return (each | alike) - {leaf}


@pytest.mark.requirement("A-07")
def test_any_byte_of_a_definition_counts_however_deep_it_lies_and_however_alike_it_looks() -> None:
    field = {"type": "string", "description": "Größe in mm. ", "enum": ["a", "B"], "maxLength": 5}
    tool = definition("say", "Say the word Maß,  twice.") | {
        "title": "Say",
        "inputSchema": {"type": "object", "properties": {"word": field}, "required": ["word"]},
        "outputSchema": {"type": "object", "properties": {"text": {"type": "string", "default": "x"}}},
        "annotations": {"readOnlyHint": True, "title": "Say it"},
    }
    digests = {read_definitions([tool])[0].digest}
    changed = 0
    for place, leaf in leaves(tool):
        others = [each for each in altered(leaf) if place != ("name",) or re.fullmatch(r"[A-Za-z]+", each)]
        digests |= {read_definitions([with_leaf(tool, place, each)])[0].digest for each in others}
        changed += len(others)
    for order in (field["enum"][::-1], [*field["enum"], "B"]):
        place = ("inputSchema", "properties", "word", "enum")
        digests.add(read_definitions([with_leaf(tool, place, order)])[0].digest)
    assert changed > 200
    assert len(digests) == 1 + changed + 2


@pytest.mark.parametrize(
    "tools",
    [
        [definition("say"), definition("say")], [{"name": "say"}], ["say"], [definition("a b")], [definition("say\n")],
        [definition("x", "x" * 300_000)],
    ],
    ids=["twice", "no schema", "no object", "bad name", "name with a newline", "large"],
)  # fmt: skip
def test_a_list_of_tools_that_cannot_be_pinned_is_refused_whole(tools: list[Any]) -> None:
    with pytest.raises(Unavailable):
        read_definitions(tools)


@pytest.mark.requirement("A-07")
def test_only_a_tool_that_is_seen_as_it_was_pinned_is_approved() -> None:
    a, b = "sha256:" + "a" * 64, "sha256:" + "b" * 64
    pairs = [(a, a), (a, b), (None, a), (a, None)]
    states = [PinnedTool("t", pin, "{}" if pin else None, seen, "{}").state for pin, seen in pairs]
    assert states == ["approved", "changed", "new", "gone"]
    tools = [PinnedTool("t", a, "{}", a, "{}"), PinnedTool("u", a, "{}", b, "{}")]
    assert digest_of_seen(tools) == digest_of_seen(tools[::-1]) != digest_of_seen(tools[:1])


def test_a_blocked_tool_is_neither_callable_nor_visible() -> None:
    caller = type(
        "Caller", (), {"subject": "usr_a", "role": "customer_user", "scopes": policy.ALL, "customer": "acme"}
    )()
    decision = policy.decide(caller, "tool.call", policy.Resource(installed=True, pinned=False))
    assert (decision.allowed, decision.visible) == (False, False)
    assert policy.decide(caller, "tool.call", policy.Resource(installed=True)).allowed


def test_a_list_comes_in_pages_and_only_in_its_callers_era() -> None:
    definitions = [orjson.dumps(definition(f"t{number}")).decode() for number in range(PAGE + 1)]
    first = tools_page(definitions, Message(1, "tools/list", modern=True))
    second = tools_page(definitions, Message(1, "tools/list", {"params": {"cursor": first["nextCursor"]}}))
    assert (len(first["tools"]), first["resultType"], first["cacheScope"]) == (PAGE, "complete", "private")
    assert list(second) == ["tools"]
    for cursor in ("x", "-1", "LTE=", 7):
        with pytest.raises(ProtocolError):
            tools_page(definitions, Message(1, "tools/list", {"params": {"cursor": cursor}}))


def test_a_call_crosses_the_eras_with_its_progress_token_and_without_the_others_envelope() -> None:
    old = read_message(
        b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"s__say","_meta":{"progressToken":3}}}'
    )
    body, headers = modern_request(old, "say", asks=False)
    assert read_message(body, headers).tool == "say"
    assert orjson.loads(body)["params"]["_meta"]["progressToken"] == 3
    new = read_message(*call_of("s__say"))
    params = legacy_value(new, "say")["params"]
    assert params == {"name": "say", "arguments": {}}


def test_an_answer_crosses_the_eras_and_a_question_back_is_one_clear_error() -> None:
    old = Message(7, "tools/call")
    to_old = translation(old, upstream_modern=True)
    to_new = translation(Message(7, "tools/call", modern=True), upstream_modern=False)
    assert to_old is not None
    assert to_new is not None
    assert translation(old, upstream_modern=False) is None
    event = b'event: message\r\ndata: {"id":7,"result":{"content":[],"resultType":"complete"}}\r\n\r\n'
    assert b"resultType" not in translated_event(event, to_old)
    assert translated_event(b": ping\n\n", to_old) == b": \n\n"
    assert "error" in to_old({"id": 7, "result": {"resultType": "input_required"}})
    assert to_new({"id": 7, "result": {"content": []}})["result"]["resultType"] == "complete"


def test_after_failures_in_a_row_calls_are_refused_at_once_and_one_in_a_while_may_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr("servers.marketplace.gateway.breaker.monotonic", lambda: now[0])
    theirs = ("a", "acme")
    breakers = Breakers()
    for _ in range(FAILURES):
        breakers.admit(theirs)
        breakers.failed(theirs, Unavailable("The TLS certificate of the server has expired: renew it."))
    with pytest.raises(Unavailable, match="renew it") as caught:
        breakers.admit(theirs)
    assert caught.value.retry_after == OPEN_S
    breakers.admit(("b", "acme"))
    breakers.admit(("a", "bolt"))
    now[0] = OPEN_S
    breakers.admit(theirs)
    with pytest.raises(Unavailable):
        breakers.admit(theirs)
    breakers.succeeded(theirs)
    breakers.admit(theirs)


class Told:
    """Changes, told by hand."""

    epoch = 0
    fresh_s = FRESH_S


@pytest.mark.requirement("A-04")
async def test_what_is_remembered_counts_until_a_change_and_for_seconds_while_none_can_be_heard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, asked, changes = [0.0], [], Told()
    monkeypatch.setattr("servers.marketplace.changes.monotonic", lambda: now[0])
    known: Remembered[str, int] = Remembered(changes)  # pyright: ignore[reportArgumentType]

    async def question() -> int:
        asked.append(1)
        return len(asked)

    assert [await known.ask("k", question) for _ in range(3)] == [1, 1, 1]
    changes.epoch += 1
    assert await known.ask("k", question) == 2
    changes.fresh_s = FRESH_UNHEARD_S
    changes.epoch += 1
    assert await known.ask("k", question) == 3
    now[0] += FRESH_UNHEARD_S
    assert await known.ask("k", question) == 4


@pytest.mark.requirement("A-04")
async def test_an_answer_from_before_a_change_is_not_kept_after_it() -> None:
    changes = Told()
    known: Remembered[str, str] = Remembered(changes)  # pyright: ignore[reportArgumentType]

    async def overtaken() -> str:
        changes.epoch += 1
        return "old"

    async def later() -> str:
        return "new"

    assert await known.ask("k", overtaken) == "old"
    assert await known.ask("k", later) == "new"


def test_a_sealed_session_ends_and_a_new_key_seals_while_the_old_one_opens(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("servers.marketplace.gateway.sessions.time", lambda: now[0])
    old, both = SessionSeal([b"a" * 32]), SessionSeal([b"b" * 32, b"a" * 32])
    sealed = old.seal("abc", "usr_a")
    assert both.open(sealed, "usr_a") == "abc"
    with pytest.raises(NotFound):
        old.open(both.seal("abc", "usr_a"), "usr_a")
    now[0] += LIFETIME_S + 1
    with pytest.raises(NotFound):
        both.open(sealed, "usr_a")


@pytest.mark.requirement("I-12")
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd00::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::7f00:1", "::ffff:0:7f00:1", "fec0::1",
        "0.0.0.0", "169.254.169.254", "198.18.0.1",  # noqa: S104
    ],
)  # fmt: skip
def test_a_strangers_server_stands_on_no_address_inside(address: str) -> None:
    assert not ip_allowed(address, inside=False)
    with pytest.raises(InvalidInput):
        check_address(f"https://[{address}]/mcp" if ":" in address else f"https://{address}/mcp", inside=False)


@pytest.mark.requirement("I-12")
def test_names_without_a_domain_and_metadata_in_disguise_are_refused_and_public_ones_are_not() -> None:
    for host in ("localhost", "x.localhost", "postgres"):
        with pytest.raises(InvalidInput):
            check_address(f"https://{host}/mcp", inside=False)
    assert check_address("https://mcp.example.com/mcp", inside=False)
    with pytest.raises(InvalidInput, match="only the operator"):  # a credential would travel in the clear
        check_address("http://mcp.example.com/mcp", inside=False)
    for public in ("8.8.8.8", "2a00:1450:4001::1", "2606:4700::1111", "64:ff9b::808:808", "3ffe::1", "2002:808:808::1"):
        assert ip_allowed(public, inside=False), public
    assert not ip_allowed("64:ff9b::a9fe:a9fe", inside=True)


@pytest.mark.parametrize("meta", ["x", [1], 7, True])
def test_what_is_no_object_in_place_of_meta_goes_no_further_in_either_era(meta: object) -> None:
    message = read_message(orjson.dumps(CALL | {"params": {"name": "say", "arguments": {}, "_meta": meta}}))
    assert legacy_value(message, "say")["params"] == {"name": "say", "arguments": {}}
    assert b"protocolVersion" in modern_request(message, "say", asks=False)[0]
