"""Price lists as makers print them: a header, titles of families between the articles, and pages without a header."""

from __future__ import annotations

import pytest

from servers.cradle.processing.extract.listed import with_products
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block, Product
from tests.tables_rig import extracted, listed, texts
from tests.unit.test_processing_pdf_layout import page_of, shown

HEAD = ["Art.-Nr.", "Bezeichnung", "Preis EUR"]
PLACES = (40, 160, 400)
BOTH = (Product, Block)


def printed(*rows: list[str], step: int = 14) -> bytes:
    """A page with these rows; of one cell alone it is a title."""
    return page_of([
        shown(cell, x, 780 - step * at) for at, row in enumerate(rows) for x, cell in zip(PLACES, row, strict=False)
    ])  # fmt: skip


def articles(*numbers: str) -> list[list[str]]:
    return [[number, "Reihenklemme grau", "12,50"] for number in numbers]


@pytest.mark.parametrize("title", ["Klemmen und Zubehoer", "Netzteile 24 V", "Leuchten"])
def test_titles_of_families_stand_between_the_articles_of_one_list(title: str) -> None:
    rows = [HEAD, [title], *articles("KL-1", "KL-2"), ["Schuetze"], *articles("SC-1")]
    found = extracted(printed(*rows), "a.pdf")
    assert [(each.article_number, each.prices[0].amount) for each in found.products] == [
        ("KL-1", "12.50"),
        ("KL-2", "12.50"),
        ("SC-1", "12.50"),
    ]
    assert texts(found) == [title, "Schuetze"]


def test_a_line_between_two_tables_of_other_columns_is_none_of_them() -> None:
    def row(y: int, places: tuple[int, ...], cells: str) -> list[str]:
        return [shown(cell, x, y) for x, cell in zip(places, cells, strict=True)]

    upper = [*row(794, PLACES, "abc"), *row(780, PLACES, "ABC")]
    lower = [*row(752, (40, 100, 250, 500), "defg"), *row(738, (40, 100, 250, 500), "DEFG")]
    found = extracted(page_of([*upper, shown("Ein Satz dazwischen", 40, 766), *lower]), "a.pdf")
    assert [block.kind for block in found.blocks] == ["table", "paragraph", "table"]


def test_a_title_of_a_sheet_with_a_number_in_it_is_no_article() -> None:
    found = listed("Artikelnummer;Bezeichnung;Preis", "Netzteile 24 V;;", "NT-24;Netzteil;12,50", "5SY4 116-7;;")
    assert [each.article_number for each in found.products] == ["NT-24", "5SY4 116-7"]
    assert texts(found) == ["Netzteile 24 V"]


def read(*items: Block) -> list[str]:
    """The articles, and the kinds of blocks, in their order."""
    found = with_products(items)
    return [each.article_number if isinstance(each, Product) else each.kind for each in found if isinstance(each, BOTH)]


def test_a_list_goes_on_over_pages_that_do_not_repeat_its_header() -> None:
    footer = Block("paragraph", "Seite 1", page=1)
    first = table_block([HEAD, *articles("KL-1", "KL-2")], 1, 1)
    second, third = table_block(articles("KL-3"), 1, 2), table_block(articles("KL-4"), 0, 3)
    assert read(first, footer, second, third) == ["KL-1", "KL-2", "paragraph", "KL-3", "KL-4"]


@pytest.mark.parametrize(
    "above",
    [
        [["", "mit Hebel", "netto"]],
        [HEAD, ["", "mit Hebel", "netto"]],
        [["Art.-Nr.", "Bezeichnung mit Hebel netto", "Preis EUR"]],  # one cell alone below a name is taken for its line
    ],
)
def test_what_a_pages_end_has_cut_off_its_last_row_stands_before_the_list_that_goes_on(above: list[list[str]]) -> None:
    first, second = table_block([HEAD, *articles("KL-1")], 1, 1), table_block([*above, *articles("KL-2", "KL-3")], 1, 2)
    found = [item for item in with_products([first, second]) if isinstance(item, BOTH)]
    assert [item.text if isinstance(item, Block) else item.article_number for item in found] == [
        "KL-1", "mit Hebel netto", "KL-2", "KL-3"
    ]  # fmt: skip
    assert {item.names[0].text for item in found if isinstance(item, Product)} == {"Reihenklemme grau"}


@pytest.mark.parametrize("name", ["Preis EUR netto", "Preis EUR je 100"])
def test_a_list_on_the_next_page_whose_price_has_a_longer_name_is_another_one(name: str) -> None:
    first, second = (
        table_block([HEAD, *articles("KL-1")], 1, 1),
        table_block([[*HEAD[:2], name], *articles("KL-2")], 1, 2),
    )
    assert read(first, second) == ["KL-1", "KL-2"]


