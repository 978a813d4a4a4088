"""One document through the stages: read → extract → OCR → chunk → embed, each with its own bound for all documents."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec.structs import replace

from servers.cradle.processing.admission import Admission, Ticket
from servers.cradle.processing.chunking import Chunk, Chunker, ChunkSizes, Tokenizer
from servers.cradle.processing.contents import without_leaders
from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.text import paragraphs
from servers.cradle.processing.extraction import Block, Extraction, Product, Scan
from servers.cradle.processing.language import guess
from servers.cradle.processing.ledger import Entry, unchanged
from servers.cradle.processing.metrics import UNREAD
from servers.cradle.processing.records import Records
from servers.cradle.processing.sources import STREAM_FROM, SourceFile
from servers.cradle.processing.wire import Identified
from servers.cradle.processing.word_ids import with_memory
from shared.contracts.installation import InstallationVersion
from shared.dataset.rows import DocumentParts, DocumentRow
from shared.errors import Conflict, InvalidInput, PlatformError, TooLarge
from shared.ids import digest
from shared.telemetry import event

if TYPE_CHECKING:
    import numpy as np

EMBED_BATCH = 256
BYTES_AT_ONCE = 2**30
FETCHED_AHEAD = 8
"""Documents fetched while others are read: a bucket takes as long for a small one as its reader."""
AT_ONCE = 2**18
"""Bytes that are hashed sooner than another thread has begun."""
FEW_ITEMS, FEW_CHARS = 256, 2**13
"""Blocks, products and features, and their text, of a part that is cut into passages without another thread: that
takes a few milliseconds, 30 where the run has not met one of its words before."""
ATTEMPTS = 4
Ocr = Callable[[bytes], Awaitable[str]]


class Embedder(Protocol):
    """The embedding service, as far as processing calls it."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    async def embed_vectors(
        self,
        texts: Sequence[str],
        input_type: Literal["passage"],
        tenant: str,
        priority: Literal["bulk"],
        *,
        inputs: Sequence[list[int]],
    ) -> np.ndarray: ...


class Readers(Protocol):
    """Where files are read: `ExtractionPool` on this machine."""

    size: int

    def read(
        self, data: bytes | AsyncIterable[bytes], name: str, size: int | None = None
    ) -> AsyncGenerator[Identified | Extraction, None]: ...


@dataclass(slots=True)
class Clock:
    """Seconds spent in each stage, added over documents that run at the same time."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def stage(self, name: str):
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The file is as the ledger knows it; `row` says which source has it now."""

    row: DocumentRow


Outcome = DocumentParts | DocumentRow | Unchanged
"""What a document gives, in order: its parts, then its row; or the row alone; or that nothing changed."""


