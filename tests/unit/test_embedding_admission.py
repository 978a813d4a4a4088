"""Room in the queue that is reserved for calls which were refused. Pure; time is an argument."""

from __future__ import annotations

import math

import pytest

from servers.cradle.embedding.admission import GRACE_S, RESERVATIONS, Admission, Reservations
from servers.cradle.embedding.scheduler import Lane
from shared.errors import Overloaded

pytestmark = pytest.mark.requirement("L-01", "L-02")
A: Lane = ("interactive", "a")
B: Lane = ("interactive", "b")


def refused(admission: Admission, lane: Lane, tokens: int, now: float, seconds_left: float = math.inf) -> float:
    with pytest.raises(Overloaded) as error:
        admission.admit(lane, tokens, now, seconds_left)
    return error.value.retry_after or 0.0


def test_a_call_that_was_refused_finds_its_room_when_it_comes_again_and_others_of_its_lane_do_not_take_it() -> None:
    admission = Admission(limit=1000)
    admission.rate = 100.0
    admission.admit(A, 400, 0.0)
    assert refused(admission, A, 300, 0.0) == 1.0
    admission.leave(A, 50)  # 2 * 350 + 300 fit
    refused(admission, A, 50, 1.0)  # and 50 would have
    with admission.held(A, 200, 1.0):  # guessed before its texts were tokenised
        pass
    refused(admission, A, 50, 1.0)
    admission.admit(A, 300, 1.0)
    admission.leave(A, 400)
    admission.admit(A, 50, 1.0)  # nothing is reserved any more


def test_who_has_nothing_in_the_queue_is_let_in_before_what_is_reserved() -> None:
    admission = Admission(limit=1000)
    admission.admit(A, 400, 0.0)
    refused(admission, A, 500, 0.0)
    admission.admit(B, 50, 0.0)
    refused(admission, B, 50, 0.0)


def test_a_reservation_ends_a_little_after_the_time_that_was_told() -> None:
    admission = Admission(limit=1000)
    admission.rate = 100.0
    admission.admit(A, 400, 0.0)
    assert refused(admission, A, 300, 0.0) == 1.0
    admission.leave(A, 50)
    refused(admission, A, 50, 1.0 + GRACE_S - 0.01)
    admission.admit(A, 50, 1.0 + GRACE_S)


def test_nothing_is_reserved_for_what_could_not_be_done_in_time_or_is_over_half_of_the_queue() -> None:
    admission = Admission(limit=1000)
    admission.measured(1000, 0.0, 10.0)  # 100 tokens a second
    admission.admit(A, 400, 0.0)
    refused(admission, A, 300, 0.0, seconds_left=5.0)
    refused(admission, A, 501, 0.0)
    admission.leave(A, 100)
    admission.admit(A, 50, 0.0)


def test_the_time_to_its_deadline_counts_what_is_reserved_in_its_lane() -> None:
    admission = Admission(limit=10_000)
    admission.measured(1000, 0.0, 10.0)
    admission.admit(A, 1000, 0.0)
    refused(admission, A, 500, 0.0, seconds_left=20.0)  # 1,500 at 100 a second, in half of it; 500 would do
    admission.leave(A, 600)
    refused(admission, A, 200, 0.0, seconds_left=20.0)
    admission.admit(A, 500, 0.0, seconds_left=20.0)


def test_who_was_refused_first_comes_first() -> None:
    reservations = Reservations(500)
    reservations.make(A, 200, 9.0)
    reservations.make(B, 100, 9.0)
    assert reservations.before(A, 200, 0.0) == (0, 0)
    assert reservations.before(B, 100, 0.0) == (200, 0)
    assert reservations.before(("bulk", "c"), 100, 0.0) == (300, 0)
    assert reservations.before(A, 50, 0.0) == (300, 200)  # another call
    assert reservations.before(A, 401, 0.0) == (300, 200)


def test_a_lane_has_the_reservation_of_its_largest_call() -> None:
    reservations = Reservations(500)
    reservations.make(A, 50, 9.0)
    reservations.make(A, 300, 5.0)
    reservations.make(A, 100, 9.0)  # a small one neither replaces it nor makes it last longer
    reservations.use(A, 100)
    assert reservations.before(B, 1, 4.9) == (300, 0)
    assert reservations.before(B, 1, 5.0) == (0, 0)
    reservations.make(A, 300, 9.0)
    reservations.use(A, 150)
    assert reservations.before(B, 1, 0.0) == (0, 0)


def test_reservations_have_a_bound_and_the_smallest_gives_way_to_a_larger_one() -> None:
    reservations = Reservations(10_000)
    for at in range(RESERVATIONS):
        reservations.make(("bulk", f"t{at}"), 10 + at, 9.0)
    before = reservations.before(A, 1, 0.0)
    reservations.make(A, 10, 9.0)
    assert reservations.before(B, 1, 0.0) == before
    reservations.make(A, 500, 9.0)
    assert reservations.before(B, 1, 0.0) == (before[0] - 10 + 500, 0)
    reservations.make(B, 9000, 9.0)  # more than may be reserved
    assert reservations.before(("bulk", "c"), 1, 0.0)[0] <= 10_000
