"""Products by their features, over a whole dataset: which articles meet conditions, and why none does."""

from __future__ import annotations

import pytest

from servers.instance.products.classes import TABLES, Classes
from servers.instance.products.conditions import Condition
from servers.instance.products.units import unit_said
from shared.dataset.rows import FeatureRow, ProductRow, document_id, product_id
from shared.dataset.schemas import to_arrow
from shared.errors import InvalidInput

CATALOGUE, LIST, OTHER = "katalog.xml", "bestand.xlsx", "anderer.csv"


def product(path: str, number: str, name: str = "Leuchte", maker: str = "", **more: str) -> ProductRow:
    doc = document_id(path)
    return ProductRow(product_id(doc, number), doc, 0, number, 1, name=name, manufacturer=maker, **more)  # pyright: ignore[reportArgumentType]


def feature(row: ProductRow, name: str, value: str, number: float | None = None, unit: str = "") -> FeatureRow:
    return FeatureRow(row.document_id, row.product_id, 0, name, 1, value=value, number=number, unit=unit)


LIT, STOCKED = product(CATALOGUE, "HL-1", maker="Muster"), product(LIST, "HL-1", maker="MUSTER GmbH")
NAMESAKE = product(OTHER, "HL-1", "Schraube", maker="Anders")
NAMED = product(LIST, "HL-2", "Leuchte 24V/10 W, IP 67, 124 VA, Notlicht 6/12 V")
WORDED = product(LIST, "HL-3", class_system="ETIM-9.0", class_id="EC1")
ROWS = [LIT, STOCKED, NAMESAKE, NAMED, WORDED]
FEATURES = [
    feature(LIT, "Schutzart (IP)", "IP66"),
    feature(LIT, "Lichtstrom", "20.000", 20000.0, "lm"),
    feature(LIT, "Spannung", "24", 24.0, "V"),
    feature(STOCKED, "Bestand", "120", 120.0),
    feature(NAMESAKE, "Länge", "1.500", None, "mm"),
    feature(WORDED, "Betriebsspannung", "24 V DC"),
    feature(WORDED, "Leistung", "60 W"),
]


def classes(rows: list[ProductRow] = ROWS, features: list[FeatureRow] = FEATURES) -> Classes:
    held = {"products": rows, "features": features}
    return Classes({name: to_arrow(name, held.get(name, [])) for name in TABLES})


def numbers(*conditions: tuple[str | None, str, str], class_id: str | None = None) -> list[str]:
    wanted = [Condition(*each) for each in conditions]  # pyright: ignore[reportArgumentType]
    return [each.row.article_number for each in classes().products(None, class_id, wanted, 0, 9)[0]]


def test_an_article_meets_conditions_by_what_all_its_documents_say_and_each_is_cited() -> None:
    wanted = [Condition("schutzart", "equals", "IP 66"), Condition("Bestand", "at_least", "100")]
    (found,), following = classes().products(None, None, wanted, 0, 9)
    assert (found.row.article_number, following) == ("HL-1", None)
    assert [(met.value, document) for met, document in found.met] == [
        ("IP66", document_id(CATALOGUE)), ("120", document_id(LIST)),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"), [("Außen-Ø mm", "Außen-Ø"), ("Ø mm", "Ø"), ("Ø [cm]", "Ø"), ("Typ A", "Typ A")]
)
def test_a_diameters_name_ends_with_its_sign(name: str, said: str) -> None:
    assert unit_said(name)[0] == said


def test_a_heading_of_several_columns_before_a_features_name_is_no_part_of_it() -> None:
    lamp, rail, box = (product(path, path) for path in ("a", "b", "c"))
    held = classes(
        [lamp, rail, box],
        [
            feature(lamp, "Abmessungen Länge", "1200", 1200.0, "mm"),
            feature(lamp, "Elektrische Daten Leistung", "30 W"), feature(rail, "Länge", "45", 45.0, "mm"),
            feature(box, "Verpackung Länge", "2000", 2000.0, "mm"),
            feature(box, "Technische Daten Breite mm", "80", 80.0),
        ],
    )  # fmt: skip

    def found(*conditions: tuple[str, str, str]) -> list[str]:
        wanted = [Condition(*each) for each in conditions]  # pyright: ignore[reportArgumentType]
        return [each.row.article_number for each in held.products(None, None, wanted, 0, 9)[0]]

    assert found(("Länge", "at_least", "1 cm")) == ["a", "b"]
    assert found(("Abmessungen Länge", "at_least", "1 cm")) == found(("leistung", "equals", "30 W")) == ["a"]
    assert found(("Breite", "at_most", "10 cm")) == ["c"]


