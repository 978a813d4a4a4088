"""A mail's text in two forms: nothing that only one of them says is lost, and nothing is read twice."""

from __future__ import annotations

import email.message

import pytest

from servers.cradle.processing.extract.compound_file import compound
from tests.outlook_message import message
from tests.tables_rig import extracted

LIST = (
    "<table><tr><th>Artikelnummer</th><th>Bezeichnung</th><th>Preis EUR</th></tr>"
    "<tr><td>A-1</td><td>Klemme</td><td>1,50</td></tr><tr><td>A-2</td><td>Kabel</td><td>2,50</td></tr></table>"
)


def sent(plain: str, page: str) -> bytes:
    made = email.message.EmailMessage()
    made["Subject"] = "Preise"
    made.set_content(plain)
    made.add_alternative(f"<html><body>{page}</body></html>", subtype="html")
    return made.as_bytes()


@pytest.mark.parametrize(
    ("plain", "page", "said"),
    [
        ("Anbei die Preise.", f"<p>Anbei die Preise.</p>{LIST}", ["Anbei die Preise."]),
        ("Bitte in HTML ansehen.", "<p>Der Preis steigt auf 12,50 EUR.</p>", [
            "Bitte in HTML ansehen.", "Der Preis steigt auf 12,50 EUR.",
        ]),
        ("Siehe https://a.example/x?y=1\n", "<p>Siehe</p>", ["Siehe https://a.example/x?y=1"]),
        ("Guten Tag,\n\nKlemme 1,50", "<p>Gu\u00adten Tag,</p><p>Klem\u200bme 1,50</p>", ["Guten Tag,", "Klemme 1,50"]),
        (
            "Artikelnummer\nBezeichnung\nPreis EUR\nA-1\nKlemme\n1,50\nA-2\nKabel\n2,50\n", LIST, []
        ),
    ],
)  # fmt: skip
def test_what_only_the_page_says_is_read_and_what_both_say_once(plain: str, page: str, said: list[str]) -> None:
    found = extracted(sent(plain, page), "a.eml")
    assert [block.text for block in found.blocks[1:]] == said
    assert [each.article_number for each in found.products] == (["A-1", "A-2"] if LIST in page else [])


def test_of_an_outlook_message_too() -> None:
    data = compound(message("Preise", "Anbei.", None, _10130102=f"<p>Anbei.</p>{LIST}".encode()))
    found = extracted(data, "a.msg")
    assert [block.text for block in found.blocks].count("Anbei.") == 1
    assert [each.article_number for each in found.products] == ["A-1", "A-2"]
