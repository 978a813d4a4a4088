"""Hostile and broken files: each one a reason that people understand, within bounds, and the reader serves on."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pickle
import signal
import tracemalloc
import zipfile
from collections.abc import AsyncIterator, Callable
from email.message import EmailMessage
from functools import cache
from pathlib import Path

import anyio
import openpyxl
import pytest
from msgspec import msgpack

from servers.cradle.processing import wire
from servers.cradle.processing.children import ExtractionPool, Limits
from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import Block, Extraction, Product, joined, parts
from servers.cradle.processing.stages import measured, required_same
from tests.office_rig import changed, part
from tests.vision_rig import png_header, tiff_of

CONTENT_TYPES = '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'


def zipped(parts: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", CONTENT_TYPES)
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def pdf(**options: object) -> bytes:
    from fpdf import FPDF

    document = FPDF()
    document.add_page()
    document.set_font("Helvetica", size=12)
    document.cell(text="Guter Inhalt")
    if options.get("locked"):
        document.set_encryption(owner_password="o" * 8, user_password="u" * 8)
    return bytes(document.output())


def nested_mail(levels: int) -> bytes:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "innen", "a@x.example", "b@x.example"
    message.set_content("ganz innen")
    for _ in range(levels):
        outer = EmailMessage()
        outer["Subject"], outer["From"], outer["To"] = "außen", "a@x.example", "b@x.example"
        outer.set_content("Hülle")
        outer.add_attachment(message)
        message = outer
    return message.as_bytes()


@cache
def bomb() -> bytes:
    return zipped({"word/document.xml": b"0" * (300 * 2**20)})


LAUGHS = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY l "ha"><!ENTITY m "&l;&l;&l;&l;">]><a>&m;</a>'
OUTSIDE = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>&x;</a>'
LATE = b"<!--" + b" " * 70_000 + b"-->" + LAUGHS[LAUGHS.index(b"<!") : LAUGHS.index(b"<a>")]
IN_UTF_7 = b'<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE a [+ADwAIQ-ENTITY m "ha"+AD4-]><a>&m;</a>'


def word(doctype: bytes, text: bytes = b"<w:t>vor &m; nach</w:t>") -> bytes:
    """A DOCX whose text has an entity."""
    space = b'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    body = b"<w:p><w:r>%b</w:r></w:p>" % text
    return zipped({"word/document.xml": doctype + b"<w:document %b><w:body>%b</w:body></w:document>" % (space, body)})


LOCKED = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 512 + "EncryptedPackage".encode("utf-16-le")
BROKEN: dict[str, tuple[bytes | Callable[[], bytes], str, str]] = {
    "zero bytes": (b"", "a.pdf", "empty"),
    "a cut PDF": (b"%PDF-1.7\n1 0 obj", "a.pdf", "damaged"),
    "an encrypted PDF": (pdf(locked=True), "a.pdf", "encrypted"),
    "a cut DOCX": (zipped({"word/document.xml": b"<a/>"})[:-40], "a.docx", "damaged"),
    "a DOCX without text": (zipped({"word/document.xml": b"<w:document"}), "a.docx", "damaged"),
    "an encrypted DOCX": (LOCKED, "a.docx", "encrypted"),
    "a broken XLSX": (zipped({"xl/workbook.xml": b"<workbook"}), "a.xlsx", "damaged"),
    "a zip bomb": (bomb, "a.docx", "zip_bomb"),
    "billion laughs": (LAUGHS, "a.xml", "xml_entities"),
    "billion laughs in UTF-16": (LAUGHS.decode().encode("utf-16"), "a.xml", "xml_entities"),
    "an external entity": (OUTSIDE, "a.xml", "xml_entities"),
    "laughs in a BMEcat": (LAUGHS.replace(b"<a>", b"<BMECAT>").replace(b"</a>", b"</BMECAT>"), "a.xml", "xml_entities"),
    "laughs in a DOCX": (zipped({"word/document.xml": LAUGHS}), "a.docx", "xml_entities"),
    "entities after 64 KiB": (b"<?xml version='1.0'?>" + LATE + b"<a>&m;</a>", "a.xml", "xml_entities"),
    "entities after 64 KiB in a DOCX": (word(LATE), "a.docx", "xml_entities"),
    "entities in an attribute in a DOCX": (word(LATE, b"<w:t w:a='&m;'>Text</w:t>"), "a.docx", "xml_entities"),
    "entities in UTF-7": (IN_UTF_7, "a.xml", "xml_entities"),
    "an entity of an external DTD in a DOCX": (word(b"<!DOCTYPE a SYSTEM 'a.dtd'>"), "a.docx", "xml_entities"),
    "deep XML": (b"<?xml version='1.0'?>" + b"<a>" * 100_000 + b"</a>" * 100_000, "a.xml", "damaged"),
    "a cut BMEcat": (b"<?xml version='1.0'?><BMECAT><T_NEW_CATALOG><PRODUCT>", "a.xml", "damaged"),
    "a huge image": (png_header(20_000, 10_000), "a.png", "image_too_large"),
    "an image of one row too many": (png_header(8000, 5001), "a.png", "image_too_large"),
    "an image of ten thousand frames": (tiff_of(10_000), "a.tif", "too_many_pages"),
    "a cut image": (png_header(200, 100), "a.png", "damaged"),
    "deep JSON": (b"[" * 100_000 + b"]" * 100_000, "a.json", "damaged"),
    "a program": (b"\x7fELF" + b"\x00" * 100, "a.pdf", "unsupported_format"),
    "an unknown format": (bytes(range(256)) * 10, "a.dwg", "unsupported_format"),
    "a GIF": (b"GIF89a" + b"\x00" * 50, "a.gif", "unsupported_format"),
}  # fmt: skip


def read_all(data: bytes, name: str) -> int:
    return sum(1 for _ in read(*identify(data, name)))


@pytest.mark.requirement("F-13", "I-05", "I-06", "I-08")
@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_or_hostile_file_is_refused_with_a_reason_for_people(case: str) -> None:
    given, name, code = BROKEN[case]
    data = given() if callable(given) else given
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable) as refused:
            read_all(data, name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.code == code
    assert len(refused.value.reason.split()) >= 4
    assert refused.value.reason.endswith(".")
    assert peak < 100 * 2**20


@pytest.mark.requirement("I-08", "F-13")
def test_an_external_dtd_is_not_read_and_the_text_around_its_entities_stays(tmp_path: Path) -> None:
    (tmp_path / "a.dtd").write_text('<!ENTITY firma "geheim"> <!ENTITY broken')  # a parser that read it would stop
    doctype = f'<?xml version="1.0"?><!DOCTYPE a SYSTEM "{(tmp_path / "a.dtd").as_uri()}">'
    data = f"{doctype}<a>T&uuml;r von &firma; <b>fest</b>montiert &amp; gr&uuml;n<c/>, neu</a>".encode()
    found = joined(parts(read(*identify(data, "a.xml"))))
    assert [block.text for block in found.blocks] == ["a: Tür von &firma;\na/b: fest\na: montiert & grün\na: , neu"]


def test_an_attached_bomb_does_not_take_the_mail_with_it() -> None:
    message = EmailMessage()
    message["Subject"], message["From"], message["To"] = "Post", "a@x.example", "b@x.example"
    message.set_content("Guter Text")
    message.add_attachment(bomb(), maintype="application", subtype="zip", filename="a.docx")
    found = joined(parts(read(*identify(message.as_bytes(), "a.eml"))))
    assert "Guter Text" in [block.text for block in found.blocks]
    assert [each.code for each in found.attachments] == ["zip_bomb"]


def test_mails_nest_only_so_deep() -> None:
    found = joined(parts(read(*identify(nested_mail(12), "a.eml"))))
    assert "too_deep" in [each.code for each in found.attachments]
    assert [block.text for block in found.blocks].count("Hülle") == 6


def test_deep_html_is_read_or_refused_but_never_crashes() -> None:
    page = b"<html><body>" + b"<div>" * 50_000 + b"unten" + b"</div>" * 50_000
    with contextlib.suppress(Unreadable):
        read_all(page, "a.html")


@pytest.fixture
async def pool() -> AsyncIterator[ExtractionPool]:
    async with ExtractionPool(1, Limits(memory=2**30, seconds=30)) as pool:
        yield pool


async def answer(
    pool: ExtractionPool, data: bytes | AsyncIterator[bytes], name: str, size: int | None = None
) -> list[str]:
    async with contextlib.aclosing(pool.read(data, name, size)) as reading:
        await anext(reading)
        return [block.text async for part in reading if isinstance(part, Extraction) for block in part.blocks]


async def test_a_sheet_whose_cells_are_all_numbers_arrives_as_texts(pool: ExtractionPool) -> None:
    book = openpyxl.Workbook()
    book.active.append(
        ["Artikelnummer", "EAN", "Bezeichnung", "Preis", "Währung", "Einheit", "Mindestmenge", "Warengruppe", "Breite"]
    )
    for number in range(3):
        book.active.append([1000 + number, 4_012_345_678_901, 7, 12.5, 978, 1, 10, 42, 2.5])
    stored = io.BytesIO()
    book.save(stored)
    async with contextlib.aclosing(pool.read(stored.getvalue(), "preise.xlsx")) as reading:
        await anext(reading)
        products = [product async for part in reading if isinstance(part, Extraction) for product in part.products]
    assert [product.article_number for product in products] == ["1000", "1001", "1002"]
    (price,) = products[0].prices
    texts = [products[0].article_number, products[0].gtin, price.amount, price.currency, price.unit, price.lower_bound]
    assert texts == ["1000", "4012345678901", "12.5", "978", "1", "10"]
    assert {type(each) for each in texts} == {str}


SHEET = "xl/worksheets/sheet1.xml"


def listed(behind: bytes) -> bytes:
    """A price list of one product, with a format and a formula, and this at the end of its sheet's XML."""
    book = openpyxl.Workbook()
    for row in (["Artikelnummer", "Bezeichnung", "Preis"], ["4711", "Klemme", 1.5]):
        book["Sheet"].append(row)
    book["Sheet"]["C2"].number_format = '0.00 "€"'
    stored = io.BytesIO()
    book.save(stored)
    data = stored.getvalue()
    return changed(data, {SHEET: part(data, SHEET).replace(b"</sheetData>", behind + b"</sheetData>")})


