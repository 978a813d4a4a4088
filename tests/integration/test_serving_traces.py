"""What spans tell, those of libraries too: names of tools and codes, and no word of what was sent or refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.shared import _otel
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import telemetry
from shared.settings import Settings
from tests.canaries import new_mark
from tests.serving_rig import Issuer, build, envelope, headers_for, legacy, modern, running
from tests.vision_rig import asking, says, service_at, vision_server

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What an operator's OpenTelemetry would get of this process, the protocol's library included."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for module in (telemetry, _otel):
        monkeypatch.setattr(module, "_tracer", provider.get_tracer("test"))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


@pytest.mark.requirement("Z-01")
async def test_no_span_holds_a_word_that_a_caller_sent_or_an_error_says(
    spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    settings, issuer, mark = Settings(home=tmp_path), Issuer(), new_mark()
    token = issuer.token(settings)
    async with (
        running(build(settings, issuer), settings) as base,
        httpx2.AsyncClient(timeout=60, trust_env=False) as client,
    ):

        async def send(method: str, params: dict[str, Any], named: str | None = None) -> None:
            body = envelope(method, params, request_id=mark)
            await client.post(base + "/mcp", json=body, headers=headers_for(token, method, named))

        for call in (legacy, modern):
            for tool, name in (("echo", "text"), ("fail", "kind"), (mark, "text"), ("echo", mark)):
                assert (await call(client, base, token, tool, {name: mark})).status_code < 500
        follows = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": f"vendor={mark}"}
        await send("tools/call", {"name": "echo", "arguments": {"text": mark}, "_meta": follows}, "echo")
        for uri in (f"rig://notes/{mark}", "rig://notes/broken", f"other://{mark}"):
            await send("resources/read", {"uri": uri}, uri)
        await send("prompts/get", {"name": mark}, mark)
        await send(mark, {"name": mark})
    told = spans.get_finished_spans()
    everything = "".join(each.to_json() for each in told)
    assert "secret-canary" not in everything
    assert mark not in everything
    assert {(each.name, (each.attributes or {}).get("tool"), (each.attributes or {}).get("code")) for each in told} >= {
        ("tool.call", "echo", None), ("tool.call", "fail", "internal"), ("tool.call", "echo", "invalid_input"),
    }  # fmt: skip
    assert f"{int(TRACE, 16):032x}" in {f"{each.context.trace_id:032x}" for each in told}, "the caller's trace goes on"


@pytest.mark.requirement("Z-01")
async def test_a_providers_library_puts_no_page_and_no_text_into_spans_even_where_the_environment_asks_it_to(
    spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_OPEN_TELEMETRY_TRACES_CONTENT_MODE", "content")
    mark = new_mark()
    async with vision_server() as server:
        server.reply = says(mark)
        service = service_at(server.url)
        assert (await service.read(asking("anthropic"))).pages[0].text == mark
        await service.close()
    everything = "".join(each.to_json() for each in spans.get_finished_spans())
    assert "anthropic.messages.create" in everything
    assert mark not in everything
    assert "image/png" not in everything


@pytest.mark.requirement("Z-01")
def test_of_an_error_of_a_library_a_span_holds_its_class_whatever_it_calls_its_code(
    spans: InMemorySpanExporter,
) -> None:
    class Refused(Exception):
        """As those of providers' libraries, which take their code from an upstream's answer."""

        code = new_mark()

    with pytest.raises(Refused), telemetry.span("provider.call"):
        raise Refused(Refused.code)
    (told,) = spans.get_finished_spans()
    assert dict(told.attributes or {}) == {"code": "Refused"}
    assert Refused.code not in told.to_json()
