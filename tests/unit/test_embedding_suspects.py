"""Texts that were lost with their worker: what is remembered of them, and how they are computed apart. Pure; time is an
argument."""

from __future__ import annotations

import pytest

from servers.cradle.embedding.scheduler import Item, Priority, Scheduler
from servers.cradle.embedding.suspects import MOST, REMEMBERED_S, Suspects

pytestmark = pytest.mark.requirement("F-05")


def item(length: int, tenant: str = "a", priority: Priority = "bulk", *, apart: bool = False) -> Item:
    return Item([1] * length, tenant, priority, 1e9, apart=apart)


def filled(*items: Item, mixed: bool = False) -> Scheduler:
    scheduler = Scheduler(mixed=mixed)
    for each in items:
        scheduler.add(each, 0.0)
    return scheduler


def test_a_text_lost_in_company_is_suspect_and_one_lost_alone_is_fatal() -> None:
    suspects = Suspects()
    assert suspects.verdict([1, 2], 0.0) is None
    suspects.lost([1, 2], False, 0.0)
    assert (suspects.verdict([1, 2], 1.0), suspects.verdict([2, 1], 1.0)) == ("suspect", None)
    suspects.lost([1, 2], True, 2.0)
    assert suspects.verdict([1, 2], 2.0) == "fatal"


def test_a_text_is_forgotten_after_its_time_and_at_once_when_it_was_computed_alone() -> None:
    suspects = Suspects()
    suspects.lost([1], True, 0.0)
    suspects.lost([2], False, 1.0)
    assert suspects.verdict([1], REMEMBERED_S - 0.1) == "fatal"
    assert suspects.verdict([1], REMEMBERED_S) is None
    suspects.cleared([2])
    suspects.cleared([3])
    assert suspects.verdict([2], 2.0) is None
    suspects.lost([4], False, REMEMBERED_S)
    assert len(suspects._noted) == 1


def test_so_many_are_remembered_and_a_text_that_is_lost_again_is_the_newest() -> None:
    suspects = Suspects()
    for at in range(MOST):
        suspects.lost([at], False, float(at) / MOST)
    suspects.lost([0], True, 1.0)
    suspects.lost([MOST], False, 1.0)
    assert len(suspects._noted) == MOST
    assert suspects.verdict([0], 1.0) == "fatal"
    assert suspects.verdict([1], 1.0) is None
    assert suspects.verdict([2], 1.0) == "suspect"


def test_nothing_of_a_text_is_kept_but_a_digest_that_tells_nothing_in_another_process() -> None:
    one, other = Suspects(), Suspects()
    for each in (one, other):
        each.lost(list(range(500)), True, 0.0)
    (mine,), (theirs,) = one._noted, other._noted
    assert len(mine) == 16
    assert mine != theirs


@pytest.mark.parametrize("place", [0, 2, 4])
@pytest.mark.parametrize("mixed", [False, True])
def test_a_text_apart_shares_no_batch(mixed: bool, place: int) -> None:
    suspect, others = item(10, apart=True), [item(10), item(10), item(10, "b"), item(10, "b", "interactive")]
    waiting = [*others[:place], suspect, *others[place:]]
    scheduler, batches = filled(*waiting, mixed=mixed), list[list[Item]]()
    while (batch := scheduler.next_batch(0.1)).items:
        batches.append(batch.items)
    assert [batch for batch in batches if suspect in batch] == [[suspect]]
    assert sorted(map(id, (each for batch in batches for each in batch))) == sorted(map(id, waiting))


@pytest.mark.parametrize("mixed", [False, True])
def test_a_text_apart_is_the_next_of_its_tenant_and_takes_none_of_its_length_with_it(mixed: bool) -> None:
    suspect = item(10, apart=True)
    assert filled(item(10), item(20), suspect, mixed=mixed).next_batch(0.1).items == [suspect]


def test_a_text_apart_waits_until_its_device_computes_nothing_else_and_nothing_overtakes_it() -> None:
    suspect = item(10, priority="interactive", apart=True)
    scheduler = filled(suspect, item(20))
    assert scheduler.next_batch(0.1, idle=False).items == []
    batch = scheduler.next_batch(0.1)
    assert (batch.items, batch.apart) == ([suspect], True)
    batch = scheduler.next_batch(0.1, idle=False)
    assert ([each.tokens for each in batch.items], batch.apart) == ([20], False)