def test_a_heading_tells_two_features_of_a_product_apart() -> None:
    cable, motor = (product(path, path) for path in ("a", "b"))
    held = classes(
        [cable, motor],
        [
            feature(cable, "Länge", "1000", 1000.0, "mm"), feature(cable, "Abmessungen Länge", "60", 60.0, "mm"),
            feature(motor, "Elektrische Daten Leistung", "30 W"), feature(motor, "Mechanische Daten Leistung", "25 W"),
        ],
    )  # fmt: skip
    for asked in (Condition("Länge", "at_most", "100 mm"), Condition("Leistung", "equals", "25 W")):
        assert held.products(None, None, [asked], 0, 9)[0] == []


@pytest.mark.parametrize(("name", "asked"), [("Patchkabel CAT 6/7 m", "6 m"), ("Schütz IEC 60947/2 A", "60947 A")])
def test_a_norm_is_no_number_of_a_list(name: str, asked: str) -> None:
    held = classes([product("a", "1", name=name), product("b", "2", name="Netzteil LED 12/24 V")], [])
    assert held.products(None, None, [Condition(None, "equals", asked)], 0, 9)[0] == []
    assert len(held.products(None, None, [Condition(None, "equals", "12 V")], 0, 9)[0]) == 1


def test_products_of_two_makers_under_one_number_do_not_meet_conditions_together() -> None:
    plain = [product(CATALOGUE, "4711", maker="Muster"), product(OTHER, "4711", maker="Anders")]
    held = classes(plain, [feature(plain[0], "Farbe", "rot"), feature(plain[1], "Form", "rund")])
    red, round_ = Condition("Farbe", "equals", "rot"), Condition("Form", "equals", "rund")
    assert held.products(None, None, [red, round_], 0, 9)[0] == []
    assert [each.row.manufacturer for each in held.products(None, None, [red], 0, 9)[0]] == ["Muster"]


def test_a_value_without_a_features_name_is_found_in_features_and_in_the_products_own_texts() -> None:
    assert numbers((None, "equals", "IP67"), (None, "equals", "24 V")) == ["HL-2"]
    assert numbers((None, "equals", "24V")) == ["HL-1", "HL-2", "HL-3"]
    assert numbers((None, "equals", "6 V")) == numbers((None, "equals", "12 V")) == ["HL-2"]
    assert numbers((None, "equals", "4 V")) == numbers((None, "equals", "124 V")) == []  # no words of their own
    assert numbers((None, "at_least", "50 W")) == ["HL-3"]  # a number that its cell writes with the unit
    assert numbers((None, "equals", "24 V"), class_id="EC1") == ["HL-3"]


@pytest.mark.parametrize("value", ["24", "1.000.000"])
def test_a_number_that_names_neither_feature_nor_unit_is_refused(value: str) -> None:
    for comparison in ("equals", "at_least"):
        with pytest.raises(InvalidInput, match="name the feature, or give the unit"):
            numbers((None, comparison, value))


def test_a_unit_that_the_feature_is_not_in_is_refused_with_those_it_has() -> None:
    with pytest.raises(InvalidInput, match="Spannung is in V: give the value in it"):
        numbers(("Spannung", "at_least", "5 mm"))
    with pytest.raises(InvalidInput, match="Bestand has no unit here: give the number alone"):
        numbers(("Bestand", "at_least", "5 Stück"))
    rows = [product(LIST, "A"), product(LIST, "B")]
    held = classes(rows, [feature(rows[0], "Gewicht", "21", 21.0, "g"), feature(rows[1], "Gewicht", "2", 2.0, "KGM")])
    with pytest.raises(InvalidInput, match="Gewicht is in KGM, g: give the value with its unit"):
        held.products(None, None, [Condition("Gewicht", "at_most", "50")], 0, 9)
    assert numbers(("Betriebsspannung", "equals", "24 V")) == ["HL-3"]  # it says `24 V DC`
    assert numbers(("Betriebsspannung", "equals", "4 V")) == []


