"""A server on loopback that speaks the protocols of the remote providers, well or badly, and counts sockets."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from PIL import Image

from examples.corpus.sheets import scanned_report
from servers.cradle.vision.service import VisionService
from shared.contracts.vision import VisionRequest
from shared.settings import Settings, load

REMOTE = ("openai", "anthropic", "compatible")
Reply = Callable[[str], "tuple[int, dict[str, str], bytes] | None"]
"""From the path of a request to status, headers and body; None to say nothing at all."""


def answer_of(path: str, text: str, *, cut_off: bool = False, refused: bool = False) -> dict[str, Any]:
    """What each protocol's server says when the model said `text`, was cut off after it, or refused with it."""
    if path.endswith("/responses"):
        status = "incomplete" if cut_off else "completed"
        content = [{"type": "output_text", "text": text, "annotations": []}]
        if refused:
            content = [{"type": "refusal", "refusal": text}]
        message = {"type": "message", "id": "m1", "role": "assistant", "status": status, "content": content}
        usage = {
            "input_tokens": 1000, "output_tokens": 200, "total_tokens": 1200,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        return {
            "id": "r1", "object": "response", "created_at": 0, "model": "m", "status": status, "output": [message],
            "parallel_tool_calls": False, "tool_choice": "auto", "tools": [], "usage": usage,
        }  # fmt: skip
    if path.endswith("/messages"):
        return {
            "id": "m1", "type": "message", "role": "assistant", "model": "m",
            "content": [{"type": "text", "text": text}],
            "stop_reason": "refusal" if refused else "max_tokens" if cut_off else "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 1000, "output_tokens": 200},
        }  # fmt: skip
    said = {"content": None, "refusal": text} if refused else {"content": text}
    choice = {
        "index": 0, "finish_reason": "length" if cut_off else "stop", "message": {"role": "assistant", **said}
    }  # fmt: skip
    usage = {"prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200}
    return {"id": "c1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}


def says(text: str, **more: bool) -> Reply:
    return lambda path: (200, {}, json.dumps(answer_of(path, text, **more)).encode())


def fails(status: int, body: bytes = b'{"error": {"message": "CANARY of the provider"}}', **headers: str) -> Reply:
    return lambda path: (status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class VisionServer:
    """Speaks HTTP/1.1 over plain sockets. `connections` counts every socket that was opened to it, `left` those on
    which it said nothing until the caller hung up."""

    def __init__(self) -> None:
        self.reply: Reply = says("Zeile eins\nZeile zwei")
        self.by_path: dict[str, Reply] = {}
        self.connections = 0
        self.left = asyncio.Semaphore(0)
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                path = head.split(b" ", 2)[1].decode()
                length = next(
                    int(line.split(b":")[1])
                    for line in head.lower().split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                self.requests.append((path, json.loads(await reader.readexactly(length))))
                reply = next((each for end, each in self.by_path.items() if path.endswith(end)), self.reply)(path)
                if reply is None:
                    await reader.read()  # until the caller hangs up
                    self.left.release()
                    return
                status, headers, body = reply
                lines = [f"HTTP/1.1 {status} X", "content-type: application/json", f"content-length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in headers.items()]
                writer.write("\r\n".join([*lines, "", ""]).encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def vision_server() -> AsyncIterator[VisionServer]:
    fake = VisionServer()
    server = await asyncio.start_server(fake.serve, "127.0.0.1", 0, limit=2**26)
    fake.port = server.sockets[0].getsockname()[1]
    try:
        yield fake
    finally:
        server.close()


@pytest.fixture(name="server")
async def one_server() -> AsyncIterator[VisionServer]:
    async with vision_server() as fake:
        yield fake


def settings_for(url: str, **more: object) -> Settings:
    """Settings with every remote provider at one address."""
    return load(
        **{
            "openai_api_key": "a-key", "openai_base_url": url + "/v1",
            "anthropic_api_key": "a-key", "anthropic_base_url": url,
            "compatible_vision_url": url + "/v1", "compatible_vision_model": "paddleocr-vl",
            "call_deadline_s": 60, **more,
        }
    )  # fmt: skip


def service_at(url: str, **more: object) -> VisionService:
    return VisionService(settings_for(url, **more))


def page(size: tuple[int, int] = (600, 300)) -> bytes:
    out = io.BytesIO()
    Image.new("L", size, 255).save(out, "PNG")
    return out.getvalue()


def tiff_of(frames: int) -> bytes:
    """A TIFF of so many frames of one grey pixel."""
    made = bytearray(b"II*\0" + struct.pack("<I", 8))
    for number in range(1, frames + 1):
        tags = {256: 1, 257: 1, 258: 8, 259: 1, 262: 1, 273: 0, 278: 1, 279: 1}
        made += struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in tags)
        made += struct.pack("<I", len(made) + 4 if number < frames else 0)
    return bytes(made)


def png_header(width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """The beginning of a PNG: its header, these chunks, and hardly any data."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), *more]
    whole = b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body)) for name, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + whole + struct.pack(">I", 8) + b"IDAT" + b"\x00" * 12


def asking(provider: str | None = None, image: bytes | None = None, **more: object) -> VisionRequest:
    encoded = base64.b64encode(image or page()).decode()
    return VisionRequest.model_validate({"image_base64": encoded, "provider": provider, **more})


def scan_request(**more: object) -> VisionRequest:
    return VisionRequest.model_validate({"image_base64": base64.b64encode(scanned_report()).decode(), **more})
