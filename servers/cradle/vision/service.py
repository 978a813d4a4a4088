"""The vision service: chooses providers, holds the bounds, and keeps *local only* customers local."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field

from servers.cradle.vision import costs
from servers.cradle.vision.base import Ask, Provider, fits
from servers.cradle.vision.chain import Chain
from servers.cradle.vision.layout import markdown, of_words
from servers.cradle.vision.page_reader import PageReader
from servers.cradle.vision.providers import HINTS, configured
from servers.cradle.vision.resources import decoded
from servers.cradle.vision.structured import check_schema
from shared.answers import ANSWER_CHARS, in_json
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionAttempt, VisionPage, VisionRequest, VisionResult, Word
from shared.errors import DeadlineExceeded, Forbidden, InvalidInput, Overloaded
from shared.settings import Settings

MAX_WAITING = 64
PROVIDERS_SHARE = 0.9
"""Of a call's time: a provider that stalls ends before its call does, so that this is known to be its fault."""


@dataclass(slots=True)
class _Reading:
    """What becomes known while the pages of one call are read. Costs stay None where no price is set."""

    pages: list[VisionPage] = field(default_factory=list)
    attempts: list[VisionAttempt] = field(default_factory=list)
    readers: list[Provider] = field(default_factory=list)
    cost: float | None = None
    most: float | None = None
    left: str | None = None

    @property
    def full(self) -> bool:
        """Whether an answer to an agent has no room for a further page like the longest so far."""
        sizes = [in_json(page) for page in self.pages]
        return sum(sizes) + max(sizes, default=0) > ANSWER_CHARS