class Stages:
    """Everything that documents share while they are processed."""

    def __init__(
        self,
        version: InstallationVersion,
        pool: Readers,
        embedder: Embedder,
        ocr: Ocr,
        known: dict[str, DocumentRow],
    ) -> None:
        self._version = version
        self._pool = pool
        self._embedder = embedder
        self._tokenizer = with_memory(embedder.tokenizer)
        self._ocr = ocr
        self._known = known
        chunking = version.parameters.chunking
        self._sizes = ChunkSizes(chunking.max_tokens, chunking.overlap_tokens)
        self._admission = Admission(pool.size, FETCHED_AHEAD, BYTES_AT_ONCE)
        self._ocr_permits = asyncio.Semaphore(2)
        self.clock = Clock()

    async def run(self, file: SourceFile) -> AsyncGenerator[Outcome, None]:
        """The document's outcome. A file that cannot be read gives its row; other errors are the caller's."""
        entry = Entry(file, self._version.version)
        ticket = await self._admission.enter(file.size)
        try:
            if file.problem is not None:
                raise file.problem
            with self.clock.stage("read"):
                data = await self._content(file, entry)
            row = self._known.get(file.path)
            if row is not None and unchanged(row, entry.sha256, entry.parameter_version):
                yield Unchanged(dataclasses.replace(row, source=file.source))
                return
            extractions = self._extractions(entry, data, ticket)
            del data
            async with contextlib.aclosing(extractions):
                async for part in self._parts(entry, extractions):
                    yield part
            yield entry.processed()
        except Unreadable as why:
            yield entry.failed(why)
        except (InvalidInput, TooLarge) as error:  # of this document alone: another one may well be read
            yield entry.failed(Unreadable("refused", error.message))
        finally:
            ticket.give_back()

    async def _content(self, file: SourceFile, entry: Entry) -> bytes | AsyncIterator[bytes]:
        """The file, or where it is large its blocks, read twice: what it is, is known before it is worked on."""
        if file.blocks is None or file.size < STREAM_FROM:
            data = await file.read()
            entry.size = len(data)
            entry.sha256 = digest(data) if len(data) < AT_ONCE else await asyncio.to_thread(digest, data)
            return data
        entry.size, entry.sha256 = await measured(file.blocks())
        return required_same(file.blocks(), entry.size, entry.sha256)

    async def _extractions(
        self, entry: Entry, data: bytes | AsyncIterator[bytes], ticket: Ticket
    ) -> AsyncGenerator[Extraction, None]:
        """The file's parts. Looks one ahead, so that the last is worked on when its reader is free for another file."""
        held: Extraction | None = None
        await ticket.turn.wait()
        async with contextlib.aclosing(self._pool.read(data, entry.file.path, entry.size)) as reading:
            del data
            while True:
                with self.clock.stage("extract"):
                    answer = await anext(reading, None)
                if answer is None:
                    break
                if isinstance(answer, Identified):
                    entry.identified = answer
                    continue
                if held is not None:
                    yield held
                held = answer
        ticket.give_back()
        if held is not None:
            yield held

    async def _parts(
        self, entry: Entry, extractions: AsyncGenerator[Extraction, None]
    ) -> AsyncGenerator[DocumentParts, None]:
        chunker = Chunker(self._tokenizer, self._sizes)
        records = Records(entry.document_id, entry.parameter_version)
        async for extraction in extractions:
            part = await self._with_text(entry, extraction)
            with self.clock.stage("chunk"):
                if small := _is_small(part):
                    chunks = list(chunker.add(part))
                else:
                    chunks = await asyncio.to_thread(lambda part=part: list(chunker.add(part)))
            vectors = await self._embed(chunks)
            _note(entry, part, chunks)
            if small:
                yield records.of(part, chunks, vectors)
            else:
                yield await asyncio.to_thread(records.of, part, chunks, vectors)

    async def _with_text(self, entry: Entry, part: Extraction) -> Extraction:
        """The part with every scan replaced by what OCR reads on it."""
        if not part.scans:
            return part
        texts = await asyncio.gather(*(self._read_scan(scan) for scan in part.scans))
        read = iter(texts)
        flow: list[Block | Scan | Product] = []
        for item in part.flow:
            if not isinstance(item, Scan):
                flow.append(item)
                continue
            text = next(read)
            entry.ocr_pages += text is not None
            blocks = paragraphs(_read_text(text or ""), item.page, item.source)
            flow += [replace(block, ocr=True) for block in blocks]
        return replace(part, flow=tuple(flow))

    async def _read_scan(self, scan: Scan) -> str | None:
        async with self._ocr_permits:
            with self.clock.stage("ocr"):
                return await self._attempt(scan)

    async def _attempt(self, scan: Scan) -> str | None:
        """The text of a scan; what may pass is tried again, what does not fails the document, a `Conflict` the job.

        None: there is no OCR for it, and the page has its stamp. A cover's photo costs no catalogue.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._ocr(scan.png)
            except Conflict:  # what the operator has to mend, and no other page would be read either
                raise
            except PlatformError as error:
                if not error.retryable and scan.stamped:
                    return None
                if not error.retryable or attempt == ATTEMPTS:
                    reason = f"Page {scan.page} could not be read by OCR ({error.code}). Run the job again."
                    UNREAD.labels(error.code).inc()
                    event("page_not_read", level=logging.WARNING, code=error.code, attempt=attempt)
                    raise Unreadable("ocr_failed", reason) from None
                await asyncio.sleep(error.retry_after or 0.5 * attempt)
        raise AssertionError

    async def _embed(self, chunks: list[Chunk]) -> np.ndarray | None:
        """The passages' vectors.

        Raises:
            Unreadable: one of them was refused; which may be the device's fault, and pass.
        """
        if not chunks:
            return None
        import numpy as np

        vectors = []
        with self.clock.stage("embed"):
            for at in range(0, len(chunks), EMBED_BATCH):
                batch = chunks[at : at + EMBED_BATCH]
                texts, inputs = [chunk.text for chunk in batch], [chunk.ids for chunk in batch]
                tenant = self._version.customer_id
                try:
                    vectors.append(await self._embedder.embed_vectors(texts, "passage", tenant, "bulk", inputs=inputs))
                except InvalidInput:
                    reason = "A passage could not be embedded. Run the job again; cradle's log says more."
                    raise Unreadable("embedding_failed", reason) from None
        return np.concatenate(vectors) if len(vectors) > 1 else vectors[0]


async def measured(blocks: AsyncIterator[bytes]) -> tuple[int, str]:
    size, state = 0, hashlib.sha256()
    async for block in blocks:
        size += len(block)
        await asyncio.to_thread(state.update, block)
    return size, f"sha256:{state.hexdigest()}"


async def required_same(blocks: AsyncIterator[bytes], size: int, sha256: str) -> AsyncIterator[bytes]:
    """The blocks once more.

    Raises:
        Unreadable: they are other ones than before.
    """
    left, state = size, hashlib.sha256()
    async for block in blocks:
        left -= len(block)
        await asyncio.to_thread(state.update, block)
        if left < 0:
            break
        yield block
    if left or f"sha256:{state.hexdigest()}" != sha256:
        raise Unreadable("changed", "The file was changed while it was read. Run the job again.")


def _is_small(part: Extraction) -> bool:
    """Whether a part is worked on without another thread."""
    items = len(part.flow) + sum(len(product.features) + len(product.properties) for product in part.products)
    return items <= FEW_ITEMS and sum(len(block.text) for block in part.blocks) <= FEW_CHARS


def _read_text(text: str) -> str:
    return "\n".join(without_leaders(line) for line in clean(text).split("\n"))


def _note(entry: Entry, part: Extraction, chunks: list[Chunk]) -> None:
    entry.title = entry.title or part.title[:1000] or _first_heading(part)
    entry.dated = entry.dated or part.dated[:19]
    declared = part.language[:2].lower()
    if not entry.language:
        text = " ".join(chunk.text for chunk in chunks[:20])
        entry.language = guess(text, {"ge": "de"}.get(declared, declared))
    entry.pages = max(entry.pages, part.pages)
    entry.chunks += len(chunks)
    entry.tokens += sum(chunk.tokens for chunk in chunks)
    entry.products += len(part.products)
    entry.attachments += part.attachments


def _first_heading(part: Extraction) -> str:
    return next((block.text[:1000] for block in part.blocks if block.kind == "heading"), "")
