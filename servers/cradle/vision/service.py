"""The vision service: chooses a provider, holds the bounds, and keeps *local only* customers local."""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import Iterator

from servers.cradle.vision.base import Provider
from servers.cradle.vision.openai import OpenAiVision
from servers.cradle.vision.pages import page_images
from servers.cradle.vision.rapidocr import RapidOcr
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionRequest, VisionResult
from shared.errors import DeadlineExceeded, Forbidden, InvalidInput, Overloaded
from shared.settings import Settings

MAX_WAITING = 64


class VisionService:
    """Reads images and PDFs. Holds a page only while it is read."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.ocr_provider
        self._deadline = settings.call_deadline_s
        self._providers: dict[str, Provider] = {"rapidocr": RapidOcr()}
        if settings.openai_api_key is not None:
            self._providers["openai"] = OpenAiVision(
                settings.openai_api_key,
                settings.openai_vision_model,
                settings.openai_base_url,
                settings.call_deadline_s,
            )
        self._permits = asyncio.Semaphore(2)
        self._waiting = 0

    def health(self) -> dict[str, object]:
        """What `GET /health` on the vision port answers."""
        return {
            "status": "healthy" if self._default in self._providers else "unconfigured",
            "service": f"vision-{self._default}",
            "providers": sorted(self._providers),
            "waiting": self._waiting,
        }

    def parameters(self, provider: str | None) -> OcrParameters:
        """The OCR parameters that go into an installation's fingerprint."""
        return self._provider(provider, local_only=False).parameters()

    async def read(self, request: VisionRequest, *, local_only: bool = False) -> VisionResult:
        """Every page of the image or PDF in the request, in order.

        Raises:
            InvalidInput: not base64, not an image, or a task that the provider does not have.
            Forbidden: a remote provider for a customer marked local only.
            Overloaded: too many callers wait.
            DeadlineExceeded: not read within the call's deadline.
        """
        provider = self._provider(request.provider, local_only)
        data = _decoded(request.image_base64)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline):
                pages, cost = await self._read_pages(provider, data, request)
        except TimeoutError:
            raise DeadlineExceeded("The pages were not read in time. Send fewer pages per call.") from None
        return VisionResult(
            pages=pages,
            provider=provider.name,
            provider_version=provider.parameters().version,
            seconds=time.perf_counter() - started,
            cost_eur=cost,
        )

    async def ocr_page(self, png: bytes, parameters: OcrParameters, *, local_only: bool) -> str:
        """The text of one page image, by the provider that an installation names: the pipeline's way in."""
        provider = self._provider(parameters.provider, local_only)
        async with self._permits:
            page, _ = await provider.read(png, 1, "ocr", words=False)
        return page.text

    async def close(self) -> None:
        """Closes every provider."""
        for provider in self._providers.values():
            await provider.close()

    async def _read_pages(
        self, provider: Provider, data: bytes, request: VisionRequest
    ) -> tuple[list[VisionPage], float | None]:
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many pages wait to be read.", retry_after=5)
        pages: list[VisionPage] = []
        total: float | None = None
        self._waiting += 1
        try:
            async with self._permits:
                images = page_images(data)
                while (png := await asyncio.to_thread(_next_page, images)) is not None:
                    page, cost = await provider.read(png, len(pages) + 1, request.task, request.output == "words")
                    pages.append(page)
                    total = total if cost is None else (total or 0.0) + cost
        finally:
            self._waiting -= 1
        return pages, total

    def _provider(self, name: str | None, local_only: bool) -> Provider:
        chosen = self._providers.get(name or self._default)
        if chosen is None:
            known = ", ".join(sorted(self._providers))
            hint = " Set P0711_OPENAI_API_KEY to use it." if (name or self._default) == "openai" else ""
            raise InvalidInput(f"That vision provider is not configured; configured: {known}.{hint}", field="provider")
        if local_only and chosen.remote:
            raise Forbidden("This customer's content stays local: a remote vision provider may not be used.")
        return chosen


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(
            "The image is not valid base64 (no data: prefix, no line breaks).", field="image_base64"
        ) from None


def _next_page(images: Iterator[bytes]) -> bytes | None:
    return next(images, None)
