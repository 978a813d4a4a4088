"""Data sheets as PDF with tables, and a test report as a scanner gives it: an image, slightly turned, no text."""

from __future__ import annotations

import datetime as dt
import io
import random

from fpdf import FPDF

from examples.corpus.catalogue import COMPANY, Item

DATE = dt.datetime(2026, 3, 2, 8, 0, 0, tzinfo=dt.UTC)
SCAN_DPI = 200


class Page(FPDF):
    """A4 in Helvetica with a fixed date, so that equal content gives equal bytes."""

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self.set_creation_date(DATE)
        self.set_title(title)
        self.set_margin(20)
        self.add_page()

    def heading(self, text: str, size: int = 16) -> None:
        self.set_font("helvetica", "B", size)
        self.multi_cell(0, 9, text, new_x="LMARGIN", new_y="NEXT")

    def body(self, text: str) -> None:
        self.set_font("helvetica", "", 11)
        self.multi_cell(0, 6, text, new_x="LMARGIN", new_y="NEXT")
        self.ln(2)

    def rows(self, rows: list[tuple[str, str]]) -> None:
        self.set_font("helvetica", "", 10)
        with self.table(col_widths=(60, 110)) as table:
            for left, right in rows:
                row = table.row()
                row.cell(left)
                row.cell(right)

    def bytes(self) -> bytes:
        return bytes(self.output())


def data_sheet(item: Item, notes: list[str]) -> bytes:
    """One product on two pages: technical data as a table, then notes."""
    page = Page(f"Datenblatt {item.name}")
    page.heading(f"Datenblatt {item.name}")
    page.body(f"Artikelnummer {item.number}, GTIN {item.gtin}. Hersteller: {COMPANY}.")
    page.body(item.text)
    page.heading("Technische Daten", 13)
    page.rows([("Merkmal", "Wert"), *((each.name, f"{each.value} {each.unit}".strip()) for each in item.features)])
    page.add_page()
    page.heading("Hinweise", 13)
    for note in notes:
        page.body(note)
    return page.bytes()


def english_sheet(item: Item) -> bytes:
    """A data sheet for export."""
    page = Page(f"Data sheet {item.number}")
    page.heading(f"Data sheet {item.number}")
    page.body(
        f"DIN rail power supply {item.number} by {COMPANY}. The output is adjustable between 23 V and 28.5 V DC. "
        "Up to four units can be connected in parallel for redundancy."
    )
    page.heading("Ambient conditions", 13)
    page.rows(
        [
            ("Property", "Value"),
            ("Operating temperature", "-25 to +70 °C"),
            ("Derating", "2.5 % per kelvin above 60 °C"),
            ("Relative humidity", "5 to 95 %, no condensation"),
            ("Mean time between failures", "820,000 h at 40 °C"),
        ]
    )
    return page.bytes()


def scanned_report() -> bytes:
    """A test report as an image in a PDF: 200 dpi, turned by 0.6 degrees, with a little noise."""
    page = Page("scan")
    page.heading("Prüfprotokoll Isolationsmessung")
    page.body("Prüfling: Hallenleuchte HL-240-50, Seriennummer 77-20418")
    page.body("Messgerät: Isolationsmesser Typ IM 500, kalibriert bis 11/2026")
    page.body("Prüfspannung 500 V DC, Messdauer 60 Sekunden")
    page.body("Isolationswiderstand gemessen: 512 Megaohm, Grenzwert 2 Megaohm")
    page.body("Schutzleiterwiderstand gemessen: 0,08 Ohm, Grenzwert 0,1 Ohm")
    page.heading("Ergebnis: bestanden", 13)
    page.body("Prüferin: Marlene Osterkamp, Detmold, den 26. Februar 2026")
    return _as_scan(page.bytes())


def _as_scan(pdf: bytes) -> bytes:
    import pypdfium2

    document = pypdfium2.PdfDocument(pdf)
    image = document[0].render(scale=SCAN_DPI / 72).to_pil().convert("L")
    document.close()
    image = image.rotate(0.6, expand=False, fillcolor=255)
    dots = random.Random(711)  # noqa: S311  a picture, not a secret
    for _ in range(900):
        image.putpixel((dots.randrange(image.width), dots.randrange(image.height)), dots.randrange(90, 200))
    jpeg = io.BytesIO()
    image.save(jpeg, "JPEG", quality=82)
    scan = FPDF(format="A4")
    scan.set_creation_date(DATE)
    scan.add_page()
    scan.image(jpeg, x=0, y=0, w=210, h=297)
    return bytes(scan.output())
