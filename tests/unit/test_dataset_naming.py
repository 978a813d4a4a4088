"""Which document a person means by a name."""

from __future__ import annotations

import pytest

from shared.dataset.naming import meant

PATHS = [
    "alt/HL-240-50.docx", "datenblaetter/HL-240-50.pdf", "datenblaetter/NT-24-10.pdf", "mail/Müller GmbH.eml",
    "preise/preisliste_2026.xlsx", "README",
]  # fmt: skip
TITLES = ["", "Datenblatt LED-Hallenleuchte", "Datenblatt Netzteil", "Anfrage", "Preise", ""]


@pytest.mark.parametrize(
    ("name", "places", "whole"),
    [
        ("HL-240-50.pdf", [1], True),
        ("hl-240-50.PDF", [1], True),
        ("datenblaetter\\HL-240-50.pdf", [1], True),
        ("/Datenblaetter/hl-240-50", [1], True),
        ("hl-240-50", [0, 1], True),
        ("HL 240 50", [0, 1], True),
        ("NT 24 10", [2], True),
        ("nt-24-10.pdf", [2], True),
        ("NT_24_10.pdf", [2], True),
        ("Mueller GmbH", [3], True),
        ("Preisliste 2026.xlsx", [4], True),
        ("datenblatt netzteil", [2], True),
        ("readme", [5], True),
        ("preisliste", [4], False),
        ("240-50", [0, 1], False),
        ("nirgends.pdf", [], False),
        ("  ", [], False),
        ("--", [], False),
    ],
)
def test_a_document_is_what_its_name_fits_closest(name: str, places: list[int], whole: bool) -> None:
    assert meant(name, PATHS, TITLES) == (places, whole)
