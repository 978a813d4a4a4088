"""Page images of a file, made by a process of its own (`page_child`): a file that is hostile, or takes too long, costs
its own call and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
from collections.abc import AsyncGenerator, AsyncIterator

import orjson

from servers.cradle.processing.reader_process import ReaderProcess
from servers.cradle.vision.page_child import DONE, ERROR, HEAD, PAGE, READY
from shared.errors import InvalidInput, TooLarge, Unavailable
from shared.values import MAX_PIXELS

MODULE = "servers.cradle.vision.page_child"
MEMORY = 2 * 2**30
START_S = 120.0
MAX_FRAME = 5 * MAX_PIXELS
"""Bytes of one page: a PNG of that many pixels is hardly larger than they are."""
PNG = b"\x89PNG\r\n\x1a\n"


class PageReader(ReaderProcess):
    """A process that waits for its one file. Use `PageReader.started`."""

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls, seconds: float, pages: str | None) -> AsyncIterator[PageReader]:
        """A process, which is gone after the block.

        Args:
            seconds: of processor time that it may take.
            pages: a page or a range, `3`, `2-5` or `8-`; None: all.

        Raises:
            Unavailable: it does not start.
        """
        asked = [pages] if pages else []
        reader = await cls.start(MODULE, str(MEMORY), str(int(seconds) + 1), *asked)
        try:
            await reader._ready()
            yield reader
        finally:
            reader.kill()
            await asyncio.shield(reader.gone())

    async def read(self, data: bytes) -> AsyncGenerator[tuple[int, bytes], None]:
        """Number (from 1) and PNG bytes of each page, in order.

        Raises:
            InvalidInput: as `page_images`, or it took too much memory or time.
            TooLarge: as `page_images`.
        """
        sending = asyncio.create_task(self._send(data))
        try:
            while True:
                kind, number, payload = await self._frame()
                if kind == DONE:
                    return
                if kind == ERROR:
                    raise _error(payload)
                if kind != PAGE or not _is_page(payload):
                    raise ValueError("not a page")
                yield number, payload
        except (asyncio.IncompleteReadError, ValueError):
            raise await self._why() from None
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _ready(self) -> None:
        try:
            async with asyncio.timeout(START_S):
                if (await self._frame())[0] == READY:
                    return
        except (TimeoutError, asyncio.IncompleteReadError, ValueError):
            pass
        raise Unavailable("The process that reads images does not start: look at the server's memory.")

    async def _send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop: RuntimeError for a closed pipe
            self._in.write(data)
            await self._in.drain()
            self._in.close()

    async def _frame(self) -> tuple[bytes, int, bytes]:
        kind, number, size = struct.unpack("<cIQ", await self._out.readexactly(HEAD))
        if size > MAX_FRAME:
            raise ValueError("too long")
        return kind, number, await self._out.readexactly(size)

    async def _why(self) -> InvalidInput:
        if await self.died() in {-signal.SIGXCPU, -signal.SIGKILL}:
            return InvalidInput("To show its pages takes longer than one file is given.", field="image_base64")
        return InvalidInput(
            "The file needs more memory than one is given, or is damaged in a way that stops its reader.",
            field="image_base64",
        )


def _error(payload: bytes) -> InvalidInput:
    told = orjson.loads(payload)
    kind = TooLarge if told.get("code") == TooLarge("").code else InvalidInput
    return kind(str(told.get("message"))[:500], field="pages" if told.get("field") == "pages" else "image_base64")


def _is_page(payload: bytes) -> bool:
    """Whether it is a PNG of a size that is read: its decoder is in the platform's own process."""
    if payload[:8] != PNG or payload[12:16] != b"IHDR" or len(payload) < 33:  # signature and IHDR
        return False
    width, height = struct.unpack(">II", payload[16:24])
    return width * height <= MAX_PIXELS