class VisionService:
    """Reads images and PDFs. Holds a page only while it is read."""

    def __init__(self, settings: Settings) -> None:
        self._default = settings.ocr_provider
        self._fallback = settings.vision_fallback
        self._prices: costs.Prices = settings.vision_prices
        self._deadline = settings.call_deadline_s
        self._providers = configured(settings)
        self._chain = Chain(self._deadline * PROVIDERS_SHARE)
        self._permits = asyncio.Semaphore(2)
        self._waiting = 0

    def health(self) -> dict[str, object]:
        """What `GET /health` on the vision port answers."""
        return {
            "status": "healthy" if self._default in self._providers else "unconfigured",
            "service": f"vision-{self._default}",
            "providers": sorted(self._providers),
            "left_alone": sorted(name for name in self._providers if self._chain.breaker(name).open),
            "waiting": self._waiting,
        }

    def parameters(self, provider: str | None) -> OcrParameters:
        """The OCR parameters that go into an installation's fingerprint."""
        return self._provider(provider, local_only=False).parameters()

    async def read(
        self, request: VisionRequest, *, local_only: bool = False, stored: bytes | None = None, whole: bool = True
    ) -> VisionResult:
        """Every wanted page of the image or PDF in the request, in order. Where the chosen provider fails, the
        operator's fallback providers are asked in turn, remote ones never for a customer marked local only.

        Args:
            stored: the image's bytes where the request names a key or a resource.
            whole: every page or none; else those that one answer to an agent has room and time for, and which are left.

        Raises:
            InvalidInput: not base64, not an image, not a schema, no such page, or something that the provider does not
                do.
            Forbidden: a remote provider for a customer marked local only.
            Overloaded: too many callers wait, or the provider asks to wait.
            Unavailable: no provider could read a page.
            DeadlineExceeded: not read within the call's deadline.
        """
        ask = Ask(request.task, request.output, request.json_schema)
        if ask.json_schema is not None:
            check_schema(ask.json_schema)
        providers = self._order(request.provider, ask, local_only)
        data = stored if stored is not None else _held(request.image_base64)
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._deadline) as within:
                reading = await self._read_pages(providers, data, request.pages, ask, within, whole=whole)
        except TimeoutError:
            raise DeadlineExceeded("The pages were not read in time. Send fewer pages per call.") from None
        readers = list(dict.fromkeys(reading.readers)) or providers[:1]
        return VisionResult(
            pages=reading.pages,
            provider=" + ".join(each.name for each in readers),
            provider_version=" + ".join(each.parameters().version for each in readers),
            seconds=round(time.perf_counter() - started, 3),
            cost_eur=reading.cost,
            estimated_cost_eur=reading.most,
            attempts=reading.attempts,
            next_pages=reading.left,
        )

    async def ocr_page(self, png: bytes, parameters: OcrParameters, *, local_only: bool) -> str:
        """The text of one page image, by the provider that an installation names and by no other: another one would
        read something else than the installation did. The pipeline's way in."""
        provider = self._provider(parameters.provider, local_only)
        async with self._permits:
            answer, _, _ = await self._chain.read([provider], png, 1, Ask(), self._deadline * PROVIDERS_SHARE)
        return answer.page.text

    async def close(self) -> None:
        """Closes every provider."""
        for provider in self._providers.values():
            await provider.close()

    async def _read_pages(
        self,
        providers: list[Provider],
        data: bytes,
        pages: str | None,
        ask: Ask,
        within: asyncio.Timeout,
        *,
        whole: bool,
    ) -> _Reading:
        if self._waiting >= MAX_WAITING:
            raise Overloaded("Too many pages wait to be read.", retry_after=5)
        reading = _Reading()
        end = time.monotonic() + self._deadline * PROVIDERS_SHARE
        self._waiting += 1
        try:
            async with self._permits, AsyncExitStack() as block:
                before = time.monotonic()
                reader = await block.enter_async_context(_started(within, self._deadline, pages))
                end += time.monotonic() - before
                images = await block.enter_async_context(aclosing(reader.read(data)))
                async for page in images:
                    done = bool(reading.pages) and not whole
                    if done and reading.full:
                        reading.left = _from(page[0], pages)
                        break
                    try:
                        await self._read_page(reading, providers, page, ask, end - time.monotonic())
                    except DeadlineExceeded:
                        if not done:
                            raise
                        reading.left = _from(page[0], pages)
                        break
        finally:
            self._waiting -= 1
        return reading

    async def _read_page(
        self, reading: _Reading, providers: list[Provider], page: tuple[int, bytes], ask: Ask, seconds: float
    ) -> None:
        number, png = page
        answer, reader, attempts = await self._chain.read(providers, png, number, ask, seconds)
        reading.pages.append(_formed(answer.page, ask))
        reading.attempts += attempts
        reading.readers.append(reader)
        wasted = [(each.provider, each.tokens_in, each.tokens_out) for each in attempts if each.tokens_in]
        for name, tokens_in, tokens_out in (*wasted, (reader.name, answer.tokens_in, answer.tokens_out)):
            if price := self._prices.get(name):
                reading.most = (reading.most or 0.0) + costs.most(png, ask, price)
                reading.cost = (reading.cost or 0.0) + costs.actual(tokens_in, tokens_out, price)

    def _order(self, name: str | None, ask: Ask, local_only: bool) -> list[Provider]:
        """The chosen provider, then the fallback ones that may and can do the same."""
        chosen = self._provider(name, local_only)
        if not fits(chosen, ask):
            able = sorted(each.name for each in self._providers.values() if fits(each, ask))
            raise InvalidInput(
                f"This provider does not do that. Use one of: {', '.join(able) or 'none is configured'}.",
                field="provider",
            )
        others = [self._providers[each] for each in self._fallback if each in self._providers]
        return [
            chosen,
            *(each for each in others if each is not chosen and fits(each, ask) and not (local_only and each.remote)),
        ]

    def _provider(self, name: str | None, local_only: bool) -> Provider:
        wanted = name or self._default
        chosen = self._providers.get(wanted)
        if chosen is None:
            known = ", ".join(sorted(self._providers))
            hint = f" {HINTS[wanted]}" if wanted in HINTS else ""
            raise InvalidInput(f"That vision provider is not configured; configured: {known}.{hint}", field="provider")
        if local_only and chosen.remote:
            raise Forbidden("This customer's content stays local: a remote vision provider may not be used.")
        return chosen


def _formed(page: VisionPage, ask: Ask) -> VisionPage:
    """The page in the form that was asked for. Boxes in tenths of a pixel: more digits would be half of an answer."""
    if page.words is None:
        return page
    if ask.output == "markdown":
        return page.model_copy(update={"text": markdown(of_words(page.words)), "words": None})
    return page.model_copy(update={"words": [_rounded(word) for word in page.words]})


def _rounded(word: Word) -> Word:
    left, top, right, bottom = (round(edge, 1) for edge in word.box)
    return Word(text=word.text, confidence=round(word.confidence, 3), box=(left, top, right, bottom))


def _from(number: int, pages: str | None) -> str:
    """The wanted pages from this one on."""
    return f"{number}-{(pages or '').partition('-')[2]}"


def _held(text: str | None) -> bytes:
    if text is None:
        raise InvalidInput(
            "Send the image or PDF as image_base64 or as a resource, or name an object of the bucket as key.",
            field="key",
        )
    return decoded(text, "image_base64")


@asynccontextmanager
async def _started(within: asyncio.Timeout, seconds: float, pages: str | None) -> AsyncIterator[PageReader]:
    """A process that reads one file. Its start is not of the call's time: on a slow machine it takes longer."""
    clock, until = asyncio.get_running_loop().time, within.when()
    before = clock()
    within.reschedule(None)
    async with PageReader.started(seconds, pages) as reader:
        within.reschedule((until or before) + clock() - before)
        yield reader
