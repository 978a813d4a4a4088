"""How values are asked for that catalogues write as ranges, lists, grades, words or yes and no."""

from __future__ import annotations

import pytest

from servers.instance.products.classes import TABLES, Classes
from servers.instance.products.conditions import Condition
from servers.instance.products.values import Size, size
from shared.dataset.rows import FeatureRow, ProductRow, document_id, finite_number, product_id
from shared.dataset.schemas import to_arrow
from shared.errors import InvalidInput

DOCUMENT = document_id("katalog.xml")
PRODUCT = ProductRow(product_id(DOCUMENT, "A-1"), DOCUMENT, 0, "A-1", 1, name="Sensor")


def held(value: str, unit: str = "", name: str = "Merkmal") -> Classes:
    """One product with one feature, its number as readers give it."""
    row = FeatureRow(DOCUMENT, PRODUCT.product_id, 0, name, 1, value=value, number=finite_number(value, "?"), unit=unit)
    tables = {"products": [PRODUCT], "features": [row]}
    return Classes({each: to_arrow(each, tables.get(each, [])) for each in TABLES})


def meets(classes: Classes, comparison: str, value: str, feature: str | None = "Merkmal") -> bool:
    found, _ = classes.products(None, None, [Condition(feature, comparison, value)], 0, 9)  # pyright: ignore[reportArgumentType]
    return len(found) == 1


@pytest.mark.parametrize(
    ("value", "unit", "asked"),
    [
        ("10...30 V DC", "", "24 V"), ("10...30 V DC", "", "24 V DC"), ("10…30", "VLT", "24 V"),
        ("10 ... 30", "V DC", "24 V DC"), ("10...30 VDC", "", "24 V DC"), ("100-240 V AC, 50/60 Hz", "", "230 V"),
        ("-25...+70", "CEL", "-25…+70 °C"), ("-40...+90", "CEL", "-25 bis +70 °C"), ("−25 °C bis +70 °C", "", "70 °C"),
        ("4-20 mA", "", "4...20 mA"), ("0,5...1,5", "MMK", "1 mm²"), ("10...30", "V", "24"),
        ("24 V DC ±20 %", "", "24 V"), ("1 kHz - 10 MHz", "", "1 kHz"), ("1 kHz - 10 MHz", "", "500 kHz"),
        ("5 mA ... 20 A", "", "1 A"), ("500 g - 2 kg", "", "1 kg"), ("16A - 400", "A", "230 A"),
        ("10VDC...30 V DC", "", "24 V DC"), ("10 V DC - 30 V DC", "", "24 V"), ("-25° bis +70 °C", "", "20 °C"),
    ],
)  # fmt: skip
def test_a_range_has_every_value_in_it(value: str, unit: str, asked: str) -> None:
    assert meets(held(value, unit), "equals", asked)


@pytest.mark.parametrize(
    ("value", "unit", "asked"),
    [
        ("10...30 V DC", "", "36 V"), ("10...30 V DC", "", "24 V AC"), ("10...30 V DC", "", "24 mA"),
        ("-25...+70", "CEL", "-40…+70 °C"), ("12-04", "", "8"), ("30-10", "", "20"), ("2026-08-01", "", "1000"),
        ("0...1.000", "bar", "5 bar"), ("M12x1", "", "M12"), ("16A-400V", "", "230 V"), ("2 pol - 16 A", "", "5 A"),
        ("1,5 kW - 400 V", "", "230 V"), ("1 kHz - 10 MHz", "", "500 Hz"), ("24 VAC - 60 VDC", "", "48 V"),
        ("16 A - 400", "V", "230 V"), ("2 kg - 500 g", "", "1 kg"),
    ],
)  # fmt: skip
def test_what_is_no_range_or_lies_outside_is_not_found(value: str, unit: str, asked: str) -> None:
    assert not meets(held(value, unit), "equals", asked)


