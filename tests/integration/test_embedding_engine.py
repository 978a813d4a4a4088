"""The engine on real worker processes under faults: poison, memory, callers that leave, deadlines, lost workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from servers.cradle.embedding import metrics
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.scheduler import BATCH_TOKENS, FITTING_BATCHES
from shared.encoder import Graph
from shared.errors import DeadlineExceeded, Internal, InvalidInput, Overloaded, Unavailable
from tests.embedding_device import GREEDY, HUGE, POISON, WIDE
from tests.embedding_rig import PROBE, SeenWorker, engine_of, text_ids

pytestmark = pytest.mark.slow


async def compute(engine: Engine, ids: list[list[int]], tenant: str = "a", deadline_s: float = 60.0) -> np.ndarray:
    return await engine.compute(ids, tenant, "interactive", time.monotonic() + deadline_s, True)


async def standing_still(engine: Engine, worker: SeenWorker, first: list[int]) -> asyncio.Task[np.ndarray]:
    """A call that is on the device, which does not go on with it."""
    worker.stand_still()
    worker.sent.clear()
    running = asyncio.create_task(compute(engine, [first]))
    await asyncio.wait_for(worker.sent.wait(), 240)
    return running


def greedy(draw: np.random.Generator) -> list[list[int]]:
    """Texts of which few fit the memory at once."""
    texts = [text_ids(draw, 40) for _ in range(12)]
    for text in texts:
        text[4] = GREEDY
    return texts


def alone(graph: Graph, text: list[int]) -> np.ndarray:
    return graph.run(np.array([text]))[1]


@pytest.mark.requirement("F-06")
async def test_one_poison_text_of_32_callers_fails_alone(engine: Engine, graph: Graph) -> None:
    draw = np.random.default_rng(1)
    texts = [text_ids(draw, 12) for _ in range(32)]
    texts[17][3] = POISON
    answers = await asyncio.gather(*(compute(engine, [text]) for text in texts), return_exceptions=True)
    assert isinstance(answers[17], InvalidInput)
    for at in (at for at in range(32) if at != 17):
        assert np.array_equal(np.asarray(answers[at]), alone(graph, texts[at]))


@pytest.mark.parametrize("fault", [POISON, WIDE])
async def test_a_poison_text_is_named_to_the_caller_who_sent_it(engine: Engine, fault: int) -> None:
    draw = np.random.default_rng(2)
    texts = [text_ids(draw, 9) for _ in range(5)]
    texts[3][1] = fault
    with pytest.raises(InvalidInput) as error:
        await compute(engine, texts)
    assert error.value.field == "texts.3"


@pytest.mark.requirement("F-04")
async def test_out_of_memory_halves_the_batch_and_the_next_hundred_calls_succeed(
    engine: Engine, launched: list[SeenWorker], graph: Graph
) -> None:
    draw = np.random.default_rng(3)
    texts = [text_ids(draw, 10) for _ in range(16)]
    for text in texts:
        text[4] = GREEDY
    vectors = await compute(engine, texts)
    assert np.array_equal(vectors, np.concatenate([alone(graph, each) for each in texts]))
    assert len(launched[0].seen) == 4 * 16  # all at once, then 8, 4 and 2 at once
    more = [text_ids(draw, 10) for _ in range(100)]
    answers = await asyncio.gather(*(compute(engine, [text]) for text in more))
    assert all(np.array_equal(answer, alone(graph, text)) for text, answer in zip(more, answers, strict=True))


@pytest.mark.requirement("F-04")
async def test_after_out_of_memory_batches_stay_small_enough(engine: Engine, launched: list[SeenWorker]) -> None:
    texts = greedy(np.random.default_rng(13))
    await compute(engine, texts)
    launched[0].seen.clear()
    await compute(engine, texts)
    assert sorted(launched[0].seen) == sorted(texts)  # each went to the device once


@pytest.mark.requirement("F-04")
async def test_after_a_moment_without_memory_batches_grow_again(engine: Engine) -> None:
    draw = np.random.default_rng(14)
    await compute(engine, greedy(draw))
    assert engine._scheduler.limit < BATCH_TOKENS
    for _ in range(FITTING_BATCHES * 3):
        await compute(engine, [text_ids(draw, 10)])
    assert engine._scheduler.limit == BATCH_TOKENS


@pytest.mark.requirement("F-04")
async def test_a_new_worker_is_sent_whole_batches(engine: Engine, launched: list[SeenWorker]) -> None:
    draw = np.random.default_rng(15)
    await compute(engine, greedy(draw))
    assert engine._scheduler.limit < BATCH_TOKENS
    launched[0].kill()
    await compute(engine, [text_ids(draw, 10)])
    assert engine._scheduler.limit == BATCH_TOKENS


@pytest.mark.requirement("F-04")
async def test_a_text_without_memory_is_to_be_sent_again_only_where_one_as_long_has_fitted(engine: Engine) -> None:
    draw = np.random.default_rng(16)
    text = text_ids(draw, 16)
    text[4] = HUGE
    with pytest.raises(InvalidInput, match="more memory"):
        await compute(engine, [text])
    await compute(engine, [text_ids(draw, 15)])
    with pytest.raises(InvalidInput, match="more memory"):
        await compute(engine, [text])
    await compute(engine, [text_ids(draw, 16)])
    with pytest.raises(Unavailable, match="short of memory") as failed:
        await compute(engine, [text])
    assert failed.value.retry_after
    assert engine._scheduler.limit == BATCH_TOKENS  # one text tells nothing of batches


@pytest.mark.requirement("F-08")
async def test_texts_of_a_caller_that_left_never_reach_the_device(engine: Engine, launched: list[SeenWorker]) -> None:
    draw = np.random.default_rng(4)
    first, gone, last = (text_ids(draw, length) for length in (8, 9, 10))
    running = await standing_still(engine, launched[0], first)
    leaving = asyncio.create_task(compute(engine, [gone], "b"))
    waiting = asyncio.create_task(compute(engine, [last], "c"))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    launched[0].go_on()
    await asyncio.gather(running, waiting)
    assert launched[0].seen == [first, last]
    assert engine.admission.waiting == 0


@pytest.mark.requirement("L-03")
async def test_a_text_past_its_deadline_is_refused_and_never_computed(
    engine: Engine, launched: list[SeenWorker]
) -> None:
    draw = np.random.default_rng(5)
    first, late = text_ids(draw, 8), text_ids(draw, 9)
    running = await standing_still(engine, launched[0], first)
    with pytest.raises(DeadlineExceeded):
        await compute(engine, [late], deadline_s=0.01)
    launched[0].go_on()
    await running
    assert launched[0].seen == [first]


async def test_a_text_without_anything_to_read_is_named(engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="Text 1 has nothing") as refused:
        await engine.compute([PROBE, [], PROBE], "a", "interactive", time.monotonic() + 60, True)
    assert refused.value.field == "texts.1"
    assert engine.admission.waiting == 0


async def test_a_full_queue_refuses_at_once_and_serves_again_when_it_is_empty(
    engine: Engine, launched: list[SeenWorker]
) -> None:
    draw = np.random.default_rng(6)
    text = text_ids(draw, 40)
    engine.admission.limit = 100
    running = await standing_still(engine, launched[0], text)
    with pytest.raises(Overloaded) as refused:
        await compute(engine, [text])
    assert refused.value.retry_after
    other = asyncio.create_task(compute(engine, [text_ids(draw, 50)], "another tenant"))
    await asyncio.sleep(0)
    launched[0].go_on()
    await asyncio.gather(running, other)
    assert (await compute(engine, [text])).shape == (1, 384)


@pytest.mark.requirement("F-05", "L-01")
async def test_a_batch_that_is_lost_says_nothing_of_the_rate_and_counts_no_tokens(
    engine: Engine, launched: list[SeenWorker]
) -> None:
    draw, tokens = np.random.default_rng(17), metrics.TOKENS.labels("interactive")._value
    await compute(engine, [text_ids(draw, 64)] * 4)
    rate, counted = engine.admission.rate, tokens.get()
    running = await standing_still(engine, launched[0], text_ids(draw, 64))
    launched[0].kill()
    await launched[0].lost.wait()
    assert (engine.admission.rate, tokens.get()) == (rate, counted)
    await running
    assert tokens.get() == counted + 64


@pytest.mark.requirement("F-06")
async def test_what_a_batch_takes_is_learnt_from_the_parts_of_it_that_were_computed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = list[int]()
    monkeypatch.setattr(engine._scheduler, "computed", lambda tokens, seconds: learnt.append(tokens))
    texts = [text_ids(np.random.default_rng(18), 10) for _ in range(4)]
    texts[3][1] = POISON
    with pytest.raises(InvalidInput):
        await compute(engine, texts)
    assert learnt == [20, 10]


@pytest.mark.requirement("F-05")
async def test_without_a_worker_the_engine_is_not_ready(engine: Engine, launched: list[SeenWorker]) -> None:
    assert engine.ready
    launched[0].kill()
    await launched[0].lost.wait()
    await asyncio.sleep(0)
    assert not engine.ready
    await compute(engine, [text_ids(np.random.default_rng(9), 8)])
    assert engine.ready


@pytest.mark.requirement("F-05")
async def test_a_machine_that_starts_no_process_for_a_moment_has_its_worker_again(
    model_folder: Path, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = asyncio.Event()

    class Launched(list[SeenWorker]):
        def append(self, worker: SeenWorker) -> None:
            super().append(worker)
            if len(self) == 3:  # one could not be started, and this is the next
                tried.set()

    launched = Launched()
    engine = engine_of(model_folder, launched)
    await engine.start()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        launched[0].kill()
        await asyncio.wait_for(tried.wait(), 60)
    text = text_ids(np.random.default_rng(11), 8)
    assert np.array_equal(await compute(engine, [text], deadline_s=240), alone(graph, text))
    await engine.close()


async def test_closing_answers_every_waiting_caller(model_folder: Path) -> None:
    launched: list[SeenWorker] = []
    engine = engine_of(model_folder, launched)
    await engine.start()
    draw = np.random.default_rng(10)
    running = await standing_still(engine, launched[0], text_ids(draw, 8))
    waiting = asyncio.create_task(compute(engine, [text_ids(draw, 9)]))
    await asyncio.sleep(0)
    await engine.close()
    answers = await asyncio.gather(running, waiting, return_exceptions=True)
    assert all(isinstance(answer, Unavailable) for answer in answers)


async def test_a_closed_engine_starts_no_worker_and_lets_nobody_wait(model_folder: Path) -> None:
    launched: list[SeenWorker] = []
    engine = engine_of(model_folder, launched)
    await engine.start()
    await engine.close()
    assert len(launched) == 1
    with pytest.raises(Unavailable):
        await compute(engine, [PROBE])
    assert engine.admission.waiting == 0


@pytest.mark.requirement("F-11")
async def test_the_signal_that_stops_the_server_does_not_end_its_worker(
    engine: Engine, launched: list[SeenWorker]
) -> None:
    text = text_ids(np.random.default_rng(19), 8)
    running = await standing_still(engine, launched[0], text)
    assert launched[0].pid
    os.kill(launched[0].pid, signal.SIGTERM)
    launched[0].go_on()
    await running
    assert len(launched) == 1


@pytest.mark.requirement("F-05")
async def test_no_caller_hangs_whatever_a_worker_raises(
    engine: Engine, launched: list[SeenWorker], monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(frame: bytes) -> None:
        raise ArithmeticError

    draw = np.random.default_rng(20)
    monkeypatch.setattr(launched[0], "_write", defective)
    with pytest.raises(Internal):
        await compute(engine, [text_ids(draw, 8)])
    assert engine.admission.waiting == 0
    monkeypatch.undo()
    await compute(engine, [text_ids(draw, 8)])


async def test_two_workers_share_the_queue_and_one_that_stands_still_holds_up_nobody_else(
    model_folder: Path, graph: Graph
) -> None:
    launched: list[SeenWorker] = []
    engine = engine_of(model_folder, launched, places=2)
    await engine.start()
    try:
        draw = np.random.default_rng(11)
        first = text_ids(draw, 8)
        running = await standing_still(engine, launched[0], first)
        texts = [text_ids(draw, int(length)) for length in draw.integers(9, 40, 50)]
        answers = await asyncio.gather(*(compute(engine, [text]) for text in texts))
        assert all(np.array_equal(each, alone(graph, text)) for text, each in zip(texts, answers, strict=True))
        assert launched[0].seen == [first]
        launched[0].go_on()
        await running
        launched[0].seen.clear()
        launched[1].seen.clear()
        await asyncio.gather(*(compute(engine, [text]) for text in texts))
        assert launched[0].seen
        assert launched[1].seen
    finally:
        await engine.close()


@pytest.mark.requirement("T-04")
async def test_a_thousand_interleaved_calls_of_two_tenants_each_get_their_own_vectors_in_order(
    engine: Engine, graph: Graph
) -> None:
    draw = np.random.default_rng(8)
    texts = {tenant: [text_ids(draw, int(length)) for length in draw.integers(4, 16, 100)] for tenant in "ab"}
    calls = [("ab"[at % 2], draw.integers(0, 100, 1 + at % 3)) for at in range(1000)]
    asked = (compute(engine, [texts[tenant][which] for which in chosen], tenant) for tenant, chosen in calls)
    answers = await asyncio.gather(*asked)
    expected = {tenant: np.concatenate([alone(graph, text) for text in each]) for tenant, each in texts.items()}
    for (tenant, chosen), answer in zip(calls, answers, strict=True):
        assert np.array_equal(answer, expected[tenant][chosen])
