"""What a question and a passage have in common, however each writes it; what looks like the name of an article."""

from __future__ import annotations

import pytest

from shared.dataset.words import (
    apart,
    codes,
    compares,
    coverage,
    folded,
    long_words,
    named,
    only_codes,
    parts,
    passage_codes,
    question_codes,
    says,
    wanted,
)


@pytest.mark.parametrize(
    "text",
    [
        "ZX-9000",
        "Was kostet die RK-99-GR?",
        "5SY4 116-7",
        "4012345000017",
        "(IP69)",
        "NT-24-10.",
        "KP 2000",
        "Leistung HL 240 50",
        "Schraube M8 x 50",
        "Gehäuse 600 x 900 mm",
    ],
)
def test_article_numbers_types_and_gtins_name_an_article(text: str) -> None:
    assert named(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "500mm Kabel",
        "Klemme 2.5mm2",
        "Netzteil 24V/10A",
        "Netzteil 24V/2,5A/60W",
        "Leitung 1,5mm²",
        "Tank 12m3.",
        "AC 230 V",
        "KW 12",
        "EUR 2000",
        "ab 1000",
        "20000 lm",
        "gültig am 1.7.2026",
        "im Jahr 2026",
        "12.500,00 €",
        "Reihenklemme",
    ],
)
def test_measures_dates_and_years_name_none(text: str) -> None:
    assert not named(text)


@pytest.mark.parametrize(
    ("question", "passage"),
    [
        ("933 8 40 ZN", "Artikelnummer 933-8-40-ZN"), ("RK 4 GR", "RK-4-GR"), ("RK 2,5 BL", "RK-2.5-BL"),
        ("LS B16 3P", "LS-B16-3P"), ("4006 2091 2345 7", "GTIN: 4006209123457"), ("M8x40", "Schraube M8 x 40 verzinkt"),
        ("M8 × 40", "M8x40"), ("4x1,5", "Leitung 4 x 1,5 mm²"), ("DIN933", "nach DIN 933"), ("DIN 933", "DIN933"),
        ("Schutzart IP 65", "IP65"), ("4006209123457", "4 006209 123457"),
        ("KP200", "Kreiselpumpe KP 200"), ("600 x 800", "Gehäuse 600x800x250mm"), ("M8x40", "Schraube M8x40ZN"),
        ("8x40", "Schraube M8 x 40"), ("M8*40", "Schraube M8 x 40"), ("5x80", "Spanplattenschraube 5,0 x 80"),
    ],
)  # fmt: skip
def test_a_code_is_the_same_however_question_and_passage_write_it(question: str, passage: str) -> None:
    assert set(question_codes(question).split()) & set(passage_codes(passage).split())


@pytest.mark.parametrize("text", ["Preis ab 10 Stück", "230 V", "für 1000 Meter", "1,5 mm²", "bis 60 °C und 40 K"])
def test_quantities_and_measures_spell_no_code(text: str) -> None:
    assert not [code for code in question_codes(text).split() if not code.isdigit()]


@pytest.mark.parametrize(
    ("question", "better", "worse"),
    [
        ("Netzteil 24V 10A", "Netzteil NT 24 V / 10 A", "Netzteil NT 24 V / 20 A"),
        ("Querschnitt 1,5 mm²", "Querschnitt 1.5 mm²", "Querschnitt 2,5 mm², 1 Stück"),
        ("M8x40 verzinkt", "Schraube M8 x 40 verzinkt", "Mutter M8 verzinkt"),
        ("Breite des Relais in mm", "Relais, Breite: 22.5", "Relais, Ausrichtung (in mm): 0"),
        ("Reihenklemmenhalter", "Reihenklemmenhalter grau", "Reihenklemme grau"),
        ("Motorschutzschalter", "Motor-Schutz-Schalter", "Motorraum"),
        ("Sicherheitsrelais", "Das Sicherheitsrelais", "Die Sicherheitsregeln"),
        ("Umgebungstemperaturen", "Umgebungstemperatur", "Umgebungsbedingung"),
    ],
)
def test_numbers_are_compared_whole_and_apart_from_their_units(question: str, better: str, worse: str) -> None:
    assert coverage(wanted(question), worse) < coverage(wanted(question), better) == 1.0


def test_a_question_that_is_only_a_number_asks_what_it_is() -> None:
    assert all(map(only_codes, ["1303890000", "Artikelnummer RK-4-GR", "Was ist 1303890000?", "EAN 4006209123457"]))
    assert not any(map(only_codes, ["Breite 1303890000", "Preis RK-4-GR", "Zubehör zu 11.2233-4"]))