@pytest.mark.parametrize(
    "behind",
    [
        b"<!-- </f>" + b" " * 200_000 + b"<c></c> -->",
        b"<!-- <c " + b's="1" ' * 60_000 + b"<c></c> -->",
        b"<!-- " + b"</f></c>" * 50_000 + b" -->",
        b"".join(b'<row r="%d"><c r="A%d"><f>A1*2</f><v></v></c></row>' % (n, n) for n in range(3, 300_000)),
    ],
    ids=["blanks", "attributes", "ends", "formulas"],
)
async def test_a_hostile_sheet_is_read_within_its_time(pool: ExtractionPool, behind: bytes) -> None:
    """Searched for formulas and formats in quadratic time, or far back from each, they took minutes."""
    async with contextlib.aclosing(pool.read(listed(behind), "a.xlsx")) as reading:
        await anext(reading)
        products = [product async for part in reading if isinstance(part, Extraction) for product in part.products]
    assert [(each.article_number, each.prices[0].currency) for each in products] == [("4711", "EUR")]


@pytest.mark.requirement("F-13", "I-07")
async def test_a_child_that_is_killed_is_replaced_and_the_next_file_is_read(pool: ExtractionPool) -> None:
    assert await answer(pool, pdf(), "a.pdf") == ["Guter Inhalt"]
    (child,) = pool._all
    rows = b"a;b\n" * 400_000
    async with contextlib.aclosing(pool.read(rows, "a.csv")) as reading:
        await anext(reading)
        os.kill(child._process.pid, signal.SIGKILL)
        with pytest.raises(Unreadable) as refused:
            async for _ in reading:
                pass
    assert refused.value.code == "memory_limit"
    assert await answer(pool, pdf(), "a.pdf") == ["Guter Inhalt"]


