"""A customer's documents for benchmarks, made up: mixed formats, German and English, the same on every run.

One in two hundred is empty. Document n depends on the seed and n alone: a longer corpus begins with the shorter one.
"""

from __future__ import annotations

import csv
import io
import json
import random
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from pathlib import Path
from xml.sax.saxutils import escape

NOUNS = {
    "de": [
        "Klemme",
        "Leuchte",
        "Netzteil",
        "Schutzschalter",
        "Gehäuse",
        "Stromschiene",
        "Sicherung",
        "Drehgeber",
        "Relais",
    ],
    "en": ["terminal", "luminaire", "supply", "breaker", "enclosure", "busbar", "fuse", "encoder", "relay"],
}
SENTENCES = {
    "de": (
        "Die {noun} {number} ist für {value} A und {other} V ausgelegt.",
        "Das Anzugsdrehmoment der {noun} beträgt {value},5 Nm.",
        "Vor der Montage der {noun} ist die Anlage freizuschalten und gegen Wiedereinschalten zu sichern.",
        "Die Schutzart IP{other} wird nur mit aufgesetzter Abdeckung erreicht.",
        "Ersatzteile zur {noun} {number} sind mindestens {value} Jahre lieferbar.",
        "Zwischen zwei Geräten bleibt ein Abstand von {value} mm frei, damit die Wärme abgeführt wird.",
    ),
    "en": (
        "The {noun} {number} is rated for {value} A at {other} V.",
        "Tighten the {noun} with {value}.5 Nm.",
        "Switch the installation off before the {noun} is mounted and secure it against being switched on.",
        "Degree of protection IP{other} needs the cover in its place.",
        "Spare parts of the {noun} {number} are kept for {value} years.",
        "Leave {value} mm between two devices so that the heat can get away.",
    ),
}  # fmt: skip
Words = tuple[random.Random, str]


def write(folder: Path, documents: int, seed: int = 711) -> None:
    """Writes the corpus below a folder."""
    for path, data in corpus(documents, seed):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


def corpus(documents: int, seed: int = 711) -> Iterator[tuple[str, bytes]]:
    """Relative path and bytes of each document."""
    kinds = [kind for kind, (share, _) in KINDS.items() for _ in range(share)]
    for n in range(documents):
        draw = random.Random(f"{seed}:{n}")
        language = "de" if draw.random() < 0.7 else "en"
        kind = draw.choice(kinds)
        data = KINDS[kind][1]((draw, language))
        if n % 200 == 199:
            data = b""
        yield f"{n // 1000:03d}/{language}-{n:06d}.{kind}", data


def number(words: Words) -> str:
    return f"{words[0].choice('ABKLRS')}{words[0].choice('ENTX')}-{words[0].randrange(10_000, 99_999)}"


def sentence(words: Words) -> str:
    draw, language = words
    noun, pattern = draw.choice(NOUNS[language]), draw.choice(SENTENCES[language])
    return pattern.format(noun=noun, number=number(words), value=draw.randrange(2, 64), other=draw.randrange(20, 69))


def paragraph(words: Words, sentences: int = 5) -> str:
    return " ".join(sentence(words) for _ in range(sentences))


def title(words: Words) -> str:
    return f"{words[0].choice(NOUNS[words[1]]).capitalize()} {number(words)}"


def text(words: Words) -> bytes:
    return "\n\n".join([title(words), *(paragraph(words) for _ in range(3))]).encode()


def markdown(words: Words) -> bytes:
    return "\n\n".join(f"# {title(words)}\n\n{paragraph(words)}" for _ in range(3)).encode()


def html(words: Words) -> bytes:
    body = "".join(f"<h2>{title(words)}</h2><p>{paragraph(words)}</p>" for _ in range(3))
    rows = "".join(f"<tr><td>{number(words)}</td><td>{words[0].randrange(99)}</td></tr>" for _ in range(8))
    return (
        f"<!DOCTYPE html><html><body>{body}<table><tr><th>Nr.</th><th>A</th></tr>{rows}</table></body></html>".encode()
    )


def table(words: Words, rows: int) -> list[list[str | int | float]]:
    """A price list."""
    draw, language = words
    head = (
        "Artikelnummer Bezeichnung Preis Strom Schutzart" if language == "de" else "Article Name Price Current Rating"
    )
    lines = [
        [number(words), title(words), draw.randrange(100, 99_999) / 100, draw.randrange(64), f"IP{draw.randrange(69)}"]
        for _ in range(rows)
    ]
    return [head.split(), *lines]


def comma_separated(words: Words) -> bytes:
    out = io.StringIO()
    csv.writer(out, delimiter=";").writerows(table(words, 20))
    return out.getvalue().encode("cp1252")


def spreadsheet(words: Words) -> bytes:
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        for at, row in enumerate(table(words, 20)):
            sheet.write_row(at, 0, row)
    return out.getvalue()


