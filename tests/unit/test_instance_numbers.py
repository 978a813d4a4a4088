"""Which article numbers a part of one, or one that is mistyped, may mean."""

from __future__ import annotations

import pytest

from servers.instance.products.numbers import Numbers

PRODUCTS = [
    ("1303890000", "4050118102697", "", "Sicherheitsrelais"),
    ("1303890001", "", "", "Sockel"),
    ("0004711", "", "X-77.12", "Dichtung"),
    ("100.200.300", "", "", "Handrad"),
    ("", "", "", "ohne Nummer"),
]


@pytest.mark.parametrize(
    ("code", "numbers"),
    [
        ("1303890000", ["1303890000"]),
        ("001303890000", ["1303890000"]),
        ("04050118102697", ["4050118102697"]),
        ("4711", ["0004711"]),
        ("13038", ["1303890000", "1303890001"]),
        ("100200", ["100.200.300"]),
        ("x7712", ["X-77.12"]),
        ("890001", ["1303890001"]),
        ("18102697", ["4050118102697"]),
        ("1303980000", ["1303890000"]),  # two neighbours are exchanged
        ("2303890000", ["1303890000"]),
        ("1303890009", ["1303890000", "1303890001"]),
        ("4050118102679", ["4050118102697"]),
        ("1303980100", []),
        ("890", []),
        ("9999999999", []),
        ("", []),
        ("000", []),
    ],
)
def test_a_part_or_a_slip_means_the_numbers_that_are_nearest(code: str, numbers: list[str]) -> None:
    assert [each.number for each in Numbers(PRODUCTS).meant(code, 9)] == numbers


def test_so_many_are_told_at_most_each_with_its_name() -> None:
    assert [(each.number, each.name) for each in Numbers(PRODUCTS).meant("1303", 1)] == [
        ("1303890000", "Sicherheitsrelais")
    ]


def test_what_may_be_a_quantity_is_the_beginning_of_a_number_or_none() -> None:
    known = Numbers(PRODUCTS)
    assert known.meant("890000", 9, anywhere=False) == []
    assert [each.number for each in known.meant("10020030", 9, anywhere=False)] == ["100.200.300"]


def test_without_products_there_is_no_number() -> None:
    assert Numbers([]).meant("1303890", 9) == []