@pytest.mark.requirement("I-05", "I-07")
async def test_a_file_over_its_memory_or_time_ends_alone() -> None:
    async with ExtractionPool(1, Limits(memory=300 * 2**20, seconds=30)) as pool:
        with pytest.raises(Unreadable) as refused:
            await answer(pool, b"Wort " * (20 * 2**20), "a.txt")
        assert refused.value.code == "memory_limit"
        assert await answer(pool, b"Danach.", "a.txt") == ["Danach."]
    slow = b"a;b;c\n" * 3_000_000
    async with ExtractionPool(1, Limits(seconds=1, seconds_per_mib=0)) as pool:
        with pytest.raises(Unreadable) as refused:
            await answer(pool, slow, "a.csv")
        assert refused.value.code == "time_limit"
        assert await answer(pool, b"Danach.", "a.txt") == ["Danach."]


async def test_a_reader_that_leaves_early_costs_its_child_and_not_the_pool(pool: ExtractionPool) -> None:
    async with contextlib.aclosing(pool.read(b"a;b\n" * 400_000, "a.csv")) as reading:
        await anext(reading)
    assert await answer(pool, b"Danach.", "a.txt") == ["Danach."]


async def test_a_reader_that_has_more_to_say_than_anyone_takes_is_gone_when_it_is_left() -> None:
    async with asyncio.timeout(240), ExtractionPool(1) as pool:
        async with contextlib.aclosing(pool.read(b"a;b;c;d;e;f\n" * 400_000, "a.csv")) as reading:
            await anext(reading)
            (child,) = pool._all
            while not child._out._paused:  # noqa: ASYNC110  # its pipe is read no further
                await asyncio.sleep(0.01)
        assert not child.alive
        assert await answer(pool, b"Danach.", "a.txt") == ["Danach."]


