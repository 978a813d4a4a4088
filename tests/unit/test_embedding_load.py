"""Load on the queue of the embedding service, in simulated time: the real scheduler and admission, and a device that is
a number of seconds per token. Nothing here waits and no clock is read."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.scheduler import Batch, Item, Priority, Scheduler
from shared.errors import Overloaded
from tests.piece_model import dice_of

SPEED = 7000.0
"""Tokens a second, as MiniLM on two processors."""
PER_BATCH_S = 0.001


@dataclass
class Seen:
    """What became of a kind of call: seconds of those that were served, and how many were not."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    late: int = 0
    tokens: int = 0

    @property
    def p99(self) -> float:
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)]


class Simulation:
    """One device behind the queue."""

    def __init__(self, *, mixed: bool = False, slowness: Callable[[float], float] = lambda now: 1.0) -> None:
        self.now = 0.0
        self.scheduler, self.admission = Scheduler(mixed=mixed), Admission()
        self.seen: dict[str, Seen] = {}
        self.served: Counter[str] = Counter()
        self.fills: list[float] = []
        self.computed_late = 0
        self._slowness = slowness
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._busy = False

    def at(self, when: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._numbers), do))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
            self._hand_over()

    def call(
        self,
        kind: str,
        lengths: list[int],
        then: Callable[[float], None],
        *,
        tenant: str | None = None,
        priority: Priority = "interactive",
        deadline_s: float = 30.0,
    ) -> None:
        """A call; `then` gets the seconds to wait before the next one."""
        tenant, started, deadline = tenant or kind, self.now, self.now + deadline_s
        seen = self.seen.setdefault(kind, Seen())
        try:
            self.admission.admit((priority, tenant), sum(lengths), self.now, deadline_s)
        except Overloaded as full:
            seen.refused += 1
            then(full.retry_after or 0.1)
            return
        left = len(lengths)

        def done(vector: bool) -> None:
            nonlocal left
            left -= 1
            if not vector:
                left = -1 if left >= 0 else left
                seen.late += left == -1
            elif left == 0:
                seen.seconds.append(self.now - started)
                seen.tokens += sum(lengths)
                then(0.0)

        for length in lengths:
            self.scheduler.add(Item([1] * length, tenant, priority, deadline, done), self.now)

    def _hand_over(self) -> None:
        if self._busy:
            return
        batch = self.scheduler.next_batch(self.now, self.admission.rate if self.admission.known else None)
        for item in batch.expired:
            self.admission.leave(item.lane, item.tokens)
            item.owner(False)
        if not batch.items:
            return
        self._busy, started = True, self.now
        self.computed_late += sum(item.deadline <= self.now for item in batch.items)
        self.fills.append(min(1.0, batch.tokens / batch.budget))
        seconds = PER_BATCH_S + batch.tokens / SPEED * self._slowness(self.now)
        self.at(self.now + seconds, lambda: self._finish(batch, started))

    def _finish(self, batch: Batch, started: float) -> None:
        self._busy = False
        self.admission.measured(batch.tokens, started, self.now)
        for item in batch.items:
            self.admission.leave(item.lane, item.tokens)
            self.served[item.tenant] += item.tokens
            item.owner(self.now <= item.deadline)


def closed_loop(simulation: Simulation, kind: str, texts: int, dice: random.Random, pause: float = 0.002) -> None:
    """A caller that sends the next call when it has the last one's answer."""

    def again(wait: float = 0.0) -> None:
        lengths = [dice.randint(8, 60) for _ in range(texts)]
        simulation.at(simulation.now + max(wait, pause), lambda: simulation.call(kind, lengths, again))

    again()


@pytest.mark.requirement("L-02", "L-03")
@pytest.mark.parametrize("mixed", [False, True])
def test_a_question_waits_at_most_twice_as_long_while_another_tenant_floods(mixed: bool) -> None:
    alone, crowded = Simulation(mixed=mixed), Simulation(mixed=mixed)
    closed_loop(alone, "b", 1, dice_of(1))
    alone.run(20.0)
    dice = dice_of(2)
    for _ in range(100):
        closed_loop(crowded, "a", 4, dice)
    crowded.at(5.0, lambda: closed_loop(crowded, "b", 1, dice_of(1)))
    crowded.run(25.0)
    assert len(crowded.seen["b"].seconds) > 300
    assert crowded.seen["b"].p99 <= 2 * alone.seen["b"].p99
    assert sum(crowded.fills) / len(crowded.fills) >= 0.7


