"""How long the rest will take, on a clock of the test's own."""

from __future__ import annotations

import pytest

from servers.cradle.processing.pace import DOCUMENT_BYTES, Pace, duration


def test_time_left_goes_by_work_and_not_by_heads() -> None:
    clock = [0.0]
    pace = Pace([0, 0, 8 * DOCUMENT_BYTES], lambda: clock[0])
    assert pace.seconds_left is None
    clock[0] = 2.0
    pace.add(0)
    assert pace.seconds_left == pytest.approx(20)
    assert pace.words == "0.5 documents/s, about 20 s left"
    clock[0] = 4.0
    pace.add(0)
    pace.add(8 * DOCUMENT_BYTES)
    assert pace.words == "0.8 documents/s"


def test_documents_that_have_not_changed_say_nothing_of_the_speed() -> None:
    clock = [0.0]
    pace = Pace([0] * 102, lambda: clock[0])
    for _ in range(100):
        pace.add(0, unchanged=True)
    assert pace.seconds_left is None
    clock[0] = 3.0
    pace.add(0)
    assert pace.seconds_left == pytest.approx(3)


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5000, "83 min"), (7500, "2 h 5 min")]
)
def test_a_time_is_said_in_fitting_units(seconds: float, said: str) -> None:
    assert duration(seconds) == said