CATALOGUE = (
    b"<BMECAT><T_NEW_CATALOG>",
    *(b"<PRODUCT><SUPPLIER_PID>%d</SUPPLIER_PID></PRODUCT>" % n for n in range(40_000)),
    b"</T_NEW_CATALOG></BMECAT>",
)
RECORDS = tuple(b'{"Artikelnummer": "A-%d", "Preis EUR": 1}\n' % n for n in range(40_000))
LISTED = (  # over 32 MiB: a smaller file is decoded whole
    b'{"Katalog": {"Stand": 2026, "Artikel": [{"Artikelnummer": "A-0", "Preis EUR": 1}',
    *(b', {"Artikelnummer": "A-%d", "Langtext": "%s"}' % (n, b"x" * 900) for n in range(1, 40_000)),
    b']}, "Ende": "ja"}',
)


@pytest.mark.requirement("I-08")
@pytest.mark.parametrize(("name", "pieces"), [("k.xml", CATALOGUE), ("preise.jsonl", RECORDS), ("preise.json", LISTED)])
async def test_products_of_a_catalogue_come_before_its_second_half_is_sent(
    pool: ExtractionPool, name: str, pieces: tuple[bytes, ...]
) -> None:
    came = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        yield b"".join(pieces[:20_000])
        await came.wait()  # a reader that holds the whole file would wait here for ever
        yield b"".join(pieces[20_000:])

    products = 0
    async with (
        asyncio.timeout(240),
        contextlib.aclosing(pool.read(blocks(), name, sum(map(len, pieces)))) as reading,
    ):
        async for part in reading:
            products += len(part.products) if isinstance(part, Extraction) else 0
            if products:
                came.set()
    assert products == 40_000


async def test_a_large_file_that_changes_while_it_is_read_is_not_taken_for_what_it_was(pool: ExtractionPool) -> None:
    async def given(*blocks: bytes) -> AsyncIterator[bytes]:
        for block in blocks:
            yield block

    size, sha256 = await measured(given(b"Ein Text, ", b"der bleibt."))
    assert await answer(pool, required_same(given(b"Ein Text, der ", b"bleibt."), size, sha256), "a.txt", size) == [
        "Ein Text, der bleibt."
    ]
    for other in (b"Ein Text, der weint.", b"Ein Text.", b"Ein Text, der bleibt und waechst."):
        with pytest.raises(Unreadable) as refused:
            await answer(pool, required_same(given(other), size, sha256), "a.txt", size)
        assert refused.value.code == "changed"
    assert await answer(pool, b"Danach.", "a.txt") == ["Danach."]


@pytest.mark.requirement("M-05")
async def test_a_cancelled_caller_leaves_no_child_behind() -> None:
    with anyio.CancelScope() as scope:  # as the server cancels a call: every later await in it is cancelled again
        async with ExtractionPool(2) as pool:
            await answer(pool, b"Text.", "a.txt")
            (child,) = pool._all
            scope.cancel()
            await answer(pool, b"Text.", "a.txt")
    async with asyncio.timeout(240):
        await child.gone()


