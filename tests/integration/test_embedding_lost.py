"""Texts that were on the device when its process ended: what was innocent is served, what ends it is refused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import numpy as np
import pytest

from servers.cradle.embedding.engine import Engine
from shared.encoder import Graph
from shared.errors import InvalidInput
from tests.embedding_device import CRASH, FATAL, POISON, SEGFAULT
from tests.embedding_rig import SeenWorker, text_ids

pytestmark = [pytest.mark.slow, pytest.mark.requirement("F-05", "F-06")]
Compute = Callable[..., asyncio.Task[np.ndarray]]


def asked(
    engine: Engine, texts: list[list[int]], tenant: str = "a", deadline_s: float = 240.0
) -> asyncio.Task[np.ndarray]:
    deadline = time.monotonic() + deadline_s
    return asyncio.ensure_future(engine.compute(texts, tenant, "interactive", deadline, True))


def with_fault(draw: np.random.Generator, fault: int) -> list[int]:
    text = text_ids(draw, 12)
    text[3] = fault
    return text


@pytest.mark.parametrize("fault", [CRASH, SEGFAULT, FATAL])
async def test_of_a_batch_whose_worker_dies_only_the_text_that_kills_fails_and_never_comes_back(
    engine: Engine, launched: list[SeenWorker], graph: Graph, fault: int
) -> None:
    draw = np.random.default_rng(1)
    texts = [text_ids(draw, 12) for _ in range(16)]
    killer = texts[9] = with_fault(draw, fault)
    answers = await asyncio.gather(*(asked(engine, [text]) for text in texts), return_exceptions=True)
    assert isinstance(answers[9], InvalidInput)
    assert (answers[9].field, "ends the process" in answers[9].message) == ("texts.0", True)
    for at in (at for at in range(16) if at != 9):
        assert np.array_equal(np.asarray(answers[at]), graph.run(np.array([texts[at]]))[1])
    assert len(launched) == 3  # it was given two
    with pytest.raises(InvalidInput, match="Text 1 ends the process") as refused:
        await asked(engine, [texts[0], killer], "another tenant")
    assert refused.value.field == "texts.1"
    await asked(engine, [texts[0]])
    assert (len(launched), killer in launched[2].seen) == (3, False)
    assert engine.admission.waiting == 0


async def test_a_caller_whose_text_was_on_the_device_when_somebody_ended_its_process_gets_its_vector(
    engine: Engine, launched: list[SeenWorker], graph: Graph
) -> None:
    text = text_ids(np.random.default_rng(2), 12)
    launched[0].stand_still()
    running = asked(engine, [text])
    await asyncio.wait_for(launched[0].sent.wait(), 240)
    launched[0].kill()
    assert np.array_equal(await running, graph.run(np.array([text]))[1])
    assert len(launched) == 2
    assert engine._suspects.verdict(text, time.monotonic()) is None  # it was computed alone


async def test_a_text_whose_caller_left_before_the_worker_died_is_computed_alone_when_it_comes_again(
    engine: Engine, launched: list[SeenWorker]
) -> None:
    draw = np.random.default_rng(3)
    killer, other = with_fault(draw, CRASH), text_ids(draw, 12)
    launched[0].stand_still()
    leaving = asked(engine, [killer])
    await asyncio.wait_for(launched[0].sent.wait(), 240)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    launched[0].go_on()
    await launched[0].lost.wait()
    again, beside = asked(engine, [killer]), asked(engine, [other])
    with pytest.raises(InvalidInput, match="ends the process"):
        await again
    await beside
    assert len(launched) == 3
    assert launched[1].seen == [killer]  # nobody else was there
    assert launched[2].seen == [other]


async def test_what_is_left_of_a_failed_batch_is_not_computed_for_callers_that_have_gone(
    engine: Engine, launched: list[SeenWorker], graph: Graph
) -> None:
    draw = np.random.default_rng(4)
    texts = [text_ids(draw, 12) for _ in range(8)]
    first, bad = text_ids(draw, 8), with_fault(draw, POISON)
    launched[0].stand_still()
    running = asked(engine, [first])
    await asyncio.wait_for(launched[0].sent.wait(), 240)
    staying, leaving = asked(engine, [texts[0]]), asked(engine, [bad, *texts[1:]])
    await asyncio.sleep(0)
    launched[0].sent.clear()
    launched[0].go_on()
    await running
    await asyncio.wait_for(launched[0].sent.wait(), 240)  # all of them at once
    leaving.cancel()
    assert np.array_equal(await staying, graph.run(np.array([texts[0]]))[1])
    assert len(launched[0].seen) <= 1 + 9 + 1
    assert engine.admission.waiting == 0
