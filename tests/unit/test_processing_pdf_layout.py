"""Lines from characters and their boxes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from servers.cradle.processing import stages
from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.pdf import _paired
from servers.cradle.processing.extract.pdf_lines import Glyphs, lines_of
from servers.cradle.processing.extraction import Block, Extraction, Scan, joined, parts
from shared.errors import Conflict, InvalidInput, PlatformError, Unavailable

A4 = 595, 842
UPRIGHT = "1 0 0 1"
SIGNS = b"<AD> <00AD> <A4> <D83DDD0C> <A5> <0000>"
NAMES = b"begincmap 1 begincodespacerange <00> <FF> endcodespacerange 3 beginbfchar %s endbfchar endcmap" % SIGNS


def line(text: str, top: float, left: float = 0.0, size: float = 10.0) -> list[tuple[str, tuple[float, ...]]]:
    return [(char, (left + 5 * at, top, left + 5 * at + 5, top - size)) for at, char in enumerate(text)]


def lines(*placed: tuple[str, tuple[float, ...]]) -> list[list[str]]:
    glyphs = Glyphs("".join(char for char, _ in placed), np.array([box for _, box in placed]))
    return [[segment.text for segment in each.segments] for each in lines_of(glyphs)]


def page_of(shows: list[str], rotate: int = 0, names: bytes = NAMES) -> bytes:
    """A PDF of one page whose text these operators write, in a font that names 0xAD a soft hyphen, ¤ a plug, ¥ none,
    or what `names`, its character map, says."""
    content = f"BT /F1 10 Tf {' '.join(shows)} ET".encode("cp1252")
    page = f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 {A4[0]} {A4[1]}]/Rotate {rotate}/Contents 4 0 R"
    objects = (
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        page.encode() + b"/Resources<</Font<</F1 5 0 R>>>>>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding/ToUnicode 6 0 R>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(names), names),
    )
    numbered = b"".join(b"%d 0 obj\n%s\nendobj\n" % each for each in enumerate(objects, 1))
    return b"%PDF-1.4\n" + numbered + b"trailer\n<</Root 1 0 R>>\n%%EOF"


def shown(text: str, x: int, y: int, matrix: str = UPRIGHT) -> str:
    return f"{matrix} {x} {y} Tm ({text}) Tj"


def extracted(pdf: bytes) -> Extraction:
    return joined(parts(read(*identify(pdf, "a.pdf"))))


def texts(pdf: bytes) -> list[str]:
    return [block.text for block in extracted(pdf).blocks]


def paragraph(*lines: str) -> list[str]:
    return texts(page_of([shown(line, 50, 700 - 12 * at) for at, line in enumerate(lines)]))


def test_characters_are_read_by_their_place_and_not_by_their_order() -> None:
    below, above = line("unten", 50), line("oben", 70)
    assert lines(*below, *reversed(above)) == [["oben"], ["unten"]]


def test_a_gap_is_a_space_and_a_wide_gap_a_new_segment() -> None:
    assert lines(*line("ab", 50), *line("cd", 50, 12.5), *line("ef", 50, 60)) == [["ab cd", "ef"]]


def test_a_drawn_space_separates_words_without_a_gap_and_spaces_alone_are_no_line() -> None:
    space = (" ", (10.0, 50.0, 10.5, 40.0))  # narrower than a gap that is one
    assert lines(*line("ab", 50), *line("cd", 50, 10.5)) == [["abcd"]]
    assert lines(*line("ab", 50), space, *line("cd", 50, 10.5)) == [["ab cd"]]
    assert lines(*line("   ", 20)) == []


def test_raised_characters_stay_in_their_line_and_the_next_line_does_not() -> None:
    assert lines(*line("10", 50), *line("2", 52, 10, 6), *line("nah", 44)) == [["10²"], ["nah"]]


def test_two_halves_of_a_character_become_one_and_a_lone_one_a_question_mark() -> None:
    assert _paired("a\ud83d\udd0c\ud83db", [0, 2, 3, 4, 5]) == ("a🔌\ufffdb", [0, 2, 4, 5])


def test_signs_stay_in_their_places_behind_one_of_two_units_and_one_without_a_name() -> None:
    shows = [shown("¤ Stecker", 50, 700), shown("B¥uchse", 50, 650), shown("Leuchte", 50, 600)]
    assert texts(page_of(shows)) == ["🔌 Stecker", "B uchse", "Leuchte"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (("Die Sicherheits-", "klemme passt."), "Die Sicherheitsklemme passt."),
        (("Die Sicherheits\xad", "klemme passt."), "Die Sicherheitsklemme passt."),
        (("Der Typ KL-", "4711 passt."), "Der Typ KL-4711 passt."),
        (("Der Typ XK-200-", "17B passt."), "Der Typ XK-200-17B passt."),
        (("Eine rote LED-", "Anzeige leuchtet."), "Eine rote LED-Anzeige leuchtet."),
        (("Ein 24-", "poliger Stecker."), "Ein 24-poliger Stecker."),
        (("Alle Ein-", "und Ausgänge."), "Alle Ein- und Ausgänge."),
        (("Mit 10-", "bis 20-facher Kraft."), "Mit 10- bis 20-facher Kraft."),
        (("Temperatur -", "20 bis 40 Grad."), "Temperatur - 20 bis 40 Grad."),
    ],
)
def test_a_hyphen_at_the_end_of_a_line_stays_unless_it_split_a_word(lines: tuple[str, ...], text: str) -> None:
    assert paragraph(*lines) == [text]


def test_a_hyphen_within_a_line_stays_even_where_the_font_names_it_soft() -> None:
    assert paragraph("Der Typ KL\xad4711 passt.") == ["Der Typ KL-4711 passt."]


def test_a_word_split_in_a_heading_becomes_whole() -> None:
    large = "2 0 0 2"
    body = [shown("Die Klemme passt an jede Schiene und jedes Gehäuse.", 50, 600 - 12 * at) for at in range(4)]
    pdf = page_of([shown("Die Sicherheits-", 50, 700, large), shown("klemme", 50, 676, large), *body])
    assert texts(pdf)[0] == "Die Sicherheitsklemme"


ROWS = [["Artikel", "Länge", "Preis"], ["4711", "20 mm", "12,50 EUR"], ["4712", "30 mm", "13,50 EUR"]]
SIDEWAYS = {  # the page's rotation: its text's matrix, and where on the page a reader's point lies
    0: (UPRIGHT, lambda x, y: (x, y)),
    90: ("0 1 -1 0", lambda x, y: (A4[0] - y, x)),
    180: ("-1 0 0 -1", lambda x, y: (A4[0] - x, A4[1] - y)),
    270: ("0 -1 1 0", lambda x, y: (y, A4[1] - x)),
}


@pytest.mark.parametrize("turned", SIDEWAYS)
@pytest.mark.parametrize("said", [True, False], ids=["rotated", "only its text"])
def test_a_page_is_read_along_its_text_however_it_is_turned(turned: int, said: bool) -> None:
    matrix, place = SIDEWAYS[turned]
    shows = [
        shown(text, *place(50 + 180 * column, 500 - 20 * row), matrix)
        for row, cells in enumerate(ROWS)
        for column, text in enumerate(cells)
    ]
    [block] = extracted(page_of(shows, turned if said else 0)).blocks
    assert (block.kind, [list(row) for row in block.rows]) == ("table", ROWS)


def test_text_upside_down_by_its_matrix_and_back_by_its_size_is_upright() -> None:
    shows = [shown(line, 50, 700 - 12 * at, "-1 0 0 -1") for at, line in enumerate(["Die Klemme", "ist grau."])]
    assert texts(page_of(["/F1 -10 Tf", *shows])) == ["Die Klemme ist grau."]


LEFT = (
    "Die Montage erfolgt mit vier Schrauben M6",
    "auf einer ebenen Fläche, das Drehmoment ist",
    "zehn Newtonmeter und wird danach geprüft.",
)
RIGHT = (
    "Die Wartung erfolgt alle zwei Jahre durch",
    "einen Fachmann, das Gerät ist vorher vom",
    "Netz zu trennen und gegen Wiederkehr zu sichern.",
)


def columns(lower: int, left: tuple[str, ...] = LEFT) -> bytes:
    sides = (50, 700, left), (320, 700 - lower, RIGHT)
    return page_of([shown(line, x, y - 12 * at) for x, y, side in sides for at, line in enumerate(side)])


@pytest.mark.parametrize("lower", [0, 3, 6])
def test_columns_of_prose_are_read_one_after_the_other_on_whatever_levels_they_stand(lower: int) -> None:
    assert texts(columns(lower)) == [" ".join(LEFT), " ".join(RIGHT)]


def test_a_table_below_columns_of_prose_stays_a_table() -> None:
    rows = [shown(text, x, 652 - 12 * at) for at in range(2) for text, x in ((f"Maß {at}", 50), (f"{at} mm", 320))]
    sides = (50, 700, LEFT), (320, 694, RIGHT)
    prose = [shown(line, x, y - 12 * at) for x, y, side in sides for at, line in enumerate(side)]
    assert texts(page_of([*prose, *rows])) == [" ".join(LEFT), " ".join(RIGHT), "Maß 0 | 0 mm\nMaß 1 | 1 mm"]


def test_a_short_name_beside_the_middle_of_its_text_stays_with_it() -> None:
    [text] = texts(columns(6, ("Montage", "", "Wartung")))
    assert text.index(RIGHT[0]) < text.index("Wartung") < text.index(RIGHT[2])


def scanned(text: str, width: float = 210) -> Extraction:
    import PIL.Image
    from fpdf import FPDF

    pdf = FPDF()
    pdf.set_font("Helvetica", size=8)
    pdf.add_page()
    pdf.image(PIL.Image.new("L", (62, 88), 128), 0, 0, width, 297)
    pdf.set_xy(20, 20)
    pdf.multi_cell(150, text=text)
    return extracted(bytes(pdf.output()))


def test_a_scan_with_a_stamp_is_a_scan_and_keeps_the_stamp() -> None:
    found = scanned("Seite 1 von 1")
    assert [block.text for block in found.blocks] == ["Seite 1 von 1"]
    assert [scan.stamped for scan in found.scans] == [True]


@pytest.mark.parametrize(("error", "stamped", "read"), [
    (InvalidInput("None is configured."), True, True),
    (InvalidInput("None is configured."), False, False),
    (Unavailable("Away."), True, False),
])  # fmt: skip
async def test_without_ocr_a_stamped_page_keeps_its_stamp_and_an_ocr_that_is_away_fails_the_file(
    error: PlatformError, stamped: bool, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(png: bytes) -> str:
        raise error

    monkeypatch.setattr(stages, "ATTEMPTS", 1)
    reading = stages.Stages.__new__(stages.Stages)  # only OCR is asked
    reading._ocr = fails
    reading._ocr_permits, reading.clock = asyncio.Semaphore(), stages.Clock()
    entry: Any = SimpleNamespace(ocr_pages=0)
    part = Extraction(flow=(Block("paragraph", "Seite 1 von 1", page=1), Scan(b"", 1, stamped=stamped)))
    if read:
        found = await reading._with_text(entry, part)
        assert ([block.text for block in found.blocks], entry.ocr_pages) == (["Seite 1 von 1"], 0)
    else:
        with pytest.raises(Unreadable, match="OCR"):
            await reading._with_text(entry, part)


async def test_what_the_operator_has_to_mend_fails_the_job_and_no_document() -> None:
    async def fails(png: bytes) -> str:
        raise Conflict("The key is refused.")

    reading = stages.Stages.__new__(stages.Stages)  # only OCR is asked
    reading._ocr = fails
    reading._ocr_permits, reading.clock = asyncio.Semaphore(), stages.Clock()
    entry: Any = SimpleNamespace(ocr_pages=0)
    with pytest.raises(Conflict, match="refused"):
        await reading._with_text(entry, Extraction(flow=(Scan(b"", 1),)))


def test_a_page_with_a_text_of_its_own_or_half_an_image_is_no_scan() -> None:
    assert not scanned("Die Klemme passt an jede Schiene. " * 5).scans
    assert not scanned("Seite 1 von 1", width=105).scans
