"""What hosted vision models say that is no text of the page, and what of a question they do not take."""

from __future__ import annotations

import base64
import io
import json
from hashlib import shake_128
from typing import Any

import pytest
from PIL import Image

from servers.cradle.vision.anthropic import MAX_BYTES
from shared.errors import InvalidInput, Unavailable
from tests.vision_rig import (
    REMOTE,
    Reply,
    VisionServer,
    answer_of,
    asking,
    fails,
    one_server,  # noqa: F401  # the fixture `server`
    page,
    says,
    service_at,
    vision_server,
)

PATHS = {"openai": "/v1/responses", "anthropic": "/v1/messages", "compatible": "/v1/chat/completions"}


@pytest.mark.parametrize("name", REMOTE)
async def test_a_page_follows_no_redirect_to_another_address(server: VisionServer, name: str) -> None:
    async with vision_server() as other:
        server.reply = fails(307, b"", location=other.url + PATHS[name])
        with pytest.raises(Unavailable, match="redirects"):
            await service_at(server.url).read(asking(name))
        assert other.connections == 0


def thinks(said: str | None, **apart: str) -> Reply:
    """A completion of vLLM's: what was said, and what its reasoning parser took for thoughts."""
    whole = answer_of("/chat/completions", "")
    whole["choices"][0]["message"] |= {"content": said, **apart}
    return lambda path: (200, {}, json.dumps(whole).encode())


@pytest.mark.parametrize("said", ["<think>\nEin Typenschild.\n</think>\n\nTyp NT-24", "Ein Schild.</think>Typ NT-24"])
async def test_what_a_model_thinks_is_no_text_of_the_page(server: VisionServer, said: str) -> None:
    server.reply = thinks(said)
    assert (await service_at(server.url).read(asking("compatible"))).pages[0].text == "Typ NT-24"


@pytest.mark.parametrize(
    "reply",
    [
        thinks("<think>\nEin Schild mit"), thinks("<think>Ein Schild.</think>"), thinks(None, reasoning="Typ NT-24"),
        thinks("", reasoning_content="Typ NT-24"),
    ],
)  # fmt: skip
async def test_a_model_that_only_thinks_has_not_read_an_empty_page(server: VisionServer, reply: Reply) -> None:
    server.reply = reply
    with pytest.raises(Unavailable, match="before the page was read"):
        await service_at(server.url).read(asking("compatible"))


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("```markdown\n# Netzteil\n\n24 V\n```", "# Netzteil\n\n24 V"),
        ("```\n24 V\n```", "24 V"),
        ("```\na\n```\nb\n```\nc\n```", "```\na\n```\nb\n```\nc\n```"),
        ("[No text].", ""),
        ("`[no text]`", ""),
        ("Hinweis [no text]", "Hinweis [no text]"),
    ],
)
@pytest.mark.parametrize("name", REMOTE)
async def test_a_fence_around_all_of_an_answer_is_none_of_its_text(
    server: VisionServer, name: str, said: str, text: str
) -> None:
    server.reply = says(said)
    assert (await service_at(server.url).read(asking(name, output="markdown"))).pages[0].text == text


def schema_of(part: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": part}}


async def test_anthropic_is_sent_a_schema_in_the_form_that_its_models_take(server: VisionServer) -> None:
    server.reply = says('{"a": {"v": null}}')
    inner = {"type": "object", "properties": {"v": {"type": ["string", "null"], "maxLength": 9}}, "required": ["v"]}
    result = await service_at(server.url).read(asking("anthropic", json_schema=schema_of(inner)))
    assert result.pages[0].data == {"a": {"v": None}}
    ((_, body),) = server.requests
    sent = body["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["a"]["additionalProperties"] is False
    assert [each["type"] for each in sent["properties"]["a"]["properties"]["v"]["anyOf"]] == ["string", "null"]
    assert "maxLength" not in sent["properties"]["a"]["properties"]["v"]["anyOf"][0]


OPEN = {
    "anything": {}, "any object": {"type": "object"},
    "names of its own": {"type": "object", "properties": {"b": {"type": "null"}}, "additionalProperties": {}},
}  # fmt: skip


@pytest.mark.parametrize("case", OPEN)
async def test_a_schema_of_which_anthropics_models_would_fill_nothing_is_refused_before_it_is_sent(
    server: VisionServer, case: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        await service_at(server.url).read(asking("anthropic", json_schema=schema_of(OPEN[case])))
    assert (refused.value.field, server.connections) == ("json_schema", 0)
    server.reply = says("{}")
    assert (await service_at(server.url).read(asking("openai", json_schema=schema_of(OPEN[case])))).pages[0].data == {}


@pytest.mark.parametrize("name", REMOTE)
async def test_a_refused_request_with_a_schema_may_be_refused_for_the_schema(server: VisionServer, name: str) -> None:
    server.reply = fails(400)
    with pytest.raises(InvalidInput, match="schema"):
        await service_at(server.url).read(asking(name, json_schema=schema_of({"type": "string"})))


async def test_a_schema_is_part_of_what_a_page_may_cost(server: VisionServer) -> None:
    server.reply = says("{}")
    service = service_at(server.url, vision_prices={"openai": (1_000_000.0, 0.0)})
    wide = schema_of({"type": "string", "description": "x" * 5_000})
    small, large = [await service.read(asking("openai", json_schema=each)) for each in (schema_of({}), wide)]
    assert small.estimated_cost_eur is not None
    assert large.estimated_cost_eur is not None
    assert large.estimated_cost_eur - small.estimated_cost_eur > 5_000


def noise() -> bytes:
    """A page as a colour scanner gives it: its PNG has more bytes than Anthropic takes."""
    out = io.BytesIO()
    Image.frombytes("RGB", (1300, 1300), shake_128(b"a scan").digest(1300 * 1300 * 3)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(("image", "size"), [(noise(), (1300, 1300)), (page((9000, 90)), (2576, 26))])
async def test_a_page_beyond_anthropics_limits_is_sent_smaller_and_to_others_as_it_is(
    server: VisionServer, image: bytes, size: tuple[int, int]
) -> None:
    for name in ("anthropic", "compatible"):
        await service_at(server.url).read(asking(name, image))
    (_, body), (_, other) = server.requests
    source = body["messages"][0]["content"][0]["source"]
    sent = base64.b64decode(source["data"])
    assert (source["media_type"], len(sent) <= MAX_BYTES) == ("image/jpeg", True)
    assert Image.open(io.BytesIO(sent), formats=["JPEG"]).size == size
    assert other["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("reply", [says("Text", cut_off=True), says("no JSON")])
async def test_an_answer_of_no_use_is_paid_and_part_of_the_cost(server: VisionServer, reply: Reply) -> None:
    server.by_path = {"/responses": reply, "/chat/completions": says("{}")}
    prices = {"openai": (2.0, 10.0), "compatible": (1.0, 1.0)}
    service = service_at(server.url, vision_fallback=["compatible"], vision_prices=prices)
    result = await service.read(asking("openai", json_schema=schema_of({"type": "string"})))
    assert result.cost_eur == pytest.approx((1000 * 2 + 200 * 10 + 1000 + 200) / 1e6)
    assert result.estimated_cost_eur is not None
    assert result.estimated_cost_eur > (8192 * 10 + 8192) / 1e6
    assert [(each.provider, each.tokens_in, each.tokens_out) for each in result.attempts] == [("openai", 1000, 200)]