@pytest.mark.parametrize(
    ("value", "number", "unit", "asked", "other"),
    [
        ("21", 21.0, "g", "0,021 kg", "0.021 g"), ("22.5", 22.5, "MMT", "22,5 mm", "22.5 m"),
        ("0,4 kW", None, "", "400 W", "400 MW"), ("35.9", 35.9, "g", "0.0359 KG", "0.0359 t"),
        ("1,5", 1.5, "mm²", "1.5 mm2", "1.5 mm"), ("5", 5.0, "mW", "5 mW", "5 MW"),
        ("10", 10.0, "Stufen", "10 stufen", "10 Stück"), ("0,4 kW", None, "", "0.4", "400"),
    ],
)  # fmt: skip
def test_a_value_is_the_same_in_each_unit_of_its_kind(
    value: str, number: float | None, unit: str, asked: str, other: str
) -> None:
    row = product(LIST, "X")
    held = classes([row], [feature(row, "Wert", value, number, unit)])
    for comparison in ("equals", "at_least", "at_most"):
        condition = Condition("Wert", comparison, asked)  # pyright: ignore[reportArgumentType]
        assert len(held.products(None, None, [condition], 0, 9)[0]) == 1, comparison
    assert held.products(None, None, [Condition("Wert", "equals", other)], 0, 9)[0] == []


@pytest.mark.parametrize(
    ("name", "bare", "unit"),
    [
        ("Gewicht kg", "Gewicht", "kg"),
        ("Gewicht [kg]", "Gewicht", "kg"),
        ("Breite in mm", "Breite", "mm"),
        ("Querschnitt (in mm²)", "Querschnitt", "mm²"),
        ("Strom in A", "Strom", "A"),
        ("Typ A", "Typ A", ""),
        ("Schutzart (IP)", "Schutzart (IP)", ""),
        ("Preis pro kg", "Preis pro kg", ""),
        ("kg", "kg", ""),
        ("Gewicht", "Gewicht", ""),
    ],
)
def test_a_unit_at_the_end_of_a_features_name_is_that_of_its_values(name: str, bare: str, unit: str) -> None:
    assert unit_said(name) == (bare, unit)


def test_a_feature_whose_unit_stands_in_its_name_is_asked_for_with_it_and_without() -> None:
    heavy, light = product(LIST, "HR-1"), product(LIST, "HR-2")
    rows = [feature(heavy, "Gewicht kg", "0,25", 0.25), feature(light, "Gewicht kg", "0,1", 0.1)]
    for asked in (
        Condition("Gewicht", "equals", "0,25 kg"),
        Condition("Gewicht kg", "equals", "250 g"),
        Condition("Gewicht kg", "at_least", "0,2"),
        Condition(None, "equals", "0,25 kg"),
    ):
        (found,), _ = classes([heavy, light], rows).products(None, None, [asked], 0, 10)
        assert (found.row.article_number, found.met[0][0].unit) == ("HR-1", "kg"), asked


def test_a_number_that_may_be_two_is_refused_and_not_guessed() -> None:
    for value in ("20.000", "20,000 lm"):
        with pytest.raises(InvalidInput, match=r"may be 20 or 20000"):
            numbers(("Lichtstrom", "at_least", value))
    with pytest.raises(InvalidInput, match=r"may be 1\.25 or 1250"):
        numbers(("Lichtstrom", "equals", "1.250"))
    assert numbers(("Lichtstrom", "equals", "20.000")) == ["HL-1"]  # as it is written
    assert numbers(("Lichtstrom", "at_least", "1.000.000")) == []
    for value in ("20000", "20.000,0", "0,125", "1234.5"):
        assert numbers(("Lichtstrom", "at_least", value)) == ["HL-1"], value
    assert numbers(("Länge", "at_least", "1")) == []  # 1.500 mm may be one and a half


def test_where_nothing_is_found_it_is_told_what_there_is_of_each_condition() -> None:
    wanted = [
        Condition("Schutzart", "equals", "IP67"),
        Condition("spannung", "equals", "24"),
        Condition("Licht", "equals", "1"),
    ]
    strict, volts, light = classes().reasons(None, None, wanted)
    assert (strict.products, strict.known, strict.others) == (0, True, ["IP66"])
    assert (volts.products, volts.others) == (1, ["24 V"])
    assert (light.known, light.others[0]) == (False, "Lichtstrom")  # the likest name first
    (volts,) = classes().reasons(None, None, [Condition("Nennspannung", "equals", "24 V")])
    assert volts.others[:2] == ["Spannung", "Betriebsspannung"]  # then what ends like it
    with pytest.raises(InvalidInput, match="class_id"):
        classes().products(None, None, [], 0, 9)
