"""From when a file is by its own account, in every format that says it."""

from __future__ import annotations

import datetime
import gzip
import io
import struct
import zipfile
from email.message import EmailMessage

import pytest

from servers.cradle.processing.extract import dates
from tests.office_rig import opendocument
from tests.tables_rig import extracted
from tests.word_file import word_file

SAVED = datetime.datetime(2026, 3, 1, 9, 14, 5)
CATALOGUE = """<?xml version="1.0"?><BMECAT version="{version}"><HEADER><CATALOG><LANGUAGE>deu</LANGUAGE>
<CATALOG_ID>K1</CATALOG_ID>{made}</CATALOG></HEADER><T_NEW_CATALOG></T_NEW_CATALOG></BMECAT>"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-03-01", "2026-03-01"),
        ("2026-03-01T10:14:05+01:00", "2026-03-01T09:14:05"),
        ("2026-03-01T09:14:05Z", "2026-03-01T09:14:05"),
        ("2026-03-01T09:14:05.123456", "2026-03-01T09:14:05"),
        (" 2026-03-01T09:14 ", "2026-03-01T09:14:00"),
        ("0001-01-01T00:00:00", ""),
        ("9999-12-31T23:59:59-10:00", ""),
        ("01.03.2026", ""),
        ("2026-02-30", ""),
        ("", ""),
    ],
)
def test_a_moment_is_a_day_or_in_utc_or_nothing(text: str, said: str) -> None:
    assert dates.of_iso(text) == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("D:20260301101405+01'00'", "2026-03-01T09:14:05"),
        ("D:20260301101405+0100", "2026-03-01T09:14:05"),
        ("D:20260301091405Z", "2026-03-01T09:14:05"),
        ("D:20260301", "2026-03-01"),
        ("20260301091405", "2026-03-01T09:14:05"),
        ("D:20261301000000", ""),
        ("heute", ""),
    ],
)
def test_a_pdf_says_it_in_its_own_way(text: str, said: str) -> None:
    assert dates.of_pdf(text) == said


@pytest.mark.parametrize("ticks", [0, -1, 2**61, 2**64 - 1, 1])
def test_a_time_that_cannot_be_is_none(ticks: int) -> None:
    assert dates.of_ticks(ticks) == ""


def pdf() -> bytes:
    from fpdf import FPDF

    made = FPDF()
    made.set_creation_date(SAVED.replace(tzinfo=datetime.UTC))
    made.add_page()
    return bytes(made.output())


def docx() -> bytes:
    import docx

    made, out = docx.Document(), io.BytesIO()
    made.core_properties.created = datetime.datetime(2020, 1, 1)
    made.core_properties.modified = SAVED
    made.save(out)
    return out.getvalue()


def pptx() -> bytes:
    import pptx

    made, out = pptx.Presentation(), io.BytesIO()
    made.core_properties.modified = SAVED
    made.save(out)
    return out.getvalue()


def xlsx() -> bytes:
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as made:
        made.add_worksheet()
        made.set_properties({"created": SAVED})
    return out.getvalue()


def ods() -> bytes:
    from odf.dc import Date

    return opendocument(lambda table: None, also=lambda made: made.meta.addElement(Date(text="2026-03-01T09:14:05")))


def doc() -> bytes:
    ticks = int((SAVED - datetime.datetime(1601, 1, 1)).total_seconds()) * 10**7
    section = struct.pack("<IIIII", 28, 1, 13, 16, 0x40) + struct.pack("<Q", ticks)
    properties = bytes(44) + struct.pack("<I", 48) + section
    return word_file("Text\r", more={"\x05SummaryInformation": properties})


def mail() -> bytes:
    made = EmailMessage()
    made["Subject"], made["Date"] = "Angebot", "Sun, 01 Mar 2026 10:14:05 +0100"
    made.set_content("Guten Tag")
    return bytes(made)


@pytest.mark.parametrize("make", [pdf, docx, pptx, xlsx, ods, doc, mail])
def test_a_file_says_when_it_was_changed_last(make) -> None:
    assert extracted(make(), f"a.{make.__name__}".replace("mail", "eml")).dated == "2026-03-01T09:14:05"


@pytest.mark.parametrize(
    ("version", "made", "said"),
    [
        ("2005", "<GENERATION_DATE>2026-03-01T10:14:05+01:00</GENERATION_DATE>", "2026-03-01T09:14:05"),
        ("1.2", '<DATETIME type="generation_date"><DATE>2026-03-01</DATE></DATETIME>', "2026-03-01"),
        (
            "1.2",
            '<DATETIME type="generation_date"><DATE>2026-03-01</DATE><TIME>09:14:05</TIME>'
            "<TIMEZONE>Z</TIMEZONE></DATETIME>",
            "2026-03-01T09:14:05",
        ),
        ("1.2", '<DATETIME type="valid_start_date"><DATE>2026-03-01</DATE></DATETIME>', ""),
        ("1.2", "", ""),
    ],
)
def test_a_catalogue_says_when_it_was_made(version: str, made: str, said: str) -> None:
    assert extracted(CATALOGUE.format(version=version, made=made).encode(), "k.xml").dated == said


def test_neither_a_mailbox_nor_what_holds_a_file_is_as_old_as_what_is_in_it() -> None:
    box = b"".join(b"From a@example.com Sun Mar  1 09:14:05 2026\n" + mail() + b"\n" for _ in range(2))
    assert extracted(box, "a.mbox").dated == ""
    held = EmailMessage()
    held["Subject"] = "Ohne Datum"
    held.set_content("Anbei")
    held.add_attachment(xlsx(), maintype="application", subtype="octet-stream", filename="preise.xlsx")
    assert extracted(bytes(held), "a.eml").dated == ""


def packed(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name.replace("_", "."), data)
    return out.getvalue()


def test_an_archive_is_as_old_as_the_one_catalogue_in_it() -> None:
    day = "<GENERATION_DATE>{}</GENERATION_DATE>"
    one, other = (
        CATALOGUE.format(version="2005", made=day.format(each)).encode() for each in ("2026-03-01", "2025-03-01")
    )
    held = EmailMessage()
    held.set_content("Anbei")
    held.add_attachment(one, maintype="application", subtype="xml", filename="k.xml")
    for data, name, said in (
        (packed(a_xlsx=xlsx(), k_xml=one, b_xlsx=xlsx()), "k.zip", "2026-03-01"),
        (packed(a_zip=packed(k_xml=one)), "k.zip", "2026-03-01"),
        (gzip.compress(one), "k.xml.gz", "2026-03-01"),
        (packed(a_xml=one, b_xml=other), "k.zip", ""),
        (packed(a_zip=packed(k_xml=one), b_xml=other), "k.zip", ""),
        (packed(a_xlsx=xlsx()), "k.zip", ""),
        (bytes(held), "a.eml", ""),
    ):
        assert extracted(data, name).dated == said


def test_the_day_of_the_template_that_python_makes_files_from_is_not_theirs() -> None:
    import docx
    import pptx

    word, slides = docx.Document(), pptx.Presentation()
    for made, name in ((word, "a.docx"), (slides, "a.pptx")):
        out = io.BytesIO()
        made.save(out)
        assert extracted(out.getvalue(), name).dated == ""
    word.core_properties.created = SAVED
    out = io.BytesIO()
    word.save(out)
    assert extracted(out.getvalue(), "a.docx").dated == "2026-03-01T09:14:05"
