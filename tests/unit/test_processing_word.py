"""DOC and RTF: text, structure, signs and what stands beside the text.

`tests/samples/datenblatt.doc.gz` and `.rtf.gz` were written by LibreOffice 7.4 (`soffice --headless --convert-to`) from
one DOCX that python-docx wrote; a text box, footnote, comment, field, deletion and `w:sym` were put into its XML.
"""

from __future__ import annotations

import io
import struct

import docx
import pytest

from servers.cradle.processing.extract import identify, note
from servers.cradle.processing.extract.compound_file import Tree, compound
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.lzfu import decompressed
from tests.outlook_message import message
from tests.tables_rig import extracted, texts
from tests.word_file import TEXT, narrow, pieces, sample, word_file, word_file_of
from tests.word_pictures import image

BODY = [
    ("heading", 1, "Datenblatt"),
    ("heading", 1, "Netzteile für Gehäuse"),
    ("paragraph", 0, "Preis 12,50 € – „günstig“, Größe XL, 100 µF ± 5 %, 日本 Привет 😀 Ende"),
    ("heading", 2, "Merkmale"),
    ("list", 0, "- Übertemperaturschutz\n- Kurzschlussfest\n- Erstens\n- Zweitens"),
    ("table", 0, "Artikel | Maße\n | Breite | Höhe\n4711 | 6 | 7\n4712 | 8 zweiter Absatz"),
    ("paragraph", 0, "Nach der Tabelle\nZeile zwei\tTab-fest"),
    ("paragraph", 0, "Widerstand 100 Ω genau"),
    ("paragraph", 0, "Seite sieben"),
    ("paragraph", 0, "Gilt neu"),
    ("paragraph", 0, "Zweite Seite"),
    ("table", 0, " | ".join(f"s{column}" for column in range(25))),
    ("paragraph", 0, "Breit"),
    ("table", 0, "außen | i00 i01 i10 i11"),
]
ASIDES = {"Kopfzeile Müller GmbH", "Fußzeile", "Fußnote zum Preis", "Kommentar hier"}


def rtf(content: str, fonts: str = "") -> bytes:
    head = rf"{{\rtf1\ansi\ansicpg1252\deff0{{\fonttbl{{\f0\fnil\fcharset0 Arial;}}{fonts}}}"
    return (head + content + "}").encode("latin-1")


@pytest.mark.parametrize(("ending", "beside"), [("doc", ASIDES | {"Im Textfeld für Sie"}), ("rtf", ASIDES)])
def test_an_old_text_is_read_in_order_with_its_structure_and_what_is_beside_it(ending: str, beside: set[str]) -> None:
    found = extracted(sample(ending), f"a.{ending}")
    assert found.title == "Datenblatt Größe"
    assert [(block.kind, block.level, block.text) for block in found.blocks[: len(BODY)]] == BODY
    assert {text.strip() for text in texts(found)[len(BODY) :]} == beside
    (table,) = [block for block in found.blocks if block.text.startswith("Artikel")]
    assert (table.header_rows, {len(row) for row in table.rows}) == (1, {3})
    assert not found.attachments


