"""Processing: a customer's files into the customer's dataset, in the order of their paths, each effect once.

Documents are read and embedded several at a time, and written in order, while later ones are already on their way.
What is recorded in the ledger is there for good: a process killed anywhere starts again, finds it, and does only the
rest; a document half written is written anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

from servers.cradle.processing.children import ExtractionPool
from servers.cradle.processing.ledger import require_open_folders
from servers.cradle.processing.pace import Pace
from servers.cradle.processing.parameters import require_same_processing
from servers.cradle.processing.sources import SourceFile
from servers.cradle.processing.stages import Embedder, Ocr, Outcome, Readers, Stages
from servers.cradle.processing.writing import WriteQueue
from shared.contracts.installation import InstallationVersion
from shared.contracts.processing import Counts, ProcessingReport
from shared.dataset.manifest import DatasetModel, Manifest
from shared.dataset.rows import DocumentBundle, DocumentParts, DocumentRow, document_id
from shared.dataset.writer import DatasetWriter
from shared.objects import CustomerStore

AHEAD = 24
PARTS_AHEAD = 2
BATCH_DOCUMENTS = 1024
BATCH_CHUNKS = 4096
BATCH_SECONDS = 20.0

Progress = Callable[[float, int, str], Awaitable[None]]


async def process(
    store: CustomerStore,
    files: list[SourceFile],
    version: InstallationVersion,
    embedder: Embedder,
    ocr: Ocr,
    progress: Progress,
    *,
    workers: int | None = None,
    readers: Callable[[ExtractionPool], AbstractAsyncContextManager[Readers]] | None = None,
) -> ProcessingReport:
    """Make the dataset hold exactly what these files give with these parameters.

    Args:
        files: every file of every source (`sources.find_files`).
        progress: called with documents done, documents found, and counts, rate and time left in words; a large
            document in the works counts as a part of one, that grows.
        workers: child processes that read files; default one for each processor, at most eight.
        readers: makes, of those, a pool that has further ones elsewhere.

    Raises:
        ParameterDrift: this cradle reads or cuts otherwise than the installation did; names what.
        Conflict: another process writes the customer's dataset.
        Unavailable: a folder cannot be opened whose files the dataset holds.
    """
    require_same_processing(version.parameters)
    embedding = version.parameters.embedding
    here = ExtractionPool(workers or min(os.cpu_count() or 1, 8))
    async with (
        DatasetWriter(store.path("dataset"), embedding.dimension, store.storage_options) as writer,
        readers(here) if readers is not None else here as pool,
    ):
        known = await writer.documents()
        require_open_folders(files, known.values())
        stages = Stages(version, pool, embedder, ocr, known)
        async with WriteQueue(stages.clock) as writes:
            pace = Pace((file.size for file in files), time.monotonic)
            run = _Run(writer, writes, stages, known, len(files), progress, pace, max(AHEAD, 2 * pool.size))
            await run.documents(files)
            await writes.join()
        await run.remove_gone(files)
        manifest = await run.commit(version)
        return _report(version, manifest, run, stages)


@dataclass(slots=True)
class _Run:
    """The writing end: takes outcomes in order, batches small documents, streams large ones."""

    writer: DatasetWriter
    writes: WriteQueue
    stages: Stages
    known: dict[str, DocumentRow]
    total: int
    progress: Progress
    pace: Pace
    ahead: int
    pending: list[DocumentBundle] = field(default_factory=list)
    pending_chunks: int = 0
    moved: list[DocumentRow] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    flushed: float = field(default_factory=time.monotonic)

    async def documents(self, files: list[SourceFile]) -> None:
        """All documents, in order; a few are always on their way."""
        running: deque[_Running] = deque()
        try:
            for file in files:
                running.append(_Running(file, self.stages.run(file)))
                if len(running) >= self.ahead:
                    await self._document(running[0])
                    running.popleft()
            while running:
                await self._document(running[0])
                running.popleft()
        finally:
            for document in running:
                await document.close()
        await self._flush()
        if self.moved:
            await self.writes.put(self.writer.record, self.moved)

    async def remove_gone(self, files: list[SourceFile]) -> None:
        """Takes documents out whose files the sources hold no longer."""
        found = {file.path for file in files}
        gone = sorted(row.document_id for path, row in self.known.items() if path not in found)
        self.counts["removed"] = len(gone)
        if gone:
            await self.writer.remove_documents(gone)

    async def commit(self, version: InstallationVersion) -> Manifest:
        embedding = version.parameters.embedding
        model = DatasetModel(
            model=embedding.model,
            revision=embedding.revision,
            dimension=embedding.dimension,
            query_prefix=embedding.query_prefix,
            passage_prefix=embedding.passage_prefix,
            normalize=embedding.normalize,
        )
        with self.stages.clock.stage("commit"):
            return await self.writer.commit(
                parameter_version=version.version, fingerprint=version.fingerprint, model=model
            )

    async def _document(self, document: _Running) -> None:
        held: list[DocumentParts] = []
        streamed = 0
        so_far: Counter[str] = Counter()
        async for outcome in document:
            if isinstance(outcome, DocumentParts):
                held.append(outcome)
                so_far["chunks"] += len(outcome.chunks)
                so_far["tokens"] += sum(chunk.tokens for chunk in outcome.chunks)
                if streamed or len(held) > 1:
                    await self._stream(document.document_id, held, first=not streamed)
                    streamed += 1
                    await self.progress(
                        self.counts["documents"] + 1 - 1 / (1 + streamed), self.total, self._note(so_far)
                    )
            elif isinstance(outcome, DocumentRow):
                await self._finish(outcome, held, streamed > 0)
                self.pace.add(document.file.size)
            else:
                self._count(outcome.row, unchanged=True)
                self.moved += [outcome.row] if outcome.row != self.known[outcome.row.path] else []
                self.pace.add(document.file.size, unchanged=True)
        await self.progress(self.counts["documents"], self.total, self._note(Counter()))

    async def _stream(self, key: str, held: list[DocumentParts], *, first: bool) -> None:
        """A document of several parts goes into the dataset as it comes; it counts once its row is recorded."""
        if first:
            await self._flush()
            await self.writes.put(self.writer.discard, [key])
        for part in held:
            await self.writes.put(self.writer.append, part)
        held.clear()

    async def _finish(self, row: DocumentRow, held: list[DocumentParts], streamed: bool) -> None:
        self._count(row)
        if streamed and row.status == "failed":
            await self.writes.put(self.writer.replace_documents, [DocumentBundle(row)])
            return
        if streamed:
            await self.writes.put(self.writer.record, [row])
            return
        parts = held[0] if held and row.status == "processed" else DocumentParts()
        self.pending.append(DocumentBundle(row, parts))
        self.pending_chunks += len(parts.chunks)
        late = time.monotonic() - self.flushed > BATCH_SECONDS
        if len(self.pending) >= BATCH_DOCUMENTS or self.pending_chunks >= BATCH_CHUNKS or late:
            await self._flush()

    async def _flush(self) -> None:
        if self.pending:
            await self.writes.put(self.writer.replace_documents, self.pending)
            self.pending, self.pending_chunks = [], 0
        self.flushed = time.monotonic()

    def _count(self, row: DocumentRow, *, unchanged: bool = False) -> None:
        self.counts["documents"] += 1
        self.counts["pages"] += row.pages
        self.counts["chunks"] += row.chunks
        self.counts["tokens"] += row.tokens
        if row.status == "failed":
            self.failures[row.failure_code] += 1
        elif unchanged:
            self.counts["unchanged"] += 1

    def _note(self, so_far: Counter[str]) -> str:
        """Counts in words, those of the document in the works too."""
        counts = self.counts + so_far
        return (
            f"{counts['documents']} of {self.total} documents, {counts['pages']} pages, {counts['chunks']} passages, "
            f"{counts['tokens']} tokens, {self.failures.total()} not read, {self.pace.words}"
        )


class _Running:
    """A document on its way, with a bounded queue of what it has given so far."""

    def __init__(self, file: SourceFile, outcomes: AsyncGenerator[Outcome, None]) -> None:
        self.file = file
        self.document_id = document_id(file.path)
        self._queue: asyncio.Queue[Outcome | BaseException | None] = asyncio.Queue(PARTS_AHEAD)
        self._task = asyncio.create_task(self._drive(outcomes))

    async def _drive(self, outcomes: AsyncGenerator[Outcome, None]) -> None:
        try:
            async with contextlib.aclosing(outcomes):
                async for outcome in outcomes:
                    await self._queue.put(outcome)
        except Exception as error:  # noqa: BLE001 - raised again where the document is taken up
            await self._queue.put(error)
        else:
            await self._queue.put(None)

    async def __aiter__(self) -> AsyncGenerator[Outcome, None]:
        while (outcome := await self._queue.get()) is not None:
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


def _report(version: InstallationVersion, manifest: Manifest, run: _Run, stages: Stages) -> ProcessingReport:
    this_run = {name: run.counts[name] for name in ("unchanged", "removed")}
    counts = Counts(**{**manifest.counts.model_dump(), **this_run})
    return ProcessingReport(
        parameter_version=version.version,
        dataset_version=manifest.dataset_version or 1,
        dataset_digest=manifest.dataset_digest,
        counts=counts,
        files=run.total,
        failures_by_code=dict(sorted(run.failures.items())),
        seconds_by_stage={name: round(seconds, 3) for name, seconds in sorted(stages.clock.seconds.items())},
        computed=manifest.computed,
    )