@pytest.mark.parametrize(
    ("value", "unit", "asked", "other"),
    [
        ("24-48 V AC, 24-60 V DC", "", "55 V DC", "55 V AC"), ("24 V DC, 230 V AC 50 Hz", "", "230 V AC", "24 V AC"),
        ("24 V DC / AC", "", "24 V AC", "48 V AC"), ("24 V / 48 V DC", "", "24 V DC", "24 V AC"),
        ("110/230 V", "", "110 V", "150 V"), ("230/400V", "", "230 V", "300 V"), ("110/230", "VLT", "110 V", "150 V"),
        ("24/48/60 V DC", "", "48 V DC", "48 V AC"), ("100-240 V AC, 50/60 Hz", "", "50 Hz", "55 Hz"),
        ("110/230 V AC, 24 V DC", "", "110 V AC", "110 V DC"), ("230/400 V, 16 A", "", "16 A", "230 A"),
        ("110/230-240 V", "", "110/230 - 240 V", "110 V"), ("3/4 l", "", "3/4 l", "3 l"),
        ("110 / 230 V, 50 / 60 Hz", "", "110 V", "50 V"), ("10 / 20", "", "10", "15"), ("3 / 4 l", "", "4 l", "3 l"),
        ("5/10 m/s", "", "10 m/s", "5 m"), ("3/4", "", "3/4", "3"), ("1-2-3", "", "1-2-3", "2"),
    ],
)  # fmt: skip
def test_each_number_of_a_list_has_what_stands_behind_it_and_a_unit_with_those_before_a_slash(
    value: str, unit: str, asked: str, other: str
) -> None:
    classes = held(value, unit)
    assert meets(classes, "equals", asked)
    assert not meets(classes, "equals", other)


@pytest.mark.parametrize(
    ("value", "asked", "other"),
    [
        ("12, 24 V", "12 V", "18 V"), ("12, 24, 48 V DC", "12 V DC", "12 V AC"),
        ("24 und 48 V DC", "24 V DC", "24 V AC"), ("1,5, 2,5 mm²", "1,5 mm²", "1 mm²"),
        ("12, 24 oder 48 V", "24 V", "30 V"), ("12; 24 V", "12 V", "18 V"),
        ("12 V, 24 V DC oder 48 V DC", "48 V DC", "48 V AC"), ("12, 24 V oder 48 V", "12 V", "30 V"),
        ("110 V/230 V", "110 V", "150 V"), ("24V DC/230V AC", "230 V AC", "24 V AC"), ("50 Hz/60 Hz", "60 Hz", "55 Hz"),
        ("12 V/24 V/48 V", "24 V", "30 V"), ("2 x 12, 24 V", "24 V", "12 V"), ("RK 4, 24 V", "24 V", "4 V"),
        ("0, 5 mm", "5 mm", "0 mm"), ("3 und 4 l", "3 l", "3,5 l"),
        ("ohne 12 V und 24 V", "ohne 12 V und 24 V", "24 A"), ("12, 24 Wechsler", "24 Wechsler", "12 Wechsler"),
        ("12, 24 bis 48 V", "30 V", "12 A"),
    ],
)  # fmt: skip
def test_numbers_of_a_list_have_the_unit_that_stands_behind_the_last(value: str, asked: str, other: str) -> None:
    classes = held(value)
    assert meets(classes, "equals", asked)
    assert not meets(classes, "equals", other)


def test_a_number_of_a_list_is_compared_in_the_lists_unit() -> None:
    assert meets(held("110 V/230 V"), "at_least", "200 V")
    assert meets(held("110 V/230 V"), "at_most", "120 V")
    assert meets(held("12, 24 V"), "at_most", "15 V")
    assert not meets(held("12, 24 V"), "at_least", "25 V")
    assert not meets(held("5 g/100 g"), "at_least", "50 g")  # of 100 g


