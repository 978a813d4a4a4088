"""The bundled model for tests: exported once in a run, and a backend into which a test can put faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.openvino import OpenVinoBackend
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.export import exported
from servers.cradle.embedding.models import resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.encoder import Ids, Vectors

POISON, FATAL = 29_999, 29_998
PROBE = [101, 102]


class FaultyBackend(OpenVinoBackend):
    """The real backend. `POISON` among the ids fails the batch, `FATAL` breaks the backend for good, and while `gate`
    is closed it stands still. Remembers the ids of every text that reached it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.dead = False
        self.largest: int | None = None
        self.seen: list[list[int]] = []

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        self.entered.set()
        assert self.gate.wait(30)
        self.seen += ids.tolist()
        self.dead = self.dead or bool((ids == FATAL).any())
        if self.dead or (ids == POISON).any():
            raise RuntimeError("the device says no")
        if self.largest is not None and len(ids) > self.largest:
            raise MemoryError
        return super().run(ids)


@pytest.fixture(scope="session")
def model_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose model cache holds the bundled model, exported."""
    home = tmp_path_factory.mktemp("embedding-home")
    settings = Settings(home=home)
    asyncio.run(exported(settings, resolve(settings)))
    return home


@pytest.fixture(scope="session")
def model_folder(model_home: Path) -> Path:
    """The exported folder of the bundled model."""
    return next((model_home / "models" / "openvino").iterdir())


@pytest.fixture(scope="session")
async def service(model_home: Path) -> AsyncIterator[EmbeddingService]:
    """The service, loaded."""
    serving = EmbeddingService(Settings(home=model_home))
    await serving.start()
    await serving.identity()
    yield serving
    await serving.close()


@pytest.fixture
async def faulty(model_folder: Path) -> FaultyBackend:
    return FaultyBackend(model_folder)


@pytest.fixture
async def engine(faulty: FaultyBackend) -> AsyncIterator[Engine]:
    """An engine on the faulty backend."""
    running = Engine(faulty, 384, PROBE, Admission())
    await running.start()
    faulty.seen.clear()
    faulty.entered.clear()
    yield running
    faulty.gate.set()
    await running.close()


def text_ids(draw: np.random.Generator, length: int) -> list[int]:
    """Ids of a made-up text of that length, as the model reads them."""
    return [101, *draw.integers(1000, 20_000, length - 2).tolist(), 102]
