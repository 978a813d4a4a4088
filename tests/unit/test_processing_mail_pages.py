"""Mails that say the same as plain text and as a page: nothing that only the page has is lost."""

from __future__ import annotations

from email.message import EmailMessage

import pytest

from tests.tables_rig import extracted

ROWS = (
    ("Artikelnummer", "Bezeichnung", "Preis"),
    ("NT-24", "Netzteil 24 V", "49,50"),
    ("NT-48", "Netzteil 48 V", "59,50"),
)
TABLE = "<table>" + "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in ROWS) + "</table>"
FLAT = "\n\n".join(cell for row in ROWS for cell in row)


def mail(plain: str, page: str) -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Preise", "a@x.example", "b@y.example"
    message.set_content(plain)
    message.add_alternative(page, subtype="html")
    return message.as_bytes()


def test_a_table_of_the_page_gives_the_products_whose_columns_the_plain_text_lost() -> None:
    found = extracted(mail(f"Guten Tag,\n\n{FLAT}\n", f"<p>Guten Tag,</p>{TABLE}"), "a.eml")
    assert [each.article_number for each in found.products] == ["NT-24", "NT-48"]
    assert [block.text for block in found.blocks].count("Guten Tag,") == 1


@pytest.mark.parametrize(
    "page",
    [
        "<table><tr><td><img src='x'></td><td>Max Muster</td></tr><tr><td></td><td>Muster GmbH</td></tr></table>",
        "<table><tr><td><p>Guten Tag, hier die Liste von heute.</p></td></tr></table>",
        "<table><tr><td>" * 150 + "Guten Tag" + "</td></tr></table>" * 150,
    ],
)
def test_a_table_that_only_arranges_a_page_or_cannot_be_read_adds_nothing(page: str) -> None:
    found = extracted(mail("Guten Tag, hier die Liste von heute.\n\nMax Muster\n\nMuster GmbH", page), "a.eml")
    assert [block.kind for block in found.blocks[2:]] == ["paragraph"] * 3


def test_a_page_is_read_where_the_plain_text_only_says_that_there_is_one() -> None:
    page = "<p>Die Schutzart des Netzteils ist IP65.</p><p>Lieferzeit: drei Wochen nach Eingang der Bestellung.</p>"
    found = extracted(mail("Ihr Programm kann diese Nachricht nicht anzeigen.", page), "a.eml")
    assert "Die Schutzart des Netzteils ist IP65." in [block.text for block in found.blocks]
