"""The watch over the marketplace's workers: whose loop does not turn, by time in which somebody could see it."""

from __future__ import annotations

import asyncio

from servers.marketplace.workers.watchdog import BEAT_S, ON_TIME_S, Watchdog, beating
from servers.marketplace.workers.worker import Worker

SILENCE_S = 10 * BEAT_S


def watched(count: int = 2) -> tuple[Worker, Watchdog]:
    worker = Worker(count)
    return worker, Watchdog(worker, SILENCE_S, 0.0)


def hung(worker: Worker, watchdog: Watchdog, *, beats: int, looks: int, start: float, each: float) -> list[int]:
    """Who is told in so many looks, while the worker `beats` beats."""
    found = []
    worker.number = beats
    for look in range(1, looks + 1):
        worker.beats()
        found += watchdog.hung(range(worker.count), start + look * each)
    return found


def test_a_worker_that_is_silent_for_longer_than_it_may_is_told_and_no_other() -> None:
    worker, watchdog = watched()
    assert hung(worker, watchdog, beats=0, looks=10, start=0.0, each=BEAT_S) == []
    assert hung(worker, watchdog, beats=0, looks=1, start=SILENCE_S, each=BEAT_S) == [1]
    assert hung(worker, watchdog, beats=0, looks=10, start=SILENCE_S + BEAT_S, each=BEAT_S) == []  # not at each look
    assert hung(worker, watchdog, beats=0, looks=1, start=2 * SILENCE_S + BEAT_S, each=BEAT_S) == [1]


def test_one_beat_is_enough() -> None:
    worker, watchdog = watched()
    hung(worker, watchdog, beats=0, looks=10, start=0.0, each=BEAT_S)
    hung(worker, watchdog, beats=1, looks=1, start=SILENCE_S, each=BEAT_S)
    assert hung(worker, watchdog, beats=0, looks=10, start=SILENCE_S + BEAT_S, each=BEAT_S) == []


def test_time_in_which_the_watch_itself_stood_still_is_held_against_nobody() -> None:
    worker, watchdog = watched()
    assert hung(worker, watchdog, beats=0, looks=9, start=0.0, each=3 * SILENCE_S) == []
    assert hung(worker, watchdog, beats=0, looks=100, start=30 * SILENCE_S, each=ON_TIME_S * 1.01) == []


def test_a_worker_that_was_started_in_the_place_of_a_silent_one_has_all_of_its_time() -> None:
    worker, watchdog = watched()
    hung(worker, watchdog, beats=0, looks=10, start=0.0, each=BEAT_S)
    watchdog.begins(1)
    assert hung(worker, watchdog, beats=0, looks=10, start=SILENCE_S, each=BEAT_S) == []
    assert hung(worker, watchdog, beats=0, looks=1, start=2 * SILENCE_S, each=BEAT_S) == [1]


async def test_a_loop_that_turns_beats() -> None:
    worker = Worker(2)
    async with beating(worker):
        while not worker.heard_of(0):  # noqa: ASYNC110 - each turn of the loop is what it is about
            await asyncio.sleep(0)
    assert worker.heard_of(1) == 0
