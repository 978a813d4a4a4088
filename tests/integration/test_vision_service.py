"""Real OCR on a rendered scan, and OpenAI's API spoken by a local server."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.corpus.sheets import scanned_report
from servers.cradle.vision.service import VisionService
from shared.contracts.vision import VisionRequest
from shared.errors import Forbidden, InvalidInput, Overloaded, Unavailable
from shared.settings import load


def scan_request(**more: object) -> VisionRequest:
    return VisionRequest.model_validate({"image_base64": base64.b64encode(scanned_report()).decode(), **more})


async def test_a_german_scan_is_read_word_for_word() -> None:
    service = VisionService(load())
    result = await service.read(scan_request(output="words"))
    (page,) = result.pages
    assert "Isolationswiderstand gemessen: 512 Megaohm, Grenzwert 2 Megaohm" in page.text.splitlines()
    assert "Prüferin: Marlene Osterkamp, Detmold, den 26. Februar 2026" in page.text.splitlines()
    assert page.words
    assert all(word.box[0] < word.box[2] and word.box[1] < word.box[3] for word in page.words)
    assert result.cost_eur is None


async def test_a_provider_without_key_says_how_to_get_one() -> None:
    with pytest.raises(InvalidInput, match="P0711_OPENAI_API_KEY"):
        await VisionService(load()).read(scan_request(provider="openai"))


async def test_text_that_is_not_base64_is_refused() -> None:
    with pytest.raises(InvalidInput, match="base64"):
        await VisionService(load()).read(VisionRequest(image_base64="data:image/png;base64,AAAA"))


class OpenAiServer:
    """Speaks the Responses API on loopback; `answer` decides what comes back."""

    def __init__(self) -> None:
        self.requests: list[dict[str, object]] = []
        self.answer: Callable[[], Response] = lambda: JSONResponse(completed("Zeile eins\nZeile zwei"))

    async def respond(self, request: Request) -> Response:
        self.requests.append(json.loads(await request.body()))
        return self.answer()


def completed(text: str, status: str = "completed") -> dict[str, object]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"type": "message", "id": "m1", "role": "assistant", "status": status, "content": content}
    return {
        "id": "r1", "object": "response", "created_at": 0, "model": "test", "status": status, "output": [message],
        "parallel_tool_calls": False, "tool_choice": "auto", "tools": [],
    }  # fmt: skip


@pytest.fixture
async def openai_server() -> AsyncIterator[tuple[OpenAiServer, str]]:
    fake = OpenAiServer()
    app = Starlette(routes=[Route("/v1/responses", fake.respond, methods=["POST"])])
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    task = asyncio.create_task(server.serve(sockets=[sock]))
    yield fake, f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
    server.should_exit = True
    await task


def remote(url: str) -> VisionService:
    return VisionService(load(openai_api_key="a-key", openai_base_url=url, ocr_provider="openai", call_deadline_s=10))


async def test_openai_is_asked_to_store_nothing(openai_server: tuple[OpenAiServer, str]) -> None:
    fake, url = openai_server
    service = remote(url)
    result = await service.read(scan_request())
    assert result.pages[0].text == "Zeile eins\nZeile zwei"
    assert fake.requests[0]["store"] is False
    await service.close()


async def test_a_local_only_customer_never_reaches_a_remote_provider(openai_server: tuple[OpenAiServer, str]) -> None:
    fake, url = openai_server
    service = remote(url)
    with pytest.raises(Forbidden, match="local"):
        await service.read(scan_request(), local_only=True)
    with pytest.raises(Forbidden):
        await service.ocr_page(b"png", service.parameters("openai"), local_only=True)
    assert fake.requests == []


@pytest.mark.requirement("F-07")
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda: Response(status_code=429), Overloaded),
        (lambda: Response(status_code=500), Unavailable),
        (lambda: Response(b'{"id": "r1", "outp', media_type="application/json"), Unavailable),
        (lambda: JSONResponse(completed("halb", "incomplete")), Unavailable),
        (lambda: JSONResponse({"error": {"message": "SECRET-CANARY"}}, status_code=400), InvalidInput),
    ],
    ids=["rate limited", "server error", "cut JSON", "incomplete", "refused"],
)
async def test_each_failure_of_the_provider_is_a_documented_error(
    openai_server: tuple[OpenAiServer, str], answer: Callable[[], Response], error: type[Exception]
) -> None:
    fake, url = openai_server
    fake.answer = answer
    service = remote(url)
    with pytest.raises(error) as raised:
        await service.read(scan_request())
    assert "CANARY" not in str(raised.value)
    await service.close()