def test_what_a_question_names_is_told_as_it_is_written_with_all_that_it_may_be() -> None:
    assert named("Was unterscheidet RK-4-GR von (RK-99) und KP 2000?") == {
        "RK-4-GR": "rk4gr", "RK-99": "rk99", "KP 2000": "kp2000",
    }  # fmt: skip
    assert named("5SY4 116-7")["5SY4"].split() == ["5sy4", "5sy41167"]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("1303890", {"1303890": "1303890"}),
        ("1303 890", {"1303 890": "1303890"}),
        ("Artikelnummer 100.200", {"100.200": "100200"}),
        ("Was kostet 1303890?", {"1303890": "1303890"}),
        ("Artikel 1303890000", {}),  # it is named
        ("20000 lm", {}),
        ("24 V", {}),
        ("500 Stück", {}),
        ("im Jahr 2026", {}),
        ("Klemme", {}),
        ("", {}),
    ],
)
def test_what_may_be_a_part_of_a_number_is_told(question: str, found: dict[str, str]) -> None:
    assert parts(question) == found


def test_a_size_is_named_with_what_stands_before_it() -> None:
    assert named("Schraube M8 x 50, verzinkt") == {"M8 x 50": "m8x50"}
    assert named("Leitung 3x400V") == {"3x400": "3x400"}
    assert named("M8x40-ZN") == {"M8x40-ZN": "m8x40zn"}


@pytest.mark.parametrize(
    ("question", "compared"),
    [
        ("günstigste Sechskantschraube", True),
        ("Welches ist das billigste Netzteil?", True),
        ("the cheapest screw", True),
        ("Klemme mit mindestens 16 A", True),
        ("Wieviele Artikel gibt es?", True),
        ("Mindestens haltbar bis", False),
        ("Wie viele Impulse hat der Drehgeber?", False),
        ("Mindestbestellwert", False),
    ],
)
def test_what_has_to_be_compared_over_many_passages_is_known(question: str, compared: bool) -> None:
    assert compares(question) is compared


def test_a_gtin_that_is_written_apart_is_meant_as_a_whole() -> None:
    assert question_codes("EAN-Code 4099 0000 3035 9").split() == ["4099000030359"]
    assert "4099" in question_codes("EAN-Code 4099 0000 3035 8").split()  # its check digit is another one
    assert question_codes("4099000030359") == "4099000030359"


def test_the_unit_that_an_answer_shall_be_in_is_not_looked_for() -> None:
    assert "mm" not in apart("Breite in mm", "").split()
    assert "mm" in apart("Breite 5 mm", "").split()
    assert apart("Reihen Klemme", "reihenklemme").split() == ["Reihen", "Klemme", "reihenklemme"]


def test_a_compound_with_hyphens_is_a_word_as_a_whole_too() -> None:
    assert long_words("Motor-Schutz-Schalter und RK-4-GR").split() == [
        *("motor", "schutz", "schalter", "motorschutzschalter"),
    ]
    assert long_words("Not-Aus-Taster, x-y").split() == ["taster", "notaustaster"]


def test_the_number_of_a_type_that_is_written_apart_is_no_code_alone() -> None:
    assert question_codes("Leistung der KP 2000") == "kp2000"  # 20.00 EUR is `2000`
    assert "2000" in question_codes("EAN 2000").split()
    assert "2000" in question_codes("Teil 2000").split()


def test_a_code_that_stands_in_the_headings_alone_is_not_said_by_the_passage() -> None:
    heading = "Auftrag 26-0815 › Datenblatt.pdf"
    assert not says(f"{heading}\nSchutzart IP66", heading, "260815")
    assert says(f"{heading}\nzum Auftrag 26-0815", heading, "260815")
    assert says("Klemme (Artikelnummer 26-0815)", "", "260815")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("5SY4 116-7", "5sy4 1167 5sy41167"), ("5SY4 - 116-7.", "5sy4 1167 5sy41167"), ("5SY4 und 116-7", "5sy4 1167"),
        ("Größe-12/3, µ1234", "groesse123 1234 groesse1231234"), ("Reihen-klemme ... A/b", ""),
    ],
)  # fmt: skip
def test_codes_lose_their_separators_and_stand_together_where_nothing_is_between(text: str, found: str) -> None:
    assert codes(text) == found


def test_accents_and_ligatures_fold_away_and_a_sign_stays() -> None:
    assert folded("Gehäuse › Prüfé ﬁx Ω\u0301 ĜÅ") == "gehaeuse › pruefe fix ω ga"


def test_a_bar_codes_number_is_thirteen_digits_in_three_groups() -> None:
    assert "4006209123457" in passage_codes("4 006209 123457").split()
    assert "4006209123457" not in passage_codes("14 006209 123457 und 4 006209 1234578").split()


@pytest.mark.parametrize("counted", ["2 x 100 Stück", "2x100 Stk.", "2x100 pcs", "2 x 3 x 100 VPE", "2 × 50 Packungen"])
def test_a_quantity_in_packages_is_no_size(counted: str) -> None:
    assert named(f"Was kosten {counted} KP-2000?") == {"KP-2000": "kp2000"}
    assert named("Rohr 2 x 100 mm, 2 x 100 Stockwerke") == {"2 x 100": "2x100"}
