"""Ids, names and edges as numbers."""

from __future__ import annotations

import numpy as np
import pytest

from shared.dataset import numbered
from shared.dataset.numbered import Edges, Ids, Names


def test_only_ids_that_are_there_have_a_place_and_in_their_order() -> None:
    ids = Ids()
    numbers = [ids.named("b"), ids.once("d"), ids.there("c")[0], ids.named("a")]
    assert ids.there("a") == (numbers[3], True)
    assert ids.there("a") == (numbers[3], False)
    found, places = ids.finish()
    assert found.tolist() == [b"a", b"c", b"d"]
    assert places[numbers].tolist() == [-1, 2, 1, 0]


def test_edges_come_once_in_order_and_only_between_what_is_there() -> None:
    edges = Edges()
    twice = (0, "A", 1, "x")
    for edge in ((1, "B", 0, "y"), (0, "B", 1, ""), twice, twice, (0, "A", 2, ""), (2, "A", 0, "")):
        edges.add(*edge)
    rows, words = edges.finish(np.array([5, 4, -1]))
    assert [(int(s), words[k], int(t), words[label]) for s, k, t, label in rows] == [
        (4, "B", 5, "y"),
        (5, "A", 4, "x"),
        (5, "B", 4, ""),
    ]


def test_nothing_at_all_is_no_edge_and_no_node() -> None:
    found, places = Ids().finish()
    assert (len(found), len(Edges().finish(places)[0]), list(Names().find(["a"]))) == (0, 0, [])


@pytest.mark.parametrize("collide", [False, True])
def test_names_find_all_their_numbers_and_no_name_of_equal_hash(collide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if collide:
        monkeypatch.setattr(numbered, "hash", lambda name: 7, raising=False)
    monkeypatch.setattr(numbered, "_AT_ONCE", 2)
    names = Names()
    for number, name in enumerate(["a", "b", "a", "ä", "c"]):
        names.add(name, number)
    assert {at: sorted(found) for at, found in names.find(["a", "x", "ä", "a"])} == {0: [0, 2], 2: [3], 3: [0, 2]}