def test_at_least_and_at_most_look_at_the_end_of_a_range_and_at_a_number_with_words_behind() -> None:
    warm = held("-40...+90", "CEL")
    assert meets(warm, "at_least", "80 °C")
    assert not meets(warm, "at_least", "100 °C")
    assert meets(warm, "at_most", "-30 °C")
    assert not meets(warm, "at_most", "-50 °C")
    assert meets(held("0...16", "BAR"), "at_least", "16 bar")
    assert meets(held("24 V DC"), "at_least", "20 V")
    assert meets(held("24 V DC"), "at_least", "20 V", None)
    assert meets(held("100 mA ... 2 A"), "at_least", "1 A")
    assert meets(held("100 mA ... 2 A"), "at_most", "0,1 A")
    assert not meets(held("16A-400V"), "at_least", "20 V")
    assert meets(held("≤ 10 mA"), "at_most", "15 mA")
    assert not meets(held("≤ 10 mA"), "at_most", "5 mA")
    with pytest.raises(InvalidInput, match="compare numbers, and grades"):
        meets(warm, "at_least", "-25...+70 °C")
    with pytest.raises(InvalidInput, match="Merkmal is in CEL: give the value in it"):
        meets(warm, "at_least", "3 mm")
    assert not meets(held("Messing"), "at_least", "3 mm")


@pytest.mark.parametrize(
    ("value", "least", "more"),
    [
        ("IP67", "IP65", "IP68"), ("IP67, IP69K", "IP69", "IP99"), ("IP65/IP67", "IP 67", "IP68"),
        ("IK 08", "ik07", "IK10"),
        ("DN 20", "DN20", "DN 25"), ("IP40", "IP40", "IP32"),
    ],
)  # fmt: skip
def test_a_grade_is_compared_with_those_of_its_name(value: str, least: str, more: str) -> None:
    classes = held(value)
    for feature in ("Merkmal", None):
        assert meets(classes, "at_least", least, feature)
        assert not meets(classes, "at_least", more, feature)
    assert not meets(classes, "at_least", "M8")


@pytest.mark.parametrize(
    ("value", "asked"),
    [
        ("IP67, IP69K", "IP69K"), ("NPN / PNP", "pnp"), ("NPN; PNP", "NPN"), ("Edelstahl V4A", "Edelstahl"),
        ("true", "ja"), ("N", "nein"), ("DC 24 V", "24 V"),
    ],
)  # fmt: skip
def test_one_of_a_list_a_word_and_yes_in_another_language_are_the_value(value: str, asked: str) -> None:
    assert meets(held(value), "equals", asked)


@pytest.mark.parametrize(("value", "asked"), [("ohne Kabel", "Kabel"), ("nicht bündig", "bündig"), ("true", "nein")])
def test_what_a_value_denies_it_does_not_have(value: str, asked: str) -> None:
    assert not meets(held(value), "equals", asked)
    assert meets(held(value), "equals", value)


def test_a_name_and_a_number_are_found_where_the_features_name_ends_with_it() -> None:
    gauge = held("22", name="Leiterquerschnitt AWG")
    assert meets(gauge, "equals", "AWG 22", None)
    assert not meets(gauge, "equals", "AWG 2", None)


def test_a_size_tells_its_ends_its_unit_and_what_stands_behind() -> None:
    assert size("10...30 V DC") == Size(10, 30, "V", "DC")
    assert size("-25 °C … +70 °C") == Size(-25, 70, "°C")
    assert size("100 mA ... 2 A") == Size(0.1, 2, "A")
    assert size("5", "MTR") == Size(5, 5, "MTR")
    assert size("G 3/4") is size("4 polig rot") is size("1.500 mm") is None


@pytest.mark.parametrize(
    "value",
    [
        "1" + " " * 100_000 + "x", "1 V" + "; " * 20_000, "ohne " * 8_000, "1...." * 8_000,
        "1" + " " * 20_000 + "V" + " " * 20_000 + "- x", "1" * 20_000 + "A-" + "1" * 20_000 + "x",
        "7/9" + " " * 20_000 + "V" + " " * 20_000 + "/", "7 / 9" * 20_000 + " V", "7/9 V" + " ," * 20_000 + "/",
        "7, 9" * 20_000, "7" + ", 9" * 20_000, "7 und " * 20_000, "7 V/" * 20_000, "7 V/7" * 20_000,
        "1" * 50_000 + " V",
    ],
)  # fmt: skip
def test_a_long_value_is_read_in_one_pass(value: str) -> None:
    """The first would take minutes where its blanks were tried again from each of them."""
    classes = held(value)
    assert not meets(classes, "equals", "24 V")
    assert not meets(classes, "at_least", "IP65")
