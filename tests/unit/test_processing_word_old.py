"""DOC of Word 6 and Word 95: text in code pages and pieces, structure, pictures.

The layout in `tests/word_old.py` was checked on fourteen real files (the test data in Debian's libapache-poi-java), of
which the reader gives the same words as LibreOffice.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import Extraction
from tests.tables_rig import extracted, texts
from tests.word_old import TEXT, old_file, row, style
from tests.word_pictures import dib, opened, wmf

DELETED, FONT, IN_TABLE = b"\x41\x01", b"\x5d", b"\x18\x01"
CUT = b"\xbe\xff\xff"  # ends the reading of modifiers, unless it is part of another one
BEFORE = b"\0\x0f\x03" + CUT + b"\x53\x14\0" + CUT + b"\xbb\0" + CUT + bytes(8)


def read(text: bytes, *runs: Any, **more: Any) -> Extraction:
    return extracted(old_file(text, *runs, **more), "a.doc")


def test_a_text_of_word_95_is_read_with_headings_lists_and_a_table() -> None:
    lines = (
        (b"Netzteile f\xfcr Geh\xe4use\r", style(1)),
        (b"Merkmale\r", style(4)),
        (b"24\xa0V \x96 10 A\x0bzweite Zeile\r", style(0, BEFORE)),
        (b"Kurzschlussfest\r", style(0, b"\x0d\x0b")),
        (b"Titel\r", style(3)),
        (b"Artikel\x07Ma\xdfe\x07", style(0, IN_TABLE)),
        (b"\x07", style(0, row(1000, 3000) + b"\xba\x01")),
        (b"4711\x076\x077\x07", style(0, IN_TABLE)),
        (b"\x07", style(0, BEFORE + row(1000, 2000, 3000) + b"\xba\x01")),
        (b"Ende\r", style(99)),
    )
    ends = [sum(len(text) for text, _ in lines[: index + 1]) for index in range(len(lines))]
    found = read(b"".join(text for text, _ in lines), list(zip(ends, [said for _, said in lines], strict=True)))
    assert [(block.kind, block.level, block.text) for block in found.blocks] == [
        ("heading", 1, "Netzteile für Gehäuse"),
        ("heading", 2, "Merkmale"),
        ("paragraph", 0, "24\xa0V – 10 A\nzweite Zeile"),
        ("list", 0, "- Kurzschlussfest"),
        ("heading", 1, "Titel"),
        ("table", 0, "Artikel | Maße\n4711 | 6 | 7"),
        ("paragraph", 0, "Ende"),
    ]
    assert found.blocks[5].rows == (("Artikel", "Maße", ""), ("4711", "6", "7"))
    assert found.blocks[5].header_rows == 2


@pytest.mark.parametrize(
    ("text", "more", "said"),
    [
        (b"Gr\xf6\xdfe 5 \x80", {}, "Größe 5 €"),
        (b"\xcf\xf0\xe8\xe2\xe5\xf2", {"language": 0x419}, "Привет"),
        (b"\x8dest", {"language": 0x405}, "Ťest"),
        (b"Gr\x9a\xa7e", {"charset": 256}, "Größe"),
    ],
)
def test_bytes_are_of_the_code_page_of_the_files_language_or_of_the_macintosh(
    text: bytes, more: dict[str, int], said: str
) -> None:
    assert texts(read(text + b"\r", **more)) == [said]


def test_a_font_with_a_character_set_of_its_own_decides_and_the_font_symbol_is_signs() -> None:
    fonts = (("Arial", 0), ("Arial CE", 238), ("Symbol", 2), ("MS Gothic", 128))
    each = [(1, FONT + b"\1\0"), (2, FONT + b"\2\0"), (3, FONT + b"\0\0"), (5, FONT + b"\3\0"), (6, FONT + b"\x09\0")]
    symbol = (7, b"\x4a\x03\2\0\x6d" + b"\x75\1")
    assert texts(read(b"\xe6W\xe6\x82\xa0\xe6(\r", [], [*each, symbol], fonts=fonts)) == ["ćΩæ‚\xa0æµ"]


def test_deleted_text_and_codes_of_fields_are_out_and_stories_are_apart() -> None:
    text = b"Neu alt \x13 PAGE \x147\x15\rNote\rKopf\rKasten\r"
    found = read(text, [], [(4, b""), (8, DELETED), (len(text), b"")], stories=(19, 5, 5, 0, 0, 7))
    assert texts(found) == ["Neu 7", "Note", "Kopf", "Kasten"]


def test_a_text_that_was_saved_in_pieces_is_put_together_with_the_properties_of_each() -> None:
    paragraphs = [(7, style(0)), (15, style(1)), (20, style(0))]
    found = read(b" Welt.\rHallo\rx\r_weg_", paragraphs, order=[(7, 13), (0, 7)], stories=(13,))
    assert [(block.level, block.text) for block in found.blocks] == [(1, "Hallo"), (0, " Welt.")]


def test_a_scan_in_a_text_of_word_95_goes_to_ocr() -> None:
    metafile = wmf(dib(41))
    picture = struct.pack("<IHH", 58 + len(metafile), 58, 8).ljust(58, b"\0") + metafile
    place = b"\x44\x04" + struct.pack("<I", TEXT + 2)
    found = read(b"\x01\r", [], [(1, place + b"\x75\1"), (2, b"")], more=picture)
    assert [opened(scan.png).width for scan in found.scans] == [41]
    assert not found.blocks


@pytest.mark.parametrize(
    ("more", "code"),
    [({"flags": 0x100}, "encrypted"), ({"version": 45}, "unsupported_format"), ({"stories": (99_999,)}, "damaged")],
)
def test_an_old_text_that_cannot_be_read_is_refused_with_its_reason(more: dict[str, Any], code: str) -> None:
    with pytest.raises(Unreadable) as refused:
        read(b"Text\r", **more)
    assert refused.value.code == code
