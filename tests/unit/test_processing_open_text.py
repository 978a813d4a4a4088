"""OpenDocument texts, presentations and drawings: one that LibreOffice wrote, and small ones of each element.

`tests/samples/datenblatt.odt` was written by LibreOffice 7.4 (`soffice --headless --convert-to odt`) from
`datenblatt.doc.gz`.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from servers.cradle.processing.extract import identify, open_text, read
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import Extraction, joined, parts

SAMPLE = Path(__file__).parents[1] / "samples" / "datenblatt.odt"
KIND = "application/vnd.oasis.opendocument."
SPACES = "".join(
    f' xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for short, name in {
        "office": "office", "text": "text", "table": "table", "draw": "drawing", "style": "style", "form": "form",
        "presentation": "presentation", "meta": "meta",
    }.items()
) + ' xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:dc="http://purl.org/dc/elements/1.1/"'  # fmt: skip


def xml(kind: str, content: str) -> str:
    return f"<office:document-{kind}{SPACES}>{content}</office:document-{kind}>"


def made(body: str, kind: str = "text", styles: str = "", more: dict[str, str | bytes] | None = None) -> bytes:
    """A file whose body is `body`; `more` are further parts."""
    name = "drawing" if kind == "graphics" else kind
    content = f"<office:automatic-styles>{styles}</office:automatic-styles><office:body><office:{name}>{body}"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", KIND + kind)
        archive.writestr("content.xml", xml("content", f"{content}</office:{name}></office:body>"))
        for each, data in (more or {}).items():
            archive.writestr(each, data)
    return out.getvalue()


def extracted(data: bytes, name: str = "a.odt") -> Extraction:
    return joined(parts(read(*identify(data, name))))


def texts(extraction: Extraction) -> list[tuple[str, str, int, int]]:
    return [(block.kind, block.text, block.level, block.page) for block in extraction.blocks]


def test_a_text_as_libreoffice_writes_it() -> None:
    found = extracted(SAMPLE.read_bytes())
    assert (found.title, found.dated, found.pages) == ("Datenblatt Größe", "2013-12-23T23:15:00", 0)
    said = texts(found)
    assert said[:2] == [("heading", "Datenblatt", 1, 0), ("heading", "Netzteile für Gehäuse", 1, 0)]
    assert ("paragraph", "Preis 12,50 € – „günstig“, Größe XL, 100 µF ± 5 %, 日本 Привет 😀 Ende", 0, 0) in said
    assert ("heading", "Merkmale", 2, 0) in said
    assert ("list", "- Übertemperaturschutz\n- Kurzschlussfest\n- Erstens\n- Zweitens", 0, 0) in said
    assert ("table", "Artikel | Maße\n | Breite | Höhe\n4711 | 6 | 7\n4712 | 8 zweiter Absatz", 0, 0) in said
    assert ("table", "außen | i00 i01 i10 i11", 0, 0) in said
    assert [text for kind, text, *_ in said if kind == "paragraph"][-4:] == [
        "Fußnote zum Preis", "Kommentar hier", "Kopfzeile Müller GmbH", "Fußzeile"
    ]  # fmt: skip
    assert sum("Im Textfeld" in text for _, text, *_ in said) == 1


def test_titles_lists_and_what_is_deleted_boxed_or_noted() -> None:
    styles = '<style:style style:name="P1" style:parent-style-name="Title"/>'
    found = extracted(
        made(
            "<text:tracked-changes><text:deletion><text:p>weg</text:p></text:deletion></text:tracked-changes>"
            '<text:p text:style-name="P1">Katalog</text:p><text:section><text:h text:outline-level="3">Drei</text:h>'
            "<text:p>Preis<text:note><text:note-citation>1</text:note-citation><text:note-body><text:p>ohne Steuer"
            '</text:p></text:note-body></text:note>:<text:s text:c="2"/><text:a>9 €</text:a><text:tab/>netto</text:p>'
            "</text:section><text:list><text:list-item><text:p>eins</text:p><text:list><text:list-item><text:p>innen"
            "</text:p></text:list-item></text:list></text:list-item><text:list-item><text:h>Im Nummernkreis</text:h>"
            "</text:list-item></text:list><text:p>Vor<draw:frame><draw:text-box><text:p>Kasten</text:p><text:list>"
            "<text:list-item><text:p>Punkt</text:p></text:list-item></text:list></draw:text-box></draw:frame>her"
            "<office:annotation><dc:creator>K</dc:creator><text:p>Prüfen</text:p></office:annotation></text:p>",
            styles=styles,
        )
    )
    assert texts(found) == [
        ("heading", "Katalog", 1, 0),
        ("heading", "Drei", 3, 0),
        ("paragraph", "Preis:  9 €\tnetto", 0, 0),
        ("list", "- eins\n- innen", 0, 0),
        ("heading", "Im Nummernkreis", 1, 0),
        ("paragraph", "Vorher", 0, 0),
        ("paragraph", "Kasten", 0, 0),
        ("list", "- Punkt", 0, 0),
        ("paragraph", "ohne Steuer", 0, 0),
        ("paragraph", "Prüfen", 0, 0),
    ]


def test_merged_and_repeated_cells_say_what_each_row_is_of() -> None:
    def cell(text: str, more: str = "", name: str = "table-cell") -> str:
        return f"<table:{name} {more}>{f'<text:p>{text}</text:p>' if text else ''}</table:{name}>"

    header = "".join(map(cell, ("Reihe", "Volt", "Ampere")))
    tall = cell("NT", 'table:number-rows-spanned="2"') + cell("24") + cell("5")
    below = cell("", "", "covered-table-cell") + cell("48", 'table:number-columns-repeated="2"')
    wide = cell("Alle", 'table:number-columns-spanned="2"') + cell("", "", "covered-table-cell") + cell("7")
    rows = "".join(f"<table:table-row>{row}</table:table-row>" for row in (tall, below, wide, cell("")))
    head = f"<table:table-header-rows><table:table-row>{header}</table:table-row></table:table-header-rows>"
    (table,) = extracted(made(f"<table:table>{head}{rows}</table:table>")).blocks
    assert table.rows == (("Reihe", "Volt", "Ampere"), ("NT", "24", "5"), ("NT", "48", "48"), ("Alle", "", "7"))
    assert table.header_rows == 1


def test_a_presentation_gives_each_page_its_title_first_its_table_notes_and_chart() -> None:
    def frame(kind: str, inside: str) -> str:
        return f'<draw:frame presentation:class="{kind}">{inside}</draw:frame>'

    box = "<draw:text-box>{}</draw:text-box>".format
    bullets = "".join(
        f"<text:list><text:list-item><text:p>{each}</text:p></text:list-item></text:list>" for each in "ab"
    )
    title = frame("title", box("<text:p>Netz</text:p><text:p>teile</text:p>"))
    number, notes = (
        frame(kind, box(f"<text:p>{text}</text:p>")) for kind, text in (("page-number", "1"), ("notes", "Sagen"))
    )
    group = "<draw:g><draw:custom-shape><text:p>In der Gruppe</text:p></draw:custom-shape></draw:g>"
    cell = "<table:table-cell><text:p>Z</text:p></table:table-cell>"
    table = f"<draw:frame><table:table><table:table-row>{cell}</table:table-row></table:table></draw:frame>"
    chart = '<draw:frame><draw:object xlink:href="./Object 1"/><draw:image xlink:href="./Bild.png"/></draw:frame>'
    found = extracted(
        made(
            f"<draw:page>{frame('outline', box(bullets))}{title}{number}<presentation:notes>{notes}"
            f"</presentation:notes></draw:page><draw:page>{group}{table}{chart}</draw:page>",
            "presentation",
            more={
                "META-INF/manifest.xml": '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
                f'<m:file-entry m:full-path="Object 1/" m:media-type="{KIND}chart"/></m:manifest>',
                "Object 1/content.xml": xml("content", "<text:p>Umsatz</text:p><text:p>2026</text:p>"),
                "meta.xml": xml("meta", "<office:meta><dc:title>Schulung</dc:title></office:meta>"),
            },
        ),
        "a.odp",
    )
    assert (found.title, found.pages, found.scans) == ("Schulung", 2, ())
    assert texts(found) == [
        ("heading", "Netz teile", 1, 1),
        ("list", "- a\n- b", 0, 1),
        ("paragraph", "Sagen", 0, 1),
        ("paragraph", "In der Gruppe", 0, 2),
        ("table", "Z", 0, 2),
        ("paragraph", "Umsatz | 2026", 0, 2),
    ]


def test_what_was_filled_into_a_form_stands_where_its_field_stands() -> None:
    form = '<office:forms><form:form><form:text form:id="c1" form:current-value="4711"/></form:form></office:forms>'
    found = extracted(made(f'{form}<text:p>Nummer: <draw:control draw:control="c1"/></text:p>'))
    assert [block.text for block in found.blocks] == ["Nummer:", "4711"]


def test_a_drawing_that_is_a_scan_goes_to_ocr_and_an_embedded_table_to_its_reader() -> None:
    from PIL import Image

    picture = io.BytesIO()
    Image.new("RGB", (900, 700), "white").save(picture, "PNG")
    image = '<draw:page><draw:frame><draw:image xlink:href="Pictures/1.png"/></draw:frame></draw:page>'
    found = extracted(made(image * 2, "graphics", more={"Pictures/1.png": picture.getvalue()}), "a.odg")
    assert [(scan.page, scan.stamped) for scan in found.scans] == [(1, False), (2, False)]
    linked = '<text:p><draw:frame><draw:object-ole xlink:href="./Preise.csv"/></draw:frame></text:p>'
    table = "Artikelnummer;Bezeichnung\n4712;innen\n"
    found = extracted(made(linked, more={"Preise.csv": table}))
    assert [(each.article_number, each.source) for each in found.products] == [("4712", "Preise.csv")]


@pytest.mark.requirement("F-13", "I-05")
def test_a_protected_an_empty_and_a_bloated_file_say_why_they_were_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    locked = (
        '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
        '<m:file-entry m:full-path="content.xml"><m:encryption-data/></m:file-entry></m:manifest>'
    )
    monkeypatch.setattr(open_text, "MAX_CELLS", 1000)
    wide = '<table:table-cell table:number-columns-repeated="99999999"/>'
    many = f'<table:table><table:table-row table:number-rows-repeated="200">{wide}</table:table-row></table:table>'
    for data, code in (
        (made("<text:p>x</text:p>", more={"META-INF/manifest.xml": locked}), "encrypted"),
        (made("x").replace(b"content.xml", b"Content.xml"), "damaged"),
        (made(many), "zip_bomb"),
    ):
        with pytest.raises(Unreadable) as caught:
            extracted(data)
        assert caught.value.code == code
