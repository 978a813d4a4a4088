"""Tables in tables: of a list, where they belong to a row, and of a page that is laid out in one."""

from __future__ import annotations

from tests.tables_rig import extracted


def test_a_table_in_a_cell_belongs_to_its_row_where_the_outer_one_has_a_header() -> None:
    inner = "<table><tr><td>Farbe</td><td>rot</td></tr><tr><td>Länge</td><td>5 mm</td></tr></table>"
    head = "<tr><th>Artikelnummer</th><th>Merkmale</th><th>Preis EUR</th></tr>"
    rows = f"<tr><td>A-1</td><td>{inner}</td><td>12,50</td></tr><tr><td>A-2</td><td></td><td>13,50</td></tr>"
    for header in (head, head.replace("th>", "td>")):
        found = extracted(f"<table>{header}{rows}</table>".encode(), "a.html")
        assert [(each.article_number, each.prices[0].amount) for each in found.products] == [
            ("A-1", "12.50"),
            ("A-2", "13.50"),
        ]
        assert [each.values[0].text for each in found.products[0].features] == ["Farbe rot Länge 5 mm"]
        assert found.blocks == ()


def test_a_page_that_is_laid_out_in_a_table_is_read_cell_by_cell() -> None:
    inner = "<table><tr><th>Artikelnummer</th><th>Preis EUR</th></tr><tr><td>B-1</td><td>2,50</td></tr></table>"
    found = extracted(f"<table><tr><td>Menü</td><td><h2>Preise</h2>{inner}</td></tr></table>".encode(), "a.html")
    assert [block.text for block in found.blocks] == ["Menü", "Preise"]
    assert [each.article_number for each in found.products] == ["B-1"]
