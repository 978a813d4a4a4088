"""The plain values that arguments and digests are made of."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from shared.ids import customer_id, digest_of_lines
from shared.values import DEEPEST, LARGEST_INTEGER, problem_of


def nested(levels: int, kind: type) -> Any:
    """Lists in lists, or objects in objects."""
    value: Any = "x"
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("kind", [list, dict])
def test_a_value_is_nested_up_to_a_bound_and_no_deeper(kind: type) -> None:
    assert problem_of(nested(DEEPEST, kind)) is None
    assert "nested" in str(problem_of(nested(DEEPEST + 1, kind)))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "finite"),
        ([1.0, float("inf")], "finite"),
        (LARGEST_INTEGER + 1, "64 bits"),
        ([0, -LARGEST_INTEGER - 1], "64 bits"),
        ({"a\0": 1}, "NUL"),
        ({"a": ["b", {"c": "\ud800"}]}, "surrogate"),
    ],
)
def test_what_no_store_takes_is_found_wherever_it_lies(value: object, said: str) -> None:
    assert said in str(problem_of(value))


def test_what_every_store_takes_has_no_problem() -> None:
    assert problem_of({"größe": [1, -LARGEST_INTEGER, LARGEST_INTEGER], "b": [0.5, 1e300, 1e300], "c": None}) is None


def test_the_digest_of_lines_is_over_each_line_and_its_end() -> None:
    assert digest_of_lines([b"a", b"bc"]) == "sha256:" + hashlib.sha256(b"a\nbc\n").hexdigest()
    assert len({digest_of_lines(lines) for lines in ([b"a", b"b"], [b"ab"], [b"b", b"a"], [])}) == 4


@pytest.mark.parametrize(
    ("name", "expected"),
    [("Müller Elektro GmbH & Co. KG", "mueller-elektro"), ("3 Plus AG", "plus"), ("Łąka", "aka"), ("株式会社", "")],
)
def test_a_companys_name_gives_its_id(name: str, expected: str) -> None:
    assert customer_id(name) == expected
