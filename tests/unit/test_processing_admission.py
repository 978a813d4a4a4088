"""Which documents are fetched ahead, and which have a reader: in the order in which they came."""

from __future__ import annotations

import asyncio

import pytest

from servers.cradle.processing.admission import Admission, Ticket


async def admitted(admission: Admission, *sizes: int) -> list[Ticket]:
    return [await asyncio.wait_for(admission.enter(size), 10) for size in sizes]


async def waiting(admission: Admission, size: int) -> asyncio.Task[Ticket]:
    """One that has come and is not let in."""
    task = asyncio.create_task(admission.enter(size))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


def turns(tickets: list[Ticket]) -> list[bool]:
    return [ticket.turn.is_set() for ticket in tickets]


async def test_the_first_have_a_reader_each_and_the_next_follow_in_order() -> None:
    first, second, third, fourth = tickets = await admitted(Admission(2, 2, 100), 1, 1, 1, 1)
    assert turns(tickets) == [True, True, False, False]
    second.give_back()
    assert turns(tickets) == [True, True, True, False]
    third.give_back()
    first.give_back()
    assert fourth.turn.is_set()


async def test_one_that_was_fetched_ahead_and_needs_no_reader_gives_none_away() -> None:
    tickets = await admitted(Admission(1, 2, 100), 1, 1, 1)
    tickets[1].give_back()
    assert turns(tickets) == [True, False, False]


async def test_no_more_come_in_than_there_are_places() -> None:
    admission = Admission(1, 1, 100)
    first, second = await admitted(admission, 1, 1)
    third = await waiting(admission, 1)
    second.give_back()
    second.give_back()  # twice does no harm
    assert not (await third).turn.is_set()
    fourth = await waiting(admission, 1)
    first.give_back()
    await fourth
    assert third.result().turn.is_set()


@pytest.mark.parametrize(("sizes", "late"), [((60,), 41), ((1,), 200)])
async def test_bytes_together_are_bounded(sizes: tuple[int, ...], late: int) -> None:
    admission = Admission(1, 8, 100)
    inside = await admitted(admission, *sizes)
    outside = await waiting(admission, late)
    behind = await waiting(admission, 1)  # a small one passes no large one
    for ticket in inside:
        ticket.give_back()
    await outside
    if late > 100:  # alone
        for _ in range(5):
            await asyncio.sleep(0)
        assert not behind.done()
        outside.result().give_back()
    await behind
