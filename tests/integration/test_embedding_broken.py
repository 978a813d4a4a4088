"""A device that computes nothing, and what ends a process from outside: no text is blamed for either."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from servers.cradle.cluster.embedding import ClusterWorker, Model
from servers.cradle.embedding import worker
from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.worker import WorkerLost
from shared.encoder import Graph
from shared.errors import Unavailable
from tests.embedding_device import BROKEN, CRASH, KILLED, LEAK, SEGFAULT, STUCK
from tests.embedding_rig import PROBE, SeenWorker, text_ids
from tests.image_rig import linked

pytestmark = [pytest.mark.slow, pytest.mark.requirement("F-05", "F-06")]


@pytest.fixture
def folders(model_folder: Path, tmp_path: Path) -> list[Path]:
    """The model twice: each can be broken for itself."""
    made = [tmp_path / "first", tmp_path / "second"]
    for folder in made:
        linked(model_folder, folder)
    return made


def engine_on(folders: list[Path], launched: list[SeenWorker]) -> Engine:
    """A place on each folder."""

    def launch(place: int) -> SeenWorker:
        launched.append(SeenWorker(folders[place]))
        return launched[-1]

    return Engine(launch, 384, PROBE, Admission(), places=len(folders))


async def answers(engine: Engine, texts: Sequence[list[int]]) -> list[np.ndarray | BaseException]:
    deadline = time.monotonic() + 240
    calls = (engine.compute([text], "a", "interactive", deadline, True) for text in texts)
    return await asyncio.gather(*calls, return_exceptions=True)


def kinds(found: Sequence[object]) -> list[type]:
    return [type(each) for each in found]


@pytest.mark.parametrize("suspected", [False, True])
async def test_a_device_that_computes_nothing_is_blamed_on_no_text_and_serves_once_it_is_mended(
    folders: list[Path], graph: Graph, suspected: bool
) -> None:
    launched: list[SeenWorker] = []
    draw = np.random.default_rng(1)
    texts = [text_ids(draw, 12) for _ in range(3)]
    engine = engine_on(folders[:1], launched)
    await engine.start()
    try:
        for text in texts if suspected else ():
            engine._suspects.lost(text, False, time.monotonic())
        (folders[0] / BROKEN).touch()
        assert kinds(await answers(engine, texts)) == [Unavailable] * 3
        assert len(launched) >= 2
        assert (engine.ready, engine.admission.waiting) == (False, 0)
        assert kinds(await answers(engine, texts)) == [Unavailable] * 3
        (folders[0] / BROKEN).unlink()
        while not engine.ready:  # noqa: ASYNC110  it is tried again and again
            await asyncio.sleep(0.05)
        for text, found in zip(texts, await answers(engine, texts), strict=True):
            assert np.array_equal(np.asarray(found), graph.run(np.array([text]))[1])
    finally:
        await engine.close()


async def test_a_broken_device_beside_one_that_works_costs_nobody_a_text(folders: list[Path], graph: Graph) -> None:
    launched: list[SeenWorker] = []
    draw = np.random.default_rng(2)
    texts = [text_ids(draw, length) for length in range(8, 16)]  # no two share a batch
    engine = engine_on(folders, launched)
    await engine.start()
    try:
        (folders[0] / BROKEN).touch()
        launched[1].stand_still()
        running = asyncio.create_task(answers(engine, texts))
        while len(launched) < 4:  # noqa: ASYNC110  the first was replaced, and its successor found broken
            await asyncio.sleep(0.05)
        launched[1].go_on()
        for text, found in zip(texts, await running, strict=True):
            assert np.array_equal(np.asarray(found), graph.run(np.array([text]))[1])
    finally:
        await engine.close()


@pytest.mark.parametrize("fault", [KILLED, STUCK, LEAK])
async def test_a_text_whose_process_was_killed_stood_still_or_had_no_memory_may_come_again(
    engine: Engine, launched: list[SeenWorker], monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    text = text_ids(np.random.default_rng(3), 12)
    text[3] = fault
    monkeypatch.setattr(worker, "STUCK_S", 15.0)
    assert kinds(await answers(engine, [text])) == [Unavailable]
    assert engine._suspects.verdict(text, time.monotonic()) != "fatal"
    assert text in launched[1].seen  # it was given two
    assert engine.admission.waiting == 0


class Here:
    """Calls the actor in this process, where Ray would on another machine."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def call(self, name: str, *arguments: object) -> Any:
        return await getattr(self._model, name)(*arguments)


@pytest.mark.parametrize(("fault", "crashed"), [(CRASH, True), (SEGFAULT, True), (KILLED, False)])
async def test_another_machine_tells_whether_its_process_ended_by_itself(
    model_folder: Path, fault: int, crashed: bool
) -> None:
    model = Model()
    model._worker = there = SeenWorker(model_folder)
    here = ClusterWorker(cast(Any, None), cast(Any, SimpleNamespace(spec=there._spec)), 0)
    here._actor = cast(Any, Here(model))
    await there.start()
    try:
        with pytest.raises(WorkerLost) as lost:
            await here.run([[101, fault, 102]], [True])
        assert (lost.value.crashed, here.lost.is_set()) == (crashed, True)
    finally:
        await there.close()
