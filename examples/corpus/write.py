"""Writes the example corpus into a folder."""

from __future__ import annotations

from pathlib import Path

from examples.corpus import bmecat, office, sheets
from examples.corpus.catalogue import item

HALL_LIGHT_NOTES = [
    "Die Leuchte ist für Umgebungstemperaturen von -30 °C bis +50 °C zugelassen.",
    "Die Montagehöhe beträgt 6 m bis 14 m. Die Aufhängung erfolgt mit zwei Seilen oder am Bügel; "
    "der Bügel wird mit 20 Nm angezogen.",
    "Ersatztreiber: Artikelnummer ET-240. Der Treiber ist werkzeuglos wechselbar.",
]
SUPPLY_NOTES = [
    "Einbaulage senkrecht, Mindestabstand oben und unten 40 mm.",
    "Bei Parallelbetrieb ist die Ausgangsspannung beider Geräte auf 100 mV genau abzugleichen.",
]


def files() -> dict[str, bytes]:
    """Relative path → bytes of every file, the same on every run."""
    hall_light = sheets.data_sheet(item("HL-240-50"), HALL_LIGHT_NOTES)
    return {
        "katalog/habersaat_bmecat2005.xml": bmecat.catalogue(),
        "preise/preisliste_2026.xlsx": office.price_list(),
        "lager/bestand.csv": office.stock_list(),
        "anleitungen/montage_reihenklemmen.docx": office.manual(),
        "web/ueber_uns.html": office.company_page(),
        "mail/auftrag_26-0815.eml": office.inquiry(hall_light),
        "datenblaetter/HL-240-50.pdf": hall_light,
        "datenblaetter/NT-24-10.pdf": sheets.data_sheet(item("NT-24-10"), SUPPLY_NOTES),
        "datenblaetter/NT-24-10_en.pdf": sheets.english_sheet(item("NT-24-10")),
        "datenblaetter/RK-4-GR.pdf": sheets.data_sheet(item("RK-4-GR"), ["Zulassungen: VDE, UL, CSA."]),
        "scans/pruefprotokoll_HL-240-50.pdf": sheets.scanned_report(),
        "hinweise/lesen.txt": "Interne Hinweise: Die Reihe HL-200 ist abgekündigt, Nachfolger ist HL-240.\n".encode(),
        # a format that nobody reads: it must show up as a failure with its reason, not vanish
        "zeichnungen/gehaeuse.dwg": b"AC1032" + bytes(range(256)) * 8,
    }


def write(folder: Path) -> list[Path]:
    """Writes every file below `folder`; returns their paths, sorted."""
    written = []
    for name, content in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append(path)
    return sorted(written)