def records(words: Words) -> bytes:
    head, *rows = table(words, 12)
    return json.dumps([dict(zip(map(str, head), row, strict=True)) for row in rows]).encode()


def mail(words: Words) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@muster.example", "b@muster.example", title(words)
    message.set_content(paragraph(words))
    if words[0].random() < 0.3:
        message.add_attachment(text(words), maintype="text", subtype="plain", filename="anlage.txt")
    return bytes(message)


def docx(words: Words) -> bytes:
    name = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    texts = [part for _ in range(3) for part in (title(words), paragraph(words))]
    body = "".join(f"<w:p><w:r><w:t>{escape(each)}</w:t></w:r></w:p>" for each in texts)
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{types}">'
        f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
        f'<Relationship Id="r1" Type="{relation}" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f"<w:document {name}><w:body>{body}</w:body></w:document>",
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in parts.items():
            archive.writestr(path, content)
    return out.getvalue()


def pdf(words: Words) -> bytes:
    """One to four pages of text, by hand: a library takes longer to write them than the platform to read them."""
    pages = [_page(words) for _ in range(words[0].randrange(1, 5))]
    kids = " ".join(f"{4 + 2 * at} 0 R" for at in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(pages)}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]
    for at, content in enumerate(pages):
        objects.append(
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>"
            % (5 + 2 * at)
        )
        objects.append(b"<</Length %d>>stream\n%s\nendstream" % (len(content), content))
    out, places = io.BytesIO(b"%PDF-1.4\n"), []
    out.seek(0, io.SEEK_END)
    for at, each in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj%s\nendobj\n" % (at, each))
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer<</Size %d/Root 1 0 R>>startxref\n%d\n%%%%EOF" % (len(objects) + 1, start))
    return out.getvalue()


def _page(words: Words) -> bytes:
    lines = [(18, title(words)), *((10, sentence(words)) for _ in range(20))]
    drawn, y = [], 780
    for size, line in lines:
        safe = line.replace("\\", "").replace("(", "").replace(")", "")
        drawn.append(f"BT /F1 {size} Tf 50 {y} Td ({safe}) Tj ET")
        y -= 30 if size > 10 else 16
    return "\n".join(drawn).encode("cp1252")


def bmecat(path: Path, products: int) -> None:
    """A BMEcat 2005 catalogue of so many products, written as a stream; about 2.4 kB each."""
    with path.open("w", encoding="utf-8") as out:
        out.write(
            '<?xml version="1.0" encoding="UTF-8"?>\n<BMECAT version="2005"><HEADER><CATALOG><LANGUAGE>deu</LANGUAGE>'
        )
        out.write("<CATALOG_NAME>Katalog</CATALOG_NAME></CATALOG></HEADER><T_NEW_CATALOG>\n")
        for n in range(products):
            out.write(_product(n))
        out.write("</T_NEW_CATALOG></BMECAT>\n")


def _product(n: int) -> str:
    words = (random.Random(n), "de")
    features = "".join(
        f"<FEATURE><FT_IDREF>EF{at:06d}</FT_IDREF><FNAME>Merkmal {at}</FNAME><FVALUE>{words[0].randrange(999)}</FVALUE>"
        f"<FUNIT>mm</FUNIT></FEATURE>"
        for at in range(12)
    )
    return (
        f'<PRODUCT mode="new"><SUPPLIER_PID>{n:09d}</SUPPLIER_PID><PRODUCT_DETAILS><DESCRIPTION_SHORT>{title(words)}'
        f"</DESCRIPTION_SHORT><DESCRIPTION_LONG>{paragraph(words)}</DESCRIPTION_LONG>"
        f'<INTERNATIONAL_PID type="gtin">{4_000_000_000_000 + n}</INTERNATIONAL_PID></PRODUCT_DETAILS>'
        "<PRODUCT_FEATURES><REFERENCE_FEATURE_SYSTEM_NAME>ETIM-9.0</REFERENCE_FEATURE_SYSTEM_NAME><REFERENCE_FEATURE_GROUP_ID>EC000897"
        f"</REFERENCE_FEATURE_GROUP_ID>{features}</PRODUCT_FEATURES><PRODUCT_PRICE_DETAILS><PRODUCT_PRICE "
        f'price_type="net_list"><PRICE_AMOUNT>{n / 100:.2f}</PRICE_AMOUNT><PRICE_CURRENCY>EUR</PRICE_CURRENCY>'
        "</PRODUCT_PRICE></PRODUCT_PRICE_DETAILS></PRODUCT>\n"
    )


KINDS: dict[str, tuple[int, Callable[[Words], bytes]]] = {
    "pdf": (30, pdf),
    "docx": (12, docx),
    "xlsx": (10, spreadsheet),
    "csv": (8, comma_separated),
    "html": (12, html),
    "eml": (12, mail),
    "txt": (8, text),
    "md": (4, markdown),
    "json": (4, records),
}
"""Ending → documents of a hundred, and what makes one."""
