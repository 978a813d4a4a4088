"""What stands above the line is no digit of the number before it, and what nobody sees is not read."""

from __future__ import annotations

import io
from typing import Any

import pytest

from servers.cradle.processing.extract.encoding import raised
from shared.dataset.words import folded
from tests.tables_rig import extracted, texts

SAID = "10⁻³ m² H2O 12,50¹⁾ 1st"
PAGE = "<p>10<sup>-3</sup> m<sup>2</sup> H<sub>2</sub>O 12,50<sup>1)</sup> 1<sup>st</sup></p>"
RICH = rb"{\rtf1 10{\super -3} m\super 2\nosupersub  H{\sub 2}O 12,50{\super 1)} 1{\super st}\par}"


def word(*runs: tuple[str, str]) -> bytes:
    from docx import Document

    made, out = Document(), io.BytesIO()
    paragraph = made.add_paragraph()
    for text, how in runs:
        font = paragraph.add_run(text).font
        font.hidden = how == "no" or None
        if how in ("up", "down"):
            setattr(font, {"up": "superscript", "down": "subscript"}[how], True)
    made.save(out)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (PAGE.encode(), "a.html"),
        (RICH, "a.rtf"),
        (
            word(("10", ""), ("-3", "up"), (" m", ""), ("2", "up"), (" H", ""), ("2", "down"), ("O 12,50", ""),
                 ("1)", "up"), (" 1", ""), ("st", "up")),
            "a.docx",
        ),
    ],
)  # fmt: skip
def test_an_exponent_and_a_note_s_number_are_no_digits_of_the_value_before_them(data: bytes, name: str) -> None:
    assert texts(extracted(data, name)) == [SAID]


def test_of_a_slide_too() -> None:
    from pptx import Presentation

    made, out = Presentation(), io.BytesIO()
    title: Any = made.slides.add_slide(made.slide_layouts[5]).shapes[0]
    paragraph = title.text_frame.paragraphs[0]
    for text, baseline in (
        ("10", ""),
        ("-3", "30000"),
        (" m", ""),
        ("2", "30%"),
        (" H", ""),
        ("2", "-25000"),
        ("O", ""),
    ):
        run = paragraph.add_run()
        run.text = text
        run.font._element.attrib.update({"baseline": baseline} if baseline else {})
    made.save(out)
    assert texts(extracted(out.getvalue(), "a.pptx")) == ["10⁻³ m² H2O"]


@pytest.mark.parametrize("text", ["Preise gültig ab 01.03.2026", "01.03.2026", "12345", "st", ""])
def test_small_print_and_letters_stay_as_they_are(text: str) -> None:
    assert raised(text) == text


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (word(("Sichtbar", ""), (" VERSTECKT", "no")), "a.docx"),
        (rb"{\rtf1 Sichtbar{\v  VERSTECKT}\par}", "a.rtf"),
        (b"<p>Sichtbar</p><div style='color:red; Display : none'>VERSTECKT</div>", "a.html"),
        (b"<p>Sichtbar</p><span style='mso-hide:all'>VERSTECKT</span><p hidden id='x'>VERSTECKT</p>", "a.html"),
    ],
)
def test_what_nobody_sees_is_not_read(data: bytes, name: str) -> None:
    assert texts(extracted(data, name)) == ["Sichtbar"]


@pytest.mark.parametrize("how", ["style='display:none'", "hidden"])
@pytest.mark.parametrize("opener", ["<a onclick='auf()'>Technische Daten</a>", "Technische Daten<script></script>"])
def test_the_panel_that_a_script_opens_is_read_though_it_is_hidden_at_first(how: str, opener: str) -> None:
    page = f"{opener}<div {how}>Schutzart IP67</div>"
    assert texts(extracted(page.encode(), "a.html")) == ["Technische Daten", "Schutzart IP67"]


def test_a_note_s_number_does_not_change_an_article_s_price() -> None:
    page = (
        "<table><tr><th>Artikelnummer</th><th>Name</th><th>Preis EUR</th></tr>"
        "<tr><td>A-1</td><td>Klemme</td><td>12,50<sup>1</sup></td></tr></table>"
    )
    (product,) = extracted(page.encode(), "a.html").products
    assert "12.501" not in [price.amount for price in product.prices]


def test_a_search_finds_the_number_and_not_one_with_the_note_s_number_in_it() -> None:
    assert folded("Preis 12,50¹ EUR, 5·10⁶ Schaltspiele, 10 mm²") == "preis 12,50 1 eur, 5·10 6 schaltspiele, 10 mm2"


@pytest.mark.parametrize(
    ("css", "tag"),
    [
        (".x { display: none }", "<p class='y x'>"),
        ("p.x, div.z{color:red;DISPLAY:none!important}", "<p class=x>"),
        ("#x{display:none}", "<div id=x>"),
        ("/* p{} */ .a{color:red} .x{mso-hide:all}", "<p class=x>"),
    ],
)
def test_what_a_page_s_own_style_sheet_hides_is_not_read(css: str, tag: str) -> None:
    page = f"<style>{css}</style><p>Sichtbar</p>{tag}VERSTECKT"
    assert texts(extracted(page.encode(), "a.html")) == ["Sichtbar"]


@pytest.mark.parametrize(
    ("css", "tag"),
    [
        ("@media print { .x { display: none } }", "<p class=x>"),
        ("p.x{display:none}", "<div class=x>"),
        (".a .x{display:none}", "<p class=x>"),
        (".x{display:none} #auf:checked ~ .x{display:block}", "<p class=x>"),
        (".x{display:none} @media (max-width:600px){ .x{display:table-row} }", "<p class=x>"),
        (".x{display:none}", "<p class=x style='display:block'>"),
        (".x{display:none}", "<script></script><p class=x>"),
        ("} .x{{", "<p class=x>"),
        (".x{visibility-display:none}", "<p class=x>"),
    ],
)
def test_what_a_style_sheet_may_show_again_is_read(css: str, tag: str) -> None:
    page = f"<style>{css}</style>{tag}Schutzart IP67"
    assert texts(extracted(page.encode(), "a.html")) == ["Schutzart IP67"]


def test_a_style_sheet_for_printing_hides_nothing() -> None:
    page = b"<style media=print>.x{display:none}</style><p class=x>Schutzart IP67"
    assert texts(extracted(page, "a.html")) == ["Schutzart IP67"]
