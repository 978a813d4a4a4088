"""The bundled model for tests: exported once in a run, and workers into which a test can put faults."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.device import Spec
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.embedding.worker import Worker
from shared.encoder import Graph
from shared.settings import Settings
from tests.image_rig import linked

if TYPE_CHECKING:
    from shared.encoder import Vectors

PROBE = [101, 102]


class SeenWorker(Worker):
    """The real worker on `tests.embedding_device`. Remembers the ids of every text that was sent to the device, but for
    the probe."""

    def __init__(self, folder: Path) -> None:
        super().__init__(Spec("openvino", str(folder), threads=1), "tests.embedding_device")
        self.seen: list[list[int]] = []
        self.sent = asyncio.Event()

    async def run(self, texts: Sequence[Sequence[int]], units: Sequence[bool]) -> Vectors:
        if list(texts[0]) != PROBE:
            self.seen += [list(text) for text in texts]
            self.sent.set()
        return await super().run(texts, units)

    def stand_still(self) -> None:
        """The process does nothing until `go_on`; what is sent to it waits."""
        assert self.pid
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.pid
        os.kill(self.pid, signal.SIGCONT)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory, query_model: Path) -> Path:
    """The exported folder of the bundled model, in a home's model cache."""
    folder = tmp_path_factory.mktemp("embedding-home") / "models" / "openvino" / query_model.name
    linked(query_model, folder)
    return folder


@pytest.fixture(scope="session")
def model_home(model_folder: Path) -> Path:
    """A home whose model cache holds the bundled model, exported."""
    return model_folder.parents[2]


@pytest.fixture(scope="session")
async def service(model_home: Path) -> AsyncIterator[EmbeddingService]:
    """The service, loaded."""
    serving = EmbeddingService(Settings(home=model_home))
    await serving.start()
    await serving.identity()
    yield serving
    await serving.close()


@pytest.fixture
def launched() -> list[SeenWorker]:
    """Every worker that the engine has launched, in order."""
    return []


@pytest.fixture
async def engine(model_folder: Path, launched: list[SeenWorker]) -> AsyncIterator[Engine]:
    """An engine on one worker that may fail."""
    running = engine_of(model_folder, launched)
    await running.start()
    yield running
    await running.close()


def engine_of(folder: Path, launched: list[SeenWorker], places: int = 1) -> Engine:
    """An engine on workers that may fail, not started."""

    def launch(place: int) -> Worker:
        launched.append(SeenWorker(folder))
        return launched[-1]

    return Engine(launch, 384, PROBE, Admission(), places=places)


@pytest.fixture(scope="session")
def graph(model_folder: Path) -> Graph:
    """The model in this process: what vectors are compared with."""
    return Graph(model_folder)


def text_ids(draw: np.random.Generator, length: int) -> list[int]:
    """Ids of a made-up text of that length, as the model reads them."""
    return [101, *draw.integers(1000, 20_000, length - 2).tolist(), 102]