@pytest.mark.requirement("L-02")
def test_eight_tenants_with_unequal_numbers_of_callers_get_equal_shares() -> None:
    simulation, dice = Simulation(), dice_of(3)
    for at in range(8):
        for _ in range(6 + 4 * (at % 4)):
            closed_loop(simulation, f"t{at}", 4, dice)
    simulation.run(20.0)
    shares = list(simulation.served.values())
    assert sum(shares) ** 2 / (8 * sum(share**2 for share in shares)) >= 0.95


@pytest.mark.requirement("L-01", "L-03")
def test_at_five_times_the_capacity_what_is_let_in_is_done_in_time_though_the_device_slows_down() -> None:
    dice = dice_of(4)
    slow = [dice.choice((1.0, 1.0, 1.6)) for _ in range(61)]  # another second, another speed
    simulation = Simulation(slowness=lambda now: slow[int(now)])
    saturated = Simulation(slowness=lambda now: slow[int(now)])
    for at in range(384):
        closed_loop(saturated, f"t{at % 8}", 1, dice)
    saturated.run(60.0)
    capacity = saturated.served.total()  # of calls of one text: a batch of them costs more than a larger one

    def arrive() -> None:
        tenant, lengths = f"t{dice.randint(0, 7)}", [dice.randint(8, 60)]
        simulation.call("all", lengths, lambda wait: None, tenant=tenant, deadline_s=4.0)
        simulation.at(simulation.now + dice.expovariate(5 * SPEED / 34), arrive)

    arrive()
    simulation.run(60.0)
    seen = simulation.seen["all"]
    assert seen.late <= len(seen.seconds) / 1000
    assert simulation.computed_late == 0
    assert seen.p99 <= 4.0
    assert seen.tokens >= 0.9 * capacity
    assert simulation.admission.waiting <= 4.0 * SPEED


@pytest.mark.requirement("L-01", "L-02")
@pytest.mark.parametrize("tenants", [1, 10])
def test_a_large_call_gets_in_when_it_was_told_to_though_small_ones_keep_the_queue_full(tenants: int) -> None:
    simulation, dice, lengths = Simulation(), dice_of(6), [30] * 100
    simulation.admission = Admission(limit=8000)
    for at in range(400):
        closed_loop(simulation, f"t{at % tenants}", 1, dice)

    def again(wait: float) -> None:
        later = math.ceil(wait) if wait else 5.0  # as a header tells it
        simulation.at(simulation.now + later, lambda: simulation.call("large", lengths, again, tenant="t0"))

    simulation.at(5.0, lambda: again(0.0))
    simulation.run(40.0)
    large = simulation.seen["large"]
    assert simulation.seen["t0"].refused > 1000  # they kept it full
    assert len(large.seconds) >= 2
    assert large.refused <= len(large.seconds) + 1


@pytest.mark.requirement("L-03")
def test_an_idle_device_gets_a_text_at_once() -> None:
    simulation = Simulation()
    simulation.at(1.0, lambda: simulation.call("a", [30], lambda wait: None))
    simulation.run(2.0)
    assert simulation.seen["a"].seconds == [pytest.approx(PER_BATCH_S + 30 / SPEED)]


@pytest.mark.requirement("L-04")
def test_nothing_is_kept_of_tenants_that_have_gone() -> None:
    simulation, dice = Simulation(), dice_of(5)

    def arrive(at: int) -> None:
        priority: Priority = "bulk" if at % 3 else "interactive"
        simulation.call("all", [dice.randint(8, 60)], lambda wait: None, tenant=f"t{at}", priority=priority)

    for at in range(3000):
        simulation.at(at * 0.01, lambda at=at: arrive(at))
    simulation.run(1e9)
    assert len(simulation.seen["all"].seconds) == 3000
    assert simulation.admission.waiting == 0
    assert not simulation.admission._of
    assert all(ring.empty and not ring._turns for ring in simulation.scheduler._rings.values())
