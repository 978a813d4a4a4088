"""The sketch of a large dataset's vectors: the same bytes on every run, and the near ones among its candidates."""

from __future__ import annotations

import numpy as np
import pytest

from shared.dataset import sketch
from shared.dataset.sketch import Sketch, SketchWriter
from shared.errors import Conflict

DIMENSION = 100  # not a multiple of 64


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sketch, "ABOVE", 500)


def vectors(number: int = 2_000) -> np.ndarray:
    """Groups of ten that lie close together."""
    draw = np.random.default_rng(711)
    centres = draw.standard_normal((number // 10, DIMENSION)) + 3.0
    return (np.repeat(centres, 10, axis=0) + 0.2 * draw.standard_normal((number, DIMENSION))).astype(np.float32)


def written(rows: np.ndarray, piece: int) -> bytes:
    writer = SketchWriter(DIMENSION)
    for start in range(0, len(rows), piece):
        writer.add(rows[start : start + piece])
    assert writer.rows == len(rows)
    return writer.file()


@pytest.mark.requirement("O-03")
def test_the_same_vectors_in_the_same_pieces_give_the_same_bytes() -> None:
    rows = vectors()
    assert written(rows, 128) == written(rows.copy(), 128)
    assert written(rows, 128) != written(rows[::-1].copy(), 128)


def test_the_nearest_are_among_few_candidates() -> None:
    rows = vectors()
    made = Sketch(written(rows, 300))
    for place in range(0, len(rows), 97):
        found = made.candidates(rows[place], 40)
        assert found == sorted(found)
        assert len(found) == 40
        group = place - place % 10
        assert set(range(group, group + 10)) <= set(found)


def test_fewer_rows_than_candidates_are_all_candidates() -> None:
    rows = vectors(20)
    assert Sketch(written(rows, 7)).candidates(rows[0], 40) == list(range(20))
    assert Sketch(SketchWriter(DIMENSION).file()).candidates(rows[0]) == []


def test_candidates_are_among_the_rows_that_are_asked_for() -> None:
    rows = vectors()
    made, odd = Sketch(written(rows, 300)), np.arange(len(rows)) % 2 == 1
    found = made.candidates(rows[501], 40, among=odd)
    assert len(found) == 40
    assert all(place % 2 for place in found)
    assert {501, 503, 505, 507, 509} <= set(found)
    assert made.candidates(rows[0], 40, among=np.arange(len(rows)) < 3) == [0, 1, 2]
    assert made.candidates(rows[0], 40, among=np.zeros(len(rows), np.bool_)) == []


@pytest.mark.parametrize("damage", [slice(0, -8), slice(8, None), slice(0, 4), slice(0, 0)])
def test_a_damaged_sketch_is_refused(damage: slice) -> None:
    with pytest.raises(Conflict, match="damaged"):
        Sketch(written(vectors(), 500)[damage])