def test_pieces_of_one_and_of_two_bytes_and_lists_of_properties_before_them_make_one_text() -> None:
    first, second = "Größe 12,50 \x80 ".encode("latin-1"), "日本 😀\r".encode("utf-16-le")
    table = pieces([(len(first), narrow(TEXT)), (len(second) // 2, TEXT + len(first))], b"\x01\x03\x00abc")
    assert texts(extracted(word_file_of(first + second, table, (100,)), "a.doc")) == ["Größe 12,50 € 日本 😀"]


def test_of_a_field_the_result_is_read_and_one_that_does_not_end_hides_nothing() -> None:
    inner = "\x13 REF geheim \x14Teil\x15"
    text = f'Siehe \x13 HYPERLINK "http://geheim" {inner}\x14hier\x15.\x13 XE geheim \x15\rEnde \x13 offen\r'
    assert texts(extracted(word_file(text), "a.doc")) == ["Siehe hier.", "Ende  offen"]


def test_stories_are_apart_and_cells_without_a_row_are_paragraphs() -> None:
    text = "Eins\rZwei\x07Drei\x07\x02 Note\r\x1eKopf\x1fzeile\x0bzwei\r"
    found = texts(extracted(word_file(text, (15, 7, 17)), "a.doc"))
    assert found == ["Eins", "Zwei", "Drei", " Note", "-Kopfzeile\nzwei"]


@pytest.mark.parametrize(
    ("version", "flags", "code", "said"),
    [(0x2D, 0, "unsupported_format", "6.0"), (0xC1, 0x100, "encrypted", "password")],
)
def test_a_file_older_than_word_6_or_with_a_password_is_refused_with_its_own_reason(
    version: int, flags: int, code: str, said: str
) -> None:
    with pytest.raises(Unreadable) as refused:
        extracted(word_file_of(b"x\r", pieces([(2, narrow(TEXT))]), (2,), version, flags), "a.doc")
    assert (refused.value.code, said in refused.value.reason) == (code, True)


@pytest.mark.parametrize(
    ("pages", "title", "said"),
    [
        ((1251,), "Вина".encode("cp1251"), "Вина"),
        ((), "Größe".encode("cp1252"), "Größe"),
        ((65001,), "Ω".encode(), "Ω"),
    ],
)
def test_the_title_of_a_doc_is_in_the_code_page_that_its_properties_name(
    pages: tuple[int, ...], title: bytes, said: str
) -> None:
    values = [(1, struct.pack("<Ih2x", 2, page - 2**16 if page > 2**15 else page)) for page in pages]
    values.append((2, struct.pack("<II", 0x1E, len(title) + 1) + title + b"\0"))
    places = [8 + 8 * len(values) + sum(len(value) for _, value in values[:index]) for index in range(len(values))]
    table = b"".join(struct.pack("<II", number, at) for (number, _), at in zip(values, places, strict=True))
    section = struct.pack("<II", 0, len(values)) + table + b"".join(value for _, value in values)
    properties = bytes(44) + struct.pack("<I", 48) + section
    assert extracted(word_file("Text\r", more={"\x05SummaryInformation": properties}), "a.doc").title == said


def test_what_is_embedded_in_a_text_does_not_make_it_a_sheet_and_is_read_or_named() -> None:
    (document := docx.Document()).add_paragraph("Aus dem Innern")
    inside = io.BytesIO()
    document.save(inside)
    pool: Tree = {"_1": {"Workbook": b"x" * 100}, "_2": {"Package": inside.getvalue()}}
    found = extracted(word_file("Das Book zum Workbook\r", more={"ObjectPool": pool}), "a.doc")
    assert [(block.text, block.source) for block in found.blocks] == [
        ("Das Book zum Workbook", ""), ("Aus dem Innern", "object-2")
    ]  # fmt: skip
    assert [(each.name, each.code) for each in found.attachments] == [
        ("object-1", ""), ("object-1", "damaged"), ("object-2", "")
    ]  # fmt: skip


SYMBOL = r"{\f1\fcharset2 Symbol;}{\f2\fcharset2 Wingdings;}"


@pytest.mark.parametrize(
    ("content", "fonts", "said"),
    [
        (r"Gr\'f6\'dfe \'80 \endash  \u8364?", "", "Größe € – €"),
        (r"{\uc2\u8364\'80x5} {\uc0\u8364 5} \u-10179?\u-8704?", "", "€5 €5 😀"),
        (r"\f1\'cf\'f0\f2\'83A", r"{\f1\fcharset204 A;}{\f2\fcharset128 B;}", "Прア"),
        (r"{\f1 ZL\'d3\'e6}", r"{\f1\fcharset238 A{\*\falt B};}", "ZLÓć"),
        (r"100 {\f1 W}, 5 {\f1\u-3987?}m {\f1\'b1}2, {\f2\'fc}", SYMBOL, "100 Ω, 5 µm ±2, \uf0fc"),
        (r"{\f1 CODE39}", r"{\f1\fcharset2 Barcode;}", "CODE39"),
        (r"a{\*\unknown b}{\pict\bin5 }}}}}}c{\field{\*\fldinst REF x}{\fldrslt d}}{\xe e}", "", "acd"),
        (r"a{\deleted b\par}c{\revised d}", "", "acd"),
        (r"a\'zzb\_c\-d\~e\{\}\\", "", "azzb-cd\xa0e{}\\"),
    ],
)
def test_signs_and_destinations_of_rtf(content: str, fonts: str, said: str) -> None:
    assert texts(extracted(rtf(rf"\pard {content}\par", fonts), "a.rtf")) == [said]


def test_a_table_of_rtf_keeps_its_columns_where_a_cell_covers_several() -> None:
    rows = (
        r"\trowd\trhdr\cellx1000\cellx3010\intbl Nr\cell Ma\'dfe\cell\row"
        r"\trowd\cellx1000\cellx2000\cellx3000\intbl 4711\cell 6\par\'d7\cell 7\cell\row"
    )
    found = extracted(rtf(rf"\pard Davor\par{rows}\pard Danach"), "a.rtf")
    assert [(block.kind, block.text) for block in found.blocks] == [
        ("paragraph", "Davor"), ("table", "Nr | Maße\n4711 | 6 × | 7"), ("paragraph", "Danach")
    ]  # fmt: skip
    assert found.blocks[1].rows == (("Nr", "Maße", ""), ("4711", "6 ×", "7"))


def test_headings_lists_and_asides_of_rtf() -> None:
    found = extracted(
        rtf(
            r"{\stylesheet{\s1 heading 1;}{\s7\outlinelevel2 Eigene;}{\*\cs10 Default;}}"
            r"{\info{\title Titel}{\author Ich}}{\header Kopf\par}"
            r"\pard\s1 Eins{\footnote Note}\par\pard\s7 Zwei\par\pard\outlinelevel3 Drei\par"
            r"\pard{\pntext\'b7\tab}a\par\pard\ls1 b\par"
            r"\pard{\shp{\*\shpinst{\sp{\sn x}{\sv y}}{\shptxt Kasten\par}}}Text"
        ),
        "a.rtf",
    )
    assert found.title == "Titel"
    assert [(block.kind, block.level, block.text) for block in found.blocks] == [
        ("heading", 1, "Eins"), ("heading", 3, "Zwei"), ("heading", 4, "Drei"), ("list", 0, "- a\n- b"),
        ("paragraph", 0, "Text"), ("paragraph", 0, "Kopf"), ("paragraph", 0, "Note"), ("paragraph", 0, "Kasten"),
    ]  # fmt: skip


def test_a_file_inside_rtf_is_read_by_its_own_reader_and_one_that_is_only_named_is_said() -> None:
    names = b"".join(struct.pack("<I", len(name)) + name for name in (b"Package\0", b"", b""))
    held = b"Artikelnummer;Preis\n4711;1,20\n" * 2
    native = struct.pack("<II", 0x501, 2) + names + struct.pack("<I", len(held)) + held
    objects = (
        rf"{{\object\objemb{{\*\objclass Liste.csv}}{{\*\objdata {native.hex()}}}{{\result Bild}}}}"
        r"{\object\objlink{\*\objclass Verweis}{\*\objdata 0105}}"
    )
    found = extracted(rtf(rf"\pard Siehe {objects}\par"), "a.rtf")
    assert texts(found)[0] == "Siehe Bild"
    assert [(each.name, each.code) for each in found.attachments] == [("Liste.csv", ""), ("Verweis", "not_a_file")]
    assert {each.article_number for each in found.products} == {"4711"}


HTML = (
    r"\fromhtml1 {\*\htmltag50 <body>}\htmlrtf \lang1031 \htmlrtf0 {\*\htmltag64 <p>}\htmlrtf {\htmlrtf0 "
    r"Gr\'fc\'dfe & <mehr> {\*\htmltag84 <b>}\htmlrtf {\b \plain\htmlrtf0 fett\htmlrtf }\htmlrtf0 {\*\htmltag92 </b>}"
    r"{\*\htmltag84 &uuml;}\htmlrtf \'fc\htmlrtf0 \htmlrtf\par}\htmlrtf0 {\*\htmltag72 </p>}"
    r"{\*\htmltag0 <table><tr><th>}A{\*\htmltag0 </th><th>}B{\*\htmltag0 </th></tr></table></body>}"
)


def lzfu(data: bytes) -> bytes:
    """Compressed RTF that refers to nothing before it: eight bytes of text after each byte of bits."""
    body = b"".join(b"\0" + data[at : at + 8] for at in range(0, len(data), 8))
    return struct.pack("<II4sI", len(body) + 12, len(data), b"LZFu", 0) + body


def test_compressed_rtf_of_the_specification_is_decompressed() -> None:
    """The first example of MS-OXRTFCP 4.1."""
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af32068656c090020627705b06c647d0a800fa0"
    )
    assert decompressed(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [(r"\pard Gr\'fc\'dfe\par aus Detmold", ["Grüße", "aus Detmold"]), (HTML, ["Grüße & <mehr> fettü", "A | B"])],
)
def test_a_mail_whose_text_is_only_compressed_rtf_is_read(content: str, said: list[str]) -> None:
    found = extracted(compound(message("Betreff", "", None, _10090102=lzfu(rtf(content)))), "a.msg")
    assert texts(found)[2:] == said
    assert not found.attachments


def test_a_picture_in_the_rtf_of_a_mail_which_has_text_beside_it_is_no_scan() -> None:
    held = rtf(rf"\pard{{\pict\pngblip {image(31).hex()}}}")
    assert len(extracted(held, "a.rtf").scans) == 1
    found = extracted(compound(message("Betreff", "", None, _10090102=lzfu(held))), "a.msg")
    assert (found.scans, found.attachments) == ((), ())


def test_a_doc_that_is_rtf_is_read_and_noted() -> None:
    file, extractor = identify(rtf("Text"), "a.doc")
    assert (extractor.name, note(file)[0]) == ("rtf", "extension_mismatch")
