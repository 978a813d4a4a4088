"""Price list (XLSX), stock (CSV), manual (DOCX), company page (HTML) and an inquiry by mail (EML)."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from email.message import EmailMessage

from examples.corpus.catalogue import CITY, COMPANY, GROUPS, ITEMS, SHORT

DATE = dt.datetime(2026, 3, 2, 8, 0, 0)


def price_list() -> bytes:
    """Two sheets: prices with quantity steps, and conditions."""
    import openpyxl

    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Preise 2026"
    sheet.append([f"{COMPANY} – Preisliste gültig ab 01.04.2026"])
    sheet.append(
        ["Artikelnummer", "GTIN", "Bezeichnung", "Warengruppe", "Preis EUR", "Staffel ab Stück", "Staffelpreis EUR"]
    )
    for item in ITEMS:
        row = [
            item.number,
            item.gtin,
            item.name,
            GROUPS[item.group],
            float(item.price),
            item.tier[0],
            float(item.tier[1]),
        ]
        sheet.append(row)
    terms = book.create_sheet("Konditionen")
    for row in (
        ("Kondition", "Wert"),
        ("Zahlungsziel", "30 Tage netto, 2 % Skonto bei Zahlung innerhalb von 10 Tagen"),
        ("Mindestbestellwert", "150 EUR, darunter 12,50 EUR Mindermengenzuschlag"),
        ("Lieferung", f"frei Haus innerhalb Deutschlands ab 500 EUR, sonst ab Werk {CITY}"),
    ):
        terms.append(row)
    book.properties.created = book.properties.modified = DATE
    out = io.BytesIO()
    book.save(out)
    return fixed_zip(out.getvalue())


def stock_list() -> bytes:
    """cp1252, semicolons, decimal comma: as a German Excel writes it."""
    out = io.StringIO()
    table = csv.writer(out, delimiter=";", lineterminator="\r\n")
    table.writerow(["Artikelnummer", "Bezeichnung", "Bestand", "Lagerort", "Nachschub in Tagen"])
    for place, item in enumerate(ITEMS):
        table.writerow([item.number, item.name, item.stock, f"Gang {place % 7 + 1}", f"{place % 9 + 2},5"])
    return out.getvalue().encode("cp1252")


def manual() -> bytes:
    """Mounting instructions with headings and a table of tightening torques."""
    import docx

    document = docx.Document()
    document.core_properties.created = document.core_properties.modified = DATE
    document.add_heading("Montageanleitung Reihenklemmen RK", level=0)
    document.add_heading("Sicherheit", level=1)
    document.add_paragraph(
        "Arbeiten an elektrischen Anlagen darf nur eine Elektrofachkraft ausführen. Vor Beginn die fünf "
        "Sicherheitsregeln anwenden: freischalten, gegen Wiedereinschalten sichern, Spannungsfreiheit feststellen, "
        "erden und kurzschließen, benachbarte unter Spannung stehende Teile abdecken."
    )
    document.add_heading("Montage", level=1)
    document.add_paragraph(
        "Die Klemme schräg in die Tragschiene TH35 einhängen und hörbar einrasten. Die Leiter 10 mm abisolieren. "
        "Feindrähtige Leiter mit Aderendhülse anschließen."
    )
    document.add_heading("Anzugsdrehmomente", level=2)
    table = document.add_table(rows=1, cols=3)
    for cell, text in zip(table.rows[0].cells, ("Klemme", "Querschnitt", "Anzugsdrehmoment"), strict=True):
        cell.text = text
    for name, section, torque in (
        ("RK 1,5", "1,5 mm²", "0,4 Nm"),
        ("RK 2,5", "2,5 mm²", "0,5 Nm"),
        ("RK 4", "4 mm²", "0,6 Nm"),
        ("RK 6", "6 mm²", "0,8 Nm"),
        ("RK 10", "10 mm²", "1,2 Nm"),
        ("RK 35", "35 mm²", "3,2 Nm"),
    ):
        for cell, text in zip(table.add_row().cells, (name, section, torque), strict=True):
            cell.text = text
    document.add_heading("Wartung", level=1)
    document.add_paragraph("Die Schraubverbindungen sind alle vier Jahre nachzuziehen und auf Verfärbung zu prüfen.")
    out = io.BytesIO()
    document.save(out)
    return fixed_zip(out.getvalue())


def company_page() -> bytes:
    """The page 'Über uns', in German."""
    return f"""<!DOCTYPE html>
<html lang="de"><head><meta charset="utf-8"><title>Über uns – {SHORT}</title>
<script>document.title = "nicht lesen";</script></head><body>
<h1>Über {SHORT}</h1>
<p>{COMPANY} fertigt seit 1957 in {CITY} Verbindungstechnik, Stromversorgungen und Hallenbeleuchtung. 214 Menschen
arbeiten in Entwicklung, Fertigung und Vertrieb.</p>
<h2>Garantie</h2>
<p>Auf alle Hallenleuchten der Reihe HL geben wir fünf Jahre Garantie, auf Netzteile der Reihe NT drei Jahre.</p>
<h2>Rücksendungen</h2>
<p>Rücksendungen melden Sie unter Angabe der Auftragsnummer an. Unbenutzte Ware
nehmen wir innerhalb von 21 Tagen zurück.</p>
</body></html>
""".encode()


def inquiry(attachment: bytes) -> bytes:
    """A customer's mail with a data sheet attached."""
    mail = EmailMessage()
    mail["From"] = "Einkauf Beispielbau <einkauf@beispielbau.example>"
    mail["To"] = "vertrieb@habersaat-lichtwerk.example"
    mail["Subject"] = "Auftrag 26-0815: Liefertermin Hallenleuchten HL-240"
    mail["Date"] = "Mon, 02 Mar 2026 09:14:00 +0100"
    mail["Message-ID"] = "<26-0815@beispielbau.example>"
    mail.set_content(
        "Guten Tag Frau Wiebusch,\n\nzum Auftrag 26-0815 über 36 Hallenleuchten HL-240-50 bestätigen wir den "
        "Liefertermin 17. April 2026 frei Baustelle Halle 3 in Paderborn.\n"
        "Bitte liefern Sie die Aufhängungen gleich mit.\n\n"
        "Mit freundlichen Grüßen\nJ. Tegtmeier\n"
    )
    mail.add_attachment(attachment, maintype="application", subtype="pdf", filename="Datenblatt_HL-240.pdf")
    mail.set_boundary("=====0711=example=====")
    return mail.as_bytes()


def fixed_zip(data: bytes) -> bytes:
    """The same archive with fixed member times: equal content gives equal bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for name in sorted(source.namelist()):
            content = source.read(name)
            if name == "docProps/core.xml":
                content = _fixed_core(content)
            target.writestr(zipfile.ZipInfo(name, (2026, 3, 2, 8, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _fixed_core(content: bytes) -> bytes:
    """openpyxl stamps the time of saving over the one that was set."""
    import re

    return re.sub(rb"(<dcterms:modified[^>]*>)[^<]*", rb"\g<1>2026-03-02T08:00:00Z", content)
