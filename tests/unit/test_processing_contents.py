"""Tables of contents: told from data, marked, and behind the pages that they point to."""

from __future__ import annotations

import io

import pytest

from servers.cradle.processing.chunking import ChunkSizes
from servers.cradle.processing.contents import is_contents, without_leaders
from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block, Extraction, joined, parts
from tests.unit.test_processing_chunking import TOKENS, chunk

TITLES = ["Vorwort", "Sicherheit", "Netzwerkbrücke", "Router", "Dienste", "Wartung", "Ersatzteile", "Anhang A"]


def entries(leader: str, joint: str = "\n") -> str:
    return joint.join(f"{number}.1 {title}{leader}{number * 7}" for number, title in enumerate(TITLES, 1))


@pytest.mark.parametrize("leader", [" .............. ", " . . . . . . . ", " … ", "\t", " | ........ | ", "______"])
@pytest.mark.parametrize("joint", ["\n", " "])
def test_lines_with_leaders_and_rising_pages_are_contents(leader: str, joint: str) -> None:
    if leader == "\t" and joint == " ":
        joint = "\n\n"
    assert is_contents(entries(leader, joint))


@pytest.mark.parametrize(
    "text",
    [
        "Spannung .... 24\nStrom .... 10\nPole .... 3\nGewicht .... 2\nLänge .... 90",
        "RK-4 .... 1,50\nRK-6 .... 2,50\nRK-8 .... 3,50\nRK-9 .... 4,50\nRK-10 .... 5,50",
        "Das Gerät wird in vier Schritten montiert... 1. Rahmen setzen, 2. anziehen, 3. prüfen.",
        "Kapitel 1\nKapitel 2\nKapitel 3\nKapitel 4",
        "Ein langer Satz über die Netzwerkbrücke. " * 20 + "Siehe auch: Router … 12",
        "",
    ],
)
def test_data_prices_and_prose_are_not_contents(text: str) -> None:
    assert not is_contents(text)


def test_runs_of_dots_are_shortened_and_ordinary_dots_stay() -> None:
    assert without_leaders("2.1 Netzwerkbrücke .............. 12") == "2.1 Netzwerkbrücke … 12"
    assert without_leaders("Netzwerkbrücke . . . . . . 12") == "Netzwerkbrücke … 12"
    assert without_leaders("Und so weiter... Version 3.14.15.9.26.") == "Und so weiter... Version 3.14.15.9.26."


def test_every_passage_of_a_long_table_of_contents_is_marked_and_the_text_after_it_is_not() -> None:
    many = "\n".join(f"{number} Kapitel über Teil {number} … {number * 3}" for number in range(1, 60))
    flow = (
        Block("heading", "Inhalt", level=1, page=1),
        Block("paragraph", many, page=1),
        Block("heading", "Netzwerkbrücke", level=1, page=3),
        Block("paragraph", "Eine Netzwerkbrücke verbindet zwei Netze zu einem.", page=3),
    )
    chunks = chunk(Extraction(flow=flow), TOKENS, ChunkSizes(64))
    kinds = [each.kind for each in chunks]
    assert len(kinds) > 5
    assert set(kinds[:-1]) == {"contents"}
    assert (kinds[-1], chunks[-1].page) == ("text", 3)


def test_a_table_of_numbers_stays_a_table() -> None:
    rows = [["Größe", "Menge"], *([f"M{number}", str(number)] for number in range(1, 30))]
    assert {each.kind for each in chunk(Extraction(flow=(table_block(rows, 1),)), TOKENS, ChunkSizes(64))} == {"table"}


def test_the_contents_of_a_real_pdf_are_marked_and_its_body_is_not() -> None:
    from fpdf import FPDF

    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=18)
    pdf.cell(text="Inhaltsverzeichnis", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", size=10)
    for number, title in enumerate(TITLES, 1):
        head, end = f"{number}.1 {title} ", f" {number * 7}"
        width = pdf.w - 20 - pdf.get_string_width(head + end)
        pdf.cell(text=head + "." * int(width / pdf.get_string_width(".")) + end, new_x="LMARGIN", new_y="NEXT")
    pdf.add_page()
    pdf.multi_cell(0, text="Eine Netzwerkbrücke verbindet zwei Netze zu einem. " * 8)
    found = joined(parts(read(*identify(bytes(pdf.output()), "a.pdf"))))
    chunks = chunk(found, TOKENS, ChunkSizes(220, 24))
    assert {(each.page, each.kind) for each in chunks} == {(1, "contents"), (2, "text")}
    assert all("...." not in each.text for each in chunks)
    assert all(title in "\n".join(each.text for each in chunks if each.page == 1) for title in TITLES)


def test_the_contents_of_a_word_file_with_tabs_are_marked() -> None:
    from docx import Document

    document = Document()
    for number, title in enumerate(TITLES, 1):
        document.add_paragraph(f"{title}\t{number * 7}")
    document.add_heading("Netzwerkbrücke", level=1)
    document.add_paragraph("Eine Netzwerkbrücke verbindet zwei Netze.")
    out = io.BytesIO()
    document.save(out)
    chunks = chunk(joined(parts(read(*identify(out.getvalue(), "a.docx")))), TOKENS, ChunkSizes(220, 24))
    assert [each.kind for each in chunks] == ["contents", "text"]
