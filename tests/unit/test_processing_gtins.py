"""A GTIN is the same in all documents' rows, however each writes it, and stays in a passage as it is written."""

from __future__ import annotations

import pytest

from servers.cradle.processing.product_text import product_lines
from servers.cradle.processing.records import Records
from shared.dataset.rows import document_id
from tests.tables_rig import listed


@pytest.mark.parametrize(
    ("written", "gtin"),
    [
        ("4012345000054", "4012345000054"), ("04012345000054", "4012345000054"), ("4 012345 000054", "4012345000054"),
        ("4-012345-000054", "4012345000054"), ("4012345\u00a0000054", "4012345000054"), ("00000040123455", "40123455"),
        ("14012345000051", "14012345000051"), ("0012345678905", "0012345678905"), ("012345678905", "012345678905"),
        ("401234500005", "401234500005"), ("4,01235E+12", "4,01235E+12"), ("0815", "0815"),
        ("siehe Blatt 2", "siehe Blatt 2"),
        ("4012345-00005-A", "4012345-00005-A"), ("²0123450", "²0123450"),
    ],
)  # fmt: skip
def test_a_gtin_has_one_writing_in_its_row(written: str, gtin: str) -> None:
    found = listed("Artikelnummer;EAN;Bezeichnung", f"RK-4;{written};Klemme")
    (row,) = Records(document_id("a.csv"), 1).of(found, [], None).products
    assert row.gtin == gtin
    assert f"GTIN: {written}".replace("\u00a0", " ") in product_lines(found.products[0])
