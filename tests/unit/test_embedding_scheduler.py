"""The queue of the embedding service: fairness, priorities, deadlines, admission. Pure; time is an argument."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable

import pytest

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.scheduler import (
    BULK_SHARE,
    CALM_AFTER_S,
    CALM_SLICE_S,
    FITTING_BATCHES,
    LEAST_TOKENS,
    SLICE_S,
    Item,
    Priority,
    Scheduler,
)
from shared.encoder import equal_length_batches
from shared.errors import Overloaded

FAR = 1e9


def item(length: int, tenant: str = "a", priority: Priority = "bulk", deadline: float = FAR) -> Item:
    return Item([1] * length, tenant, priority, deadline)


def filled(*items: Item, budget: int = 512) -> Scheduler:
    scheduler = Scheduler(budget=budget)
    for each in items:
        scheduler.add(each, 0.0)
    return scheduler


def drained(scheduler: Scheduler, now: float = 0.1) -> list[list[Item]]:
    batches = []
    while (batch := scheduler.next_batch(now)).items:
        batches.append(batch.items)
    return batches


def test_every_text_is_computed_once_in_batches_of_equal_length_within_the_budget() -> None:
    items = [item(1 + at % 13, tenant=f"t{at % 5}") for at in range(500)]
    batches = drained(filled(*items, budget=64))
    assert sorted(map(id, (each for batch in batches for each in batch))) == sorted(map(id, items))
    for batch in batches:
        assert len({each.tokens for each in batch}) == 1
        assert sum(each.tokens for each in batch) <= 64


def test_a_text_over_the_budget_is_computed_alone() -> None:
    assert [len(batch) for batch in drained(filled(item(900), item(900)))] == [1, 1]


def test_texts_of_one_tenant_and_length_keep_their_order() -> None:
    items = [item(10) for _ in range(20)]
    assert [each for batch in drained(filled(*items, budget=30)) for each in batch] == items


@pytest.mark.requirement("L-02")
def test_tokens_are_shared_equally_between_a_flooding_tenant_and_a_modest_one() -> None:
    flood = [item(97, "flood") for _ in range(400)]
    modest = [item(31, "modest") for _ in range(200)]
    scheduler = filled(*flood, *modest)
    served: Counter[str] = Counter()
    while served["modest"] < 200 * 31:
        for each in scheduler.next_batch(0.1).items:
            served[each.tenant] += each.tokens
    assert served["flood"] == pytest.approx(served["modest"], rel=0.2)


@pytest.mark.requirement("L-02")
def test_fifty_equal_tenants_have_a_jain_index_over_nine_tenths_at_any_time() -> None:
    items = [item(8 + (at * 37) % 240, f"t{at % 50}") for at in range(5000)]
    scheduler = filled(*items)
    served: Counter[str] = Counter()
    for _ in range(400):
        for each in scheduler.next_batch(0.1).items:
            served[each.tenant] += each.tokens
    shares = [served[f"t{at}"] for at in range(50)]
    assert sum(shares) ** 2 / (50 * sum(share**2 for share in shares)) >= 0.9


@pytest.mark.requirement("L-02")
def test_a_newcomer_is_computed_next_however_long_the_queue_of_others() -> None:
    scheduler = filled(*(item(97, f"flood {at % 10}", "interactive") for at in range(400)))
    scheduler.next_batch(0.1)
    newcomer = item(31, "modest", "interactive")
    scheduler.add(newcomer, 0.1)
    assert scheduler.next_batch(0.1).items == [newcomer]
    assert newcomer.added == 0.1


@pytest.mark.requirement("L-02")
@pytest.mark.parametrize("mixed", [False, True])
def test_who_sends_one_text_after_the_other_gets_no_more_than_its_share(mixed: bool) -> None:
    scheduler = Scheduler(budget=64, mixed=mixed)
    served: Counter[str] = Counter()
    for tenant in "ab":
        for _ in range(3000):
            scheduler.add(item(50, tenant), 0.0)
    scheduler.add(item(60, "one by one"), 0.0)
    for _ in range(3000):
        for each in scheduler.next_batch(0.1).items:
            served[each.tenant] += each.tokens
            if each.tenant == "one by one":
                scheduler.add(item(60, "one by one"), 0.0)
    assert served["a"] == pytest.approx(served["b"], rel=0.05)
    assert served["one by one"] <= 1.1 * served["a"]
    assert served["one by one"] > 0


@pytest.mark.requirement("L-02")
@pytest.mark.parametrize("mixed", [False, True])
def test_who_comes_late_shares_from_then_on_and_is_not_given_what_the_others_had_before(mixed: bool) -> None:
    scheduler = Scheduler(budget=64, mixed=mixed)
    for _ in range(1100):
        scheduler.add(item(50, "early"), 0.0)
    for _ in range(1000):
        scheduler.next_batch(0.1)
    for _ in range(200):
        scheduler.add(item(50, "late"), 0.1)
    served = Counter(each.tenant for _ in range(100) for each in scheduler.next_batch(0.1).items)
    assert served["early"] == pytest.approx(served["late"], rel=0.1)


def test_interactive_goes_before_bulk_of_the_same_tenant_and_of_others() -> None:
    question = item(20, "b", "interactive")
    scheduler = filled(*(item(100) for _ in range(50)), question)
    assert scheduler.next_batch(0.1).items == [question]


def test_bulk_gets_its_share_under_an_endless_stream_of_questions() -> None:
    scheduler = Scheduler(budget=50)
    served: Counter[str] = Counter()
    for _ in range(20):
        scheduler.add(item(50, "a", "bulk"), 0.0)
        scheduler.add(item(40, "b", "interactive"), 0.0)
        scheduler.add(item(40, "c", "interactive"), 0.0)
    for _ in range(30):
        scheduler.add(item(40, "b", "interactive"), 0.0)
        for each in scheduler.next_batch(0.1).items:
            served[each.priority] += each.tokens
    assert served["bulk"] == pytest.approx(served["interactive"] * BULK_SHARE, rel=0.15)


def test_bulk_is_owed_nothing_for_the_time_in_which_none_waited() -> None:
    scheduler = Scheduler(budget=50)
    for _ in range(100):
        scheduler.add(item(40, "b", "interactive"), 0.0)
        scheduler.next_batch(0.1)
    question = item(40, "b", "interactive")
    for each in (item(50, "a"), question):
        scheduler.add(each, 0.0)
    assert scheduler.next_batch(0.1).items == [question]


def test_bulk_owes_nothing_for_what_it_had_while_nobody_asked() -> None:
    scheduler = filled(*(item(50) for _ in range(102)), budget=50)
    for _ in range(100):
        scheduler.next_batch(0.1)
    for _ in range(8):
        scheduler.add(item(40, "b", "interactive"), 0.1)
    first = [scheduler.next_batch(0.1).items[0].priority for _ in range(6)]
    assert first == ["interactive"] * 5 + ["bulk"]


@pytest.mark.requirement("L-02")
def test_a_batch_is_as_long_in_time_as_a_question_may_wait_and_longer_when_nobody_asks() -> None:
    scheduler = Scheduler(budget=4000)
    for _ in range(1000):
        scheduler.add(item(10), 0.0)
    assert scheduler.next_batch(0.0, rate=20_000).tokens == 20_000 * CALM_SLICE_S
    scheduler.add(item(11, "b", "interactive"), 1.0)
    scheduler.next_batch(1.0, rate=20_000)
    assert scheduler.next_batch(1.0, rate=20_000).tokens == 20_000 * SLICE_S
    assert scheduler.next_batch(1.0, rate=10).tokens == LEAST_TOKENS // 10 * 10
    assert scheduler.next_batch(1.0 + CALM_AFTER_S, rate=20_000).tokens == 20_000 * CALM_SLICE_S
    assert scheduler.next_batch(9.0, rate=1e9).tokens == 4000


SIZES = (64, 512, 4096)


def batches_of(seconds: Callable[[int], float], count: int, *, asked: bool = True) -> list[int]:
    """The sizes of so many batches on a device that needs that long for the next larger of `SIZES`."""
    scheduler, now, found = Scheduler(SIZES[-1], mixed=True, sizes=SIZES), 0.0, list[int]()
    for at in range(count):
        for _ in range(500):
            scheduler.add(item(16, "b", "interactive" if asked and at % 2 == 0 else "bulk"), now)
        tokens = scheduler.next_batch(now, rate=1.0).tokens
        took = seconds(next(size for size in SIZES if size >= tokens))
        scheduler.computed(tokens, took)
        now += took
        found.append(tokens)
    return found


def test_a_device_with_sizes_gets_the_largest_that_a_question_may_wait_for() -> None:
    assert batches_of(lambda size: 0.006 + size / 10**6, 20) == [4096, *[512] * 19]  # 64 would take nearly as long
    assert set(batches_of(lambda size: size / 10**6, 20)) == {4096}
    assert batches_of(lambda size: size / 10**3, 20)[-1] == 64  # none is in time
    assert batches_of(lambda size: size / 10**4, 20) == [4096, 512, *[64] * 18]
    assert batches_of(lambda size: 0.006 + size / 10**6, 20, asked=False)[-1] == 4096


def test_a_size_that_was_slow_for_once_is_tried_again() -> None:
    times = iter([0.009])
    found = batches_of(lambda size: next(times, 0.001), 500)
    assert found[0] == found[-1] == 4096
    assert 512 in found


def test_a_device_with_sizes_gets_no_more_than_it_has_memory_for() -> None:
    scheduler = Scheduler(SIZES[-1], mixed=True, sizes=SIZES)
    for _ in range(600):
        scheduler.add(item(16, "b"), 0.0)
    for limit, tokens in ((4096, 4096), (4000, 512), (500, 64), (40, 32)):
        scheduler.limit = limit
        assert scheduler.next_batch(0.0).tokens == tokens


@pytest.mark.requirement("L-03")
def test_an_expired_text_is_reported_and_never_computed() -> None:
    late, good = item(10, deadline=2.0), item(10, deadline=2.001)
    scheduler = filled(late, good)
    batch = scheduler.next_batch(2.0)
    assert (batch.items, batch.expired) == ([good], [late])
    assert scheduler.next_batch(2.0).items == []


def test_an_expired_text_behind_one_of_its_length_is_found_while_the_batch_is_filled() -> None:
    good, late = item(10, "a", deadline=2.001), item(10, "b", deadline=2.0)
    batch = filled(good, late).next_batch(2.0)
    assert (batch.items, batch.expired) == ([good], [late])


@pytest.mark.requirement("F-08")
def test_a_dropped_text_is_never_computed_and_lets_go_of_what_it_held() -> None:
    gone, good = item(10), item(10)
    scheduler = filled(gone, good)
    scheduler.drop(gone)
    assert scheduler.next_batch(0.1).items == [good]
    assert (list(gone.ids), gone.owner) == ([], None)


class Watched(Item):
    """A text of which one can tell whether anything still holds it."""


def left(scheduler: Scheduler, length: int) -> weakref.ref[Watched]:
    """A text whose caller came and went."""
    gone = Watched([1] * length, "a", "bulk", FAR)
    scheduler.add(gone, 0.0)
    scheduler.drop(gone)
    return weakref.ref(gone)


@pytest.mark.requirement("F-08", "L-04")
@pytest.mark.parametrize("mixed", [False, True])
def test_nothing_is_kept_of_texts_whose_callers_left_though_their_tenant_never_stops(mixed: bool) -> None:
    scheduler, gone = Scheduler(budget=20, mixed=mixed), list[weakref.ref[Watched]]()
    scheduler.add(item(20), 0.0)
    for length in range(21, 221):
        gone.append(left(scheduler, length))
        scheduler.add(item(20), 0.0)
        assert len(scheduler.next_batch(0.1).items) == 1
    assert sum(each() is not None for each in gone) <= 1
    assert len(scheduler._rings["bulk"]._lines["a"]._by_length) <= 2


def test_packed_batches_mix_lengths_within_the_budget_and_compute_every_text_once() -> None:
    items = [item(1 + at % 13, tenant=f"t{at % 5}") for at in range(500)]
    scheduler = Scheduler(budget=64, mixed=True)
    for each in items:
        scheduler.add(each, 0.0)
    batches = drained(scheduler)
    assert sorted(map(id, (each for batch in batches for each in batch))) == sorted(map(id, items))
    assert max(len({each.tokens for each in batch}) for batch in batches) > 3
    assert all(sum(each.tokens for each in batch) <= 64 for batch in batches)


def test_a_packed_batch_has_no_more_texts_than_a_batch_may_have() -> None:
    scheduler = Scheduler(mixed=True)
    scheduler.rows = 3
    for _ in range(7):
        scheduler.add(item(10), 0.0)
    assert [len(batch) for batch in drained(scheduler)] == [3, 3, 1]


@pytest.mark.requirement("L-03")
def test_packed_batches_of_a_long_queue_are_nearly_full() -> None:
    scheduler = Scheduler(budget=2048, mixed=True)
    for at in range(2000):
        scheduler.add(item(8 + (at * 37) % 500, f"t{at % 7}"), 0.0)
    fills = [sum(each.tokens for each in scheduler.next_batch(0.1).items) / 2048 for _ in range(150)]
    assert min(fills) >= 0.7


@pytest.mark.requirement("L-02")
def test_packed_batches_share_tokens_equally_too() -> None:
    scheduler = Scheduler(budget=512, mixed=True)
    for _ in range(400):
        scheduler.add(item(97, "flood"), 0.0)
    for _ in range(200):
        scheduler.add(item(31, "modest"), 0.0)
    served: Counter[str] = Counter()
    while served["modest"] < 200 * 31:
        for each in scheduler.next_batch(0.1).items:
            served[each.tenant] += each.tokens
    assert served["flood"] == pytest.approx(served["modest"], rel=0.2)


def test_a_full_queue_refuses_with_the_time_until_there_is_room() -> None:
    admission = Admission(limit=1000)
    admission.admit(("bulk", "a"), 500, 0.0)
    admission.rate = 500.0
    with pytest.raises(Overloaded) as refused:
        admission.admit(("bulk", "a"), 250, 0.0)
    assert refused.value.retry_after == 0.5
    admission.leave(("bulk", "a"), 300)
    admission.admit(("bulk", "a"), 250, 0.0)


@pytest.mark.requirement("L-02")
def test_a_tenant_that_floods_leaves_half_of_the_queue_to_others() -> None:
    admission = Admission(limit=1000)
    for _ in range(50):
        admission.admit(("bulk", "flood"), 10, 0.0)
    with pytest.raises(Overloaded):
        admission.admit(("bulk", "flood"), 10, 0.0)
    admission.admit(("bulk", "other"), 250, 0.0)
    admission.admit(("bulk", "third"), 100, 0.0)


@pytest.mark.requirement("L-01")
def test_what_cannot_be_computed_in_time_is_refused_at_once() -> None:
    admission = Admission(limit=100_000)
    admission.measured(1000, started=0.0, now=1.0)
    admission.admit(("interactive", "a"), 5000, 0.0)
    with pytest.raises(Overloaded) as refused:
        admission.admit(
            ("interactive", "a"), 1000, 0.0, seconds_left=8.0
        )  # 6,000 tokens at 1,000 a second, in half of 8 s
    assert refused.value.retry_after == 2.0
    admission.admit(("interactive", "a"), 1000, 0.0, seconds_left=12.0)


def test_a_question_does_not_wait_for_its_own_tenants_bulk_nor_behind_anothers_flood() -> None:
    admission = Admission(limit=100_000)
    admission.measured(1000, started=0.0, now=1.0)
    admission.admit(("bulk", "a"), 30_000, 0.0)
    admission.admit(("interactive", "b"), 20_000, 0.0)
    admission.admit(("interactive", "a"), 100, 0.0, seconds_left=1.0)


def test_bulk_that_would_not_be_done_before_its_deadline_is_refused() -> None:
    admission = Admission(limit=100_000)
    admission.measured(1000, started=0.0, now=1.0)
    admission.admit(("interactive", "b"), 20_000, 0.0)
    with pytest.raises(Overloaded):
        admission.admit(("bulk", "a"), 1000, 0.0, seconds_left=9.0)  # a fifth of the device: 5 s, and as much again
    admission.admit(("bulk", "a"), 1000, 0.0, seconds_left=11.0)


def test_a_nearly_empty_batch_does_not_change_the_measured_rate() -> None:
    admission = Admission()
    admission.measured(1000, started=0.0, now=1.0)
    admission.measured(LEAST_TOKENS // 2 - 1, started=1.0, now=2.0)
    assert admission.rate == 1000
    admission.measured(LEAST_TOKENS // 2, started=2.0, now=3.0)
    assert admission.rate < 1000


def test_a_call_over_the_limit_is_let_in_when_nothing_waits() -> None:
    admission = Admission(limit=10)
    admission.measured(1000, started=0.0, now=1.0)
    admission.admit(("bulk", "a"), 5000, 0.0, seconds_left=1.0)
    admission.leave(("bulk", "a"), 4900)
    with pytest.raises(Overloaded) as refused:
        admission.admit(("bulk", "b"), 5000, 0.0)
    assert refused.value.retry_after == 0.1  # when nothing waits any more


def test_room_that_was_held_is_given_back_when_the_call_fails() -> None:
    admission = Admission(limit=100)
    held = admission.held(("bulk", "a"), 40, 0.0)
    held.__enter__()
    assert admission.waiting == 40
    assert not held.__exit__(ZeroDivisionError, ZeroDivisionError(), None)
    assert admission.waiting == 0


def test_the_rate_is_tokens_over_time_however_many_batches_overlap() -> None:
    admission = Admission()
    for tick in range(100):
        admission.measured(1000, started=tick - 1.0, now=float(tick + 1))  # two at a time, one a second
    assert admission.rate == pytest.approx(1000, rel=0.01)


def test_batches_of_equal_length_cover_every_position_once() -> None:
    lengths = [3, 9, 3, 3, 9, 40, 3]
    batches = list(equal_length_batches(lengths, budget=9))
    assert batches == [[5], [1], [4], [0, 2, 3], [6]]


def test_the_limit_that_memory_sets_is_halved_never_below_the_least_and_doubled_again() -> None:
    scheduler = Scheduler(budget=500)
    scheduler.refused([item(500)])
    assert scheduler.limit == 500  # one text
    for expected in (200, 100, LEAST_TOKENS, LEAST_TOKENS):
        scheduler.refused([item(min(scheduler.limit, 400) // 2)] * 2)
        assert scheduler.limit == expected
    for expected in (LEAST_TOKENS, 2 * LEAST_TOKENS):
        for _ in range(FITTING_BATCHES - 1):
            scheduler.fitted()
        assert scheduler.limit == expected
        scheduler.fitted()
        assert scheduler.limit == 2 * expected
    for _ in range(FITTING_BATCHES - 1):
        scheduler.fitted()
    scheduler.refused([item(2)] * 2)
    scheduler.fitted()  # the count began anew
    assert scheduler.limit == LEAST_TOKENS
    for _ in range(FITTING_BATCHES * 5):
        scheduler.fitted()
    assert scheduler.limit == 500
    scheduler.refused([item(250)] * 2)
    scheduler.forget_limit()
    assert scheduler.limit == 500


def test_a_batch_keeps_to_the_limit_and_its_budget_says_so() -> None:
    scheduler = filled(*(item(10) for _ in range(50)))
    scheduler.refused([item(100)] * 2)
    batch = scheduler.next_batch(0.1)
    assert (batch.tokens, batch.budget) == (100, 100)
    batch = scheduler.next_batch(0.1, rate=1e9)
    assert (batch.tokens, batch.budget) == (100, 100)


def test_a_budget_below_the_least_is_never_raised_by_a_shortage() -> None:
    scheduler = Scheduler(budget=16)
    scheduler.refused([item(8)] * 2)
    assert scheduler.limit == 16
