"""A customer whose folder is processed by the real pipeline: bucket, child processes, Delta and Lance are real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.processing import pipeline
from servers.cradle.processing.parameters import current_parameters
from servers.cradle.processing.sources import SourceFile, SourceList, find_files
from servers.cradle.vision.service import VisionService
from shared.contracts.installation import InstallationVersion, ParameterChoice
from shared.contracts.processing import ProcessingReport
from shared.dataset import lance
from shared.dataset.gone import GoneDocument
from shared.dataset.reader import DatasetReader
from shared.dataset.rows import DocumentRow
from shared.dataset.writer import DatasetWriter
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.dataset_corpus import vector_of

DIMENSION = 384


class Watched:
    """The embedding service as the pipeline sees it, with a gate before it. Remembers the texts that went through.

    The tokenizer is the model's. The vectors are the model's where `real` is set, else `vector_of` each text.
    """

    def __init__(self, service: EmbeddingService) -> None:
        self._service = service
        self.real = False
        self.gate = asyncio.Event()
        self.gate.set()
        self.texts: list[str] = []
        self.refuse = ""
        self.why: Exception = RuntimeError("the process dies here")
        self.changed = asyncio.Condition()

    @property
    def tokenizer(self) -> Any:
        return self._service.tokenizer

    async def embed_vectors(
        self,
        texts: list[str],
        input_type: Literal["passage"],
        tenant: str,
        priority: Literal["bulk"],
        *,
        inputs: list[list[int]],
    ) -> np.ndarray:
        await self.gate.wait()
        if self.refuse and any(self.refuse in text for text in texts):
            raise self.why
        if self.real:
            vectors = await self._service.embed_vectors(texts, input_type, tenant, priority, inputs=inputs)
        else:
            vectors = np.stack([vector_of(text, DIMENSION) for text in texts])
        async with self.changed:
            self.texts += texts
            self.changed.notify_all()
        return vectors


async def no_progress(done: float, total: float | None = None, note: str = "") -> None:
    """Where nobody asks how far it is."""


@dataclass
class Customer:
    """A customer's folder and bucket."""

    settings: Settings
    folder: Path
    store: CustomerStore
    version: InstallationVersion
    embedder: Watched
    vision: VisionService

    async def files(self) -> list[SourceFile]:
        sources = SourceList.parse([str(self.folder)], self.settings)
        return await find_files(sources, self.settings, self.store)

    async def process(
        self,
        files: list[SourceFile] | None = None,
        progress: Callable[..., Awaitable[None]] = no_progress,
        workers: int = 1,
    ) -> ProcessingReport:
        return await pipeline.process(
            self.store, files or await self.files(), self.version, self.embedder, self.ocr, progress, workers=workers
        )  # pyright: ignore[reportArgumentType]

    async def ocr(self, png: bytes) -> str:
        return await self.vision.ocr_page(png, self.version.parameters.ocr, local_only=True)

    async def ledger(self) -> dict[str, DocumentRow]:
        """The recorded documents, committed or not."""
        async with DatasetWriter(self.store.path("dataset"), DIMENSION) as writer:
            return await writer.documents()

    async def gone(self) -> dict[str, GoneDocument]:
        async with DatasetWriter(self.store.path("dataset"), DIMENSION) as writer:
            return await writer.gone()

    async def sql(self, query: str) -> list[tuple[Any, ...]]:
        async with DatasetReader(self.store.path("dataset")) as reader:
            return list((await reader.sql(query, limit=1000)).rows)

    async def misplaced(self) -> list[str]:
        """The passages whose vector is not `vector_of` their text."""
        async with DatasetReader(self.store.path("dataset")) as reader:
            name = reader.manifest.pins.vectors
        table = lance.connect(self.store.path("dataset/vectors"), dict).open_table(name).to_arrow()
        rows = zip(table["text"].to_pylist(), table["vector"].to_pylist(), strict=True)
        return [text for text, vector in rows if not np.array_equal(vector_of(text, DIMENSION), vector)]

    async def texts(self, path: str) -> list[str]:
        """The passages of a document."""
        async with DatasetReader(self.store.path("dataset")) as reader:
            return [passage.text for passage in await reader.passages(path, limit=1000)]


async def open_customer(home: Path, model_home: Path, service: EmbeddingService, name: str = "acme") -> Customer:
    """A customer with an empty folder."""
    folder = home / f"{name}-files"
    folder.mkdir(parents=True)
    settings = Settings(home=home / "home", model_cache=model_home / "models", source_roots=[home])
    vision = VisionService(settings)
    parameters = current_parameters(ParameterChoice(), await service.identity(), vision.parameters(None))  # pyright: ignore[reportCallIssue]
    version = InstallationVersion.model_validate(
        {
            "customer_id": name,
            "version": 1,
            "fingerprint": "sha256:" + "a" * 64,
            "parameters": parameters,
            "probes_digest": "sha256:" + "b" * 64,
            "created_at": "2026-11-25T00:00:00Z",
        }
    )
    store = await CustomerStore.open(settings, name, create=True)
    return Customer(settings, folder, store, version, Watched(service), vision)


@pytest.fixture
async def customer(tmp_path: Path, model_home: Path, service: EmbeddingService) -> AsyncIterator[Customer]:
    opened = await open_customer(tmp_path, model_home, service)
    yield opened
    await opened.vision.close()


@pytest.fixture
async def other(tmp_path: Path, model_home: Path, service: EmbeddingService) -> AsyncIterator[Customer]:
    """A second machine with nothing on it, to compare with."""
    opened = await open_customer(tmp_path / "other", model_home, service)
    yield opened
    await opened.vision.close()