@pytest.mark.parametrize(
    "other",
    [
        table_block([["KL-3", "Klemme"]], 0, 2),  # of other columns
        table_block([["Hinweis", "siehe oben", ""]], 0, 2),
        table_block([["KL-3", "Klemme", "auf Anfrage"]], 0, 2),  # nothing shows that it is a price
        table_block(articles("KL-3"), 0, 4),  # two pages further on
        table_block([["Typ", "Wert", "Einheit"], *articles("KL-3")], 1, 2),  # with a header of its own
    ],
)
def test_any_other_table_below_a_list_stays_one(other: Block) -> None:
    first = table_block([HEAD, *articles("KL-1")], 1, 1)
    assert read(first, other) == ["KL-1", "table"]
    assert read(first, other, table_block(articles("KL-9"), 0, other.page)) == ["KL-1", "table", "table"]


def test_names_of_columns_that_stand_closer_than_these_are_parted_between_them() -> None:
    rows = [("KL-1", "Klemme", "2,50", "100", "12,50"), ("KL-2", "Klemme", "35,00", "10", "1.249,00")]
    places = ((40, 120, 310, 372, 450), (40, 120, 305, 377, 436))
    head = [shown(cell, x, 780) for cell, x in (("Art.-Nr.", 40), ("Bezeichnung", 120), ("Preis EUR", 430))]
    wide = shown("Querschnitt [mm] VPE", 270, 780, "1.08 0 0 1")  # its words stand closer than columns do
    data = [shown(c, x, 766 - 14 * at) for at in (0, 1) for c, x in zip(rows[at], places[at], strict=True)]
    found = extracted(page_of([*head, wide, *data]), "a.pdf")
    assert [
        [(each.name, each.values[0].text, each.unit) for each in product.features] for product in found.products
    ] == [
        [("Querschnitt", "2,50", "mm"), ("VPE", "100", "")],
        [("Querschnitt", "35,00", "mm"), ("VPE", "10", "")],
    ]


def rows_of(*lines: tuple[float, dict[int, str]]) -> list[list[str]]:
    """The names and prices of the products of a page whose lines stand so far from the top, cells by their columns."""
    head = [shown(cell, x, 780) for x, cell in zip(PLACES, HEAD, strict=True)]
    cells = [shown(text, PLACES[at], round(780 - down)) for down, line in lines for at, text in line.items()]
    products = extracted(page_of([*head, *cells]), "a.pdf").products
    return [
        [each.article_number, *(name.text for name in each.names), each.prices[0].amount or ""] for each in products
    ]


READ = [
    ["KL-1", "Klemme grau mit Feder", "1.50"],
    ["KL-2", "Schraube", "2.50"],
    ["KL-3", "Netzteil fuer Schienen", "3.50"],
]


def test_a_name_of_two_lines_is_its_article_s_whose_number_stands_between_them() -> None:
    assert rows_of(
        (16, {1: "Klemme grau"}), (22, {0: "KL-1", 2: "1,50"}), (28, {1: "mit Feder"}),
        (48, {0: "KL-2", 1: "Schraube", 2: "2,50"}),
        (68, {1: "Netzteil"}), (74, {0: "KL-3", 2: "3,50"}), (80, {1: "fuer Schienen"}),
    ) == READ  # fmt: skip


def test_and_of_three_lines_beside_the_second_or_the_last() -> None:
    assert rows_of(
        (20, {1: "Klemme"}), (32, {0: "KL-1", 1: "grau", 2: "1,50"}), (44, {1: "mit Feder"}),
        (64, {0: "KL-2", 1: "Schraube", 2: "2,50"}),
        (84, {1: "Netzteil"}), (96, {1: "fuer"}), (108, {0: "KL-3", 1: "Schienen", 2: "3,50"}),
    ) == READ  # fmt: skip


@pytest.mark.parametrize("apart", [12, 20])
def test_and_below_the_first_where_lines_go_down(apart: int) -> None:
    second = 24 + apart
    assert rows_of(
        (12, {0: "KL-1", 1: "Klemme grau", 2: "1,50"}), (24, {1: "mit Feder"}),
        (second, {0: "KL-2", 1: "Schraube", 2: "2,50"}),
        (second + apart, {0: "KL-3", 1: "Netzteil", 2: "3,50"}), (second + apart + 12, {1: "fuer Schienen"}),
    ) == READ  # fmt: skip
