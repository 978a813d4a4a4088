"""The engine on the real model under faults: poison, memory, callers that leave, deadlines, a broken device."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from servers.cradle.embedding.engine import Engine
from shared.encoder import Graph
from shared.errors import DeadlineExceeded, InvalidInput, Overloaded, PlatformError, Unavailable
from tests.embedding_rig import FATAL, POISON, FaultyBackend, engine, faulty, model_folder, model_home, text_ids

__all__ = ["engine", "faulty", "model_folder", "model_home"]


async def compute(engine: Engine, ids: list[list[int]], tenant: str = "a", deadline_s: float = 60.0) -> np.ndarray:
    return await engine.compute(ids, tenant, "interactive", time.monotonic() + deadline_s, True)


async def until_entered(faulty: FaultyBackend) -> None:
    assert await asyncio.to_thread(faulty.entered.wait, 30)


@pytest.mark.requirement("F-06")
async def test_one_poison_text_of_32_callers_fails_alone(engine: Engine, faulty: FaultyBackend) -> None:
    draw = np.random.default_rng(1)
    texts = [text_ids(draw, 12) for _ in range(32)]
    texts[17][3] = POISON
    answers = await asyncio.gather(*(compute(engine, [text]) for text in texts), return_exceptions=True)
    assert isinstance(answers[17], InvalidInput)
    good = [at for at in range(32) if at != 17]
    for at in good:
        alone = Graph.run(faulty, np.array([texts[at]]))[1]
        assert np.array_equal(np.asarray(answers[at]), alone)


async def test_a_poison_text_is_named_to_the_caller_who_sent_it(engine: Engine) -> None:
    draw = np.random.default_rng(2)
    texts = [text_ids(draw, 9) for _ in range(5)]
    texts[3][1] = POISON
    with pytest.raises(InvalidInput) as error:
        await compute(engine, texts)
    assert error.value.field == "texts.3"


@pytest.mark.requirement("F-04")
async def test_out_of_memory_halves_the_batch_and_every_text_is_answered(engine: Engine, faulty: FaultyBackend) -> None:
    faulty.largest = 3
    draw = np.random.default_rng(3)
    texts = [text_ids(draw, 10) for _ in range(16)]
    vectors = await compute(engine, texts)
    assert np.array_equal(vectors, np.concatenate([Graph.run(faulty, np.array([each]))[1] for each in texts]))
    faulty.largest = None
    for text in texts:
        assert (await compute(engine, [text])).shape == (1, 384)


@pytest.mark.requirement("F-08")
async def test_texts_of_a_caller_that_left_never_reach_the_device(engine: Engine, faulty: FaultyBackend) -> None:
    draw = np.random.default_rng(4)
    first, gone, last = (text_ids(draw, length) for length in (8, 9, 10))
    faulty.gate.clear()
    running = asyncio.create_task(compute(engine, [first]))
    await until_entered(faulty)
    leaving = asyncio.create_task(compute(engine, [gone], "b"))
    waiting = asyncio.create_task(compute(engine, [last], "c"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    faulty.gate.set()
    await asyncio.gather(running, waiting)
    assert faulty.seen == [first, last]
    assert engine.admission.waiting == 0


@pytest.mark.requirement("L-03")
async def test_a_text_past_its_deadline_is_refused_and_never_computed(engine: Engine, faulty: FaultyBackend) -> None:
    draw = np.random.default_rng(5)
    first, late = text_ids(draw, 8), text_ids(draw, 9)
    faulty.gate.clear()
    running = asyncio.create_task(compute(engine, [first]))
    await until_entered(faulty)
    with pytest.raises(DeadlineExceeded):
        await compute(engine, [late], deadline_s=0.01)
    faulty.gate.set()
    await running
    assert faulty.seen == [first]


async def test_a_full_queue_refuses_at_once_and_serves_again_when_it_is_empty(
    engine: Engine, faulty: FaultyBackend
) -> None:
    draw = np.random.default_rng(6)
    text = text_ids(draw, 40)
    engine.admission.limit = 100
    faulty.gate.clear()
    running = [asyncio.create_task(compute(engine, [text])) for _ in range(2)]
    await until_entered(faulty)
    with pytest.raises(Overloaded) as refused:
        await compute(engine, [text])
    assert refused.value.retry_after
    faulty.gate.set()
    await asyncio.gather(*running)
    assert (await compute(engine, [text])).shape == (1, 384)


@pytest.mark.requirement("F-05")
async def test_a_broken_device_answers_every_waiting_caller_and_refuses_new_ones(
    engine: Engine, faulty: FaultyBackend
) -> None:
    draw = np.random.default_rng(7)
    texts = [text_ids(draw, length) for length in range(8, 20)]
    texts[0][2] = FATAL
    answers = await asyncio.gather(*(compute(engine, [text]) for text in texts), return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert engine.broken.is_set()
    with pytest.raises(PlatformError, match="loaded again"):
        await compute(engine, [texts[1]])
    assert engine.admission.waiting == 0


@pytest.mark.requirement("T-04")
async def test_a_thousand_interleaved_texts_of_two_tenants_each_get_their_own_vectors(
    engine: Engine, faulty: FaultyBackend
) -> None:
    draw = np.random.default_rng(8)
    texts = [text_ids(draw, int(length)) for length in draw.integers(4, 16, 1000)]
    tenants = "ab"
    answers = await asyncio.gather(*(compute(engine, [text], tenants[at % 2]) for at, text in enumerate(texts)))
    for text, answer in zip(texts, answers, strict=True):
        assert np.array_equal(answer, Graph.run(faulty, np.array([text]))[1])