@pytest.mark.skipif(os.geteuid() != 0, reason="a reader hides its environment from its own user; only root sees it")
async def test_a_child_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P0711_OPENAI_API_KEY", "geheim")
    async with ExtractionPool(1) as pool:
        await answer(pool, b"Text.", "a.txt")
        (child,) = pool._all
        with open(f"/proc/{child._process.pid}/environ", "rb") as file:  # noqa: ASYNC230, PTH123 - a line of /proc
            assert b"geheim" not in file.read()


@pytest.mark.requirement("I-07")
def test_a_part_from_a_child_is_checked_and_cannot_name_code_to_run() -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.system, ("true",))

    whole = Extraction(title="a", flow=(Block("paragraph", "b"), Product("c")))
    sent = msgpack.decode(wire.dump_part(whole))
    wrong = [[*sent[:3], [["Block", "paragraph", 7]]], [*sent[:3], [["Evil", "x"]]], [*sent[:2], "3"], "text", None]
    for raw in (pickle.dumps(Evil()), b"", *map(msgpack.encode, wrong)):
        with pytest.raises(ValueError, match=r".+"):
            wire.load_part(raw)
    with pytest.raises(ValueError, match="not a frame"):
        wire.header(b"P" + (2**40).to_bytes(8, "little"))
    assert wire.load_part(wire.dump_part(whole)) == whole


@pytest.mark.requirement("I-07")
def test_what_a_child_says_of_a_file_is_checked_and_its_codes_hold_no_text() -> None:
    for raw in (b"[]", b"7", b'{"nothing": 1}', b'{"code": "Herr Muster", "reason": ""}'):
        with pytest.raises(ValueError, match="not a"):
            wire.load_failure(raw)
    for raw in (b"[]", b"{}", b'{"media_type": "", "extractor": "", "version": "", "code": "a b"}'):
        with pytest.raises(ValueError, match="not a"):
            wire.load_identified(raw)
    told = wire.Failure("too_many_pages", "Split it.")
    assert wire.load_failure(wire.dump_record(told)) == told


def raw_pdf(*objects: bytes) -> bytes:
    """A PDF of these objects, without a table of them: the reader must find its way, as in files that were damaged."""
    numbered = b"".join(b"%d 0 obj\n%s\nendobj\n" % (number, each) for number, each in enumerate(objects, 1))
    return b"%PDF-1.4\n" + numbered + b"trailer\n<</Root 1 0 R>>\n%%EOF"


CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 3 0 R>>"
HOSTILE_PDFS: dict[str, tuple[bytes, ...]] = {
    "a tree of pages that holds itself": (CATALOG, b"<</Type/Pages/Kids[2 0 R 2 0 R]/Count 9/Parent 2 0 R>>"),
    "a page that is its own content": (CATALOG, b"<</Type/Pages/Kids[3 0 R]/Count 1>>", PAGE),
    "lengths that lead to each other": (
        CATALOG,
        b"<</Type/Pages/Kids[4 0 R]/Count 1>>",
        b"<</Length 5 0 R>>stream\nBT ET\nendstream",
        PAGE,
        b"6 0 R",
        b"5 0 R",
    ),
    "more pages than it holds": (CATALOG, b"<</Type/Pages/Kids[]/Count 2000000000>>"),
    "a million objects": (CATALOG, b"<</Type/Pages/Kids[]/Count 0>>", *[b"<<>>"] * 1_000_000),
    "arrays in arrays": (CATALOG, b"<</Type/Pages/Kids" + b"[" * 200_000 + b"]" * 200_000 + b"/Count 1>>"),
}


@pytest.mark.requirement("I-07")
@pytest.mark.parametrize("case", HOSTILE_PDFS)
async def test_a_hostile_pdf_ends_in_its_child_and_the_pool_serves_on(pool: ExtractionPool, case: str) -> None:
    codes = {"damaged", "too_many_pages", "time_limit", "memory_limit", "reader_crashed"}
    try:
        said = await answer(pool, raw_pdf(*HOSTILE_PDFS[case]), "a.pdf")
    except Unreadable as refused:
        code = refused.code
    else:
        code = "damaged" if not said else "read"
    assert code in codes
    assert await answer(pool, pdf(), "a.pdf") == ["Guter Inhalt"]
