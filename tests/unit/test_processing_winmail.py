"""`winmail.dat`: what Outlook and Exchange send in their own form is read as any message is."""

from __future__ import annotations

import struct
from email.message import EmailMessage

import pytest

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from tests.tables_rig import extracted, texts
from tests.winmail import BINARY, NARROW, Property, attribute, wide, winmail

LIST = (
    "<table><tr><th>Artikelnummer</th><th>Bezeichnung</th></tr><tr><td>A-1</td><td>Klemme für 10 mm²</td></tr></table>"
)
RTF = rb"{\rtf1\ansi\ansicpg1252 Der Preis f\'fcr A-1 ist 12,50 EUR.\par}"


def rich(data: bytes) -> bytes:
    return struct.pack("<IIII", len(data) + 12, len(data), 0x414C454D, 0) + data  # MELA: stored as it is


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([(NARROW, 0x1000, "Größe wählen\0".encode("cp1252"))], "Größe wählen"),
        ([wide(0x1000, "Größe Ω")], "Größe Ω"),
        ([(BINARY, 0x1013, "<p>Größe <b>47</b>11</p>".encode())], "Größe 4711"),
        ([(BINARY, 0x1009, rich(RTF))], "Der Preis für A-1 ist 12,50 EUR."),
    ],
)
def test_a_message_s_text_is_read_in_each_of_its_forms(body: list[Property], said: str) -> None:
    found = extracted(winmail("Änderung", body), "winmail.dat")
    assert (found.title, texts(found)) == ("Änderung", ["Änderung", said])


def test_its_files_are_read_under_their_long_names_and_messages_in_it_too() -> None:
    inner = winmail("Innen", [wide(0x1000, "Ganz innen")], {"tief.txt": b"Am tiefsten"})
    data = winmail(
        "Außen", files={"Preisliste 2026 für Händler.csv": b"Artikelnummer;Name\nA-1;Klemme\n"}, messages=[inner]
    )
    found = extracted(data, "winmail.dat")
    assert [(each.name, each.code) for each in found.attachments] == [
        ("Preisliste 2026 für Händler.csv", ""), ("Anfrage", ""), ("tief.txt", ""),
    ]  # fmt: skip
    assert [each.article_number for each in found.products] == ["A-1"]
    assert texts(found)[-3:] == ["Innen", "Ganz innen", "Am tiefsten"]


def carried(plain: str, data: bytes) -> bytes:
    made = EmailMessage()
    made["Subject"] = "Preise"
    made.set_content(plain)
    made.add_attachment(data, maintype="application", subtype="ms-tnef", filename="winmail.dat")
    return made.as_bytes()


def test_in_a_mail_what_its_text_says_already_is_not_read_twice_and_what_it_lacks_is_read() -> None:
    same = winmail("Preise", [(BINARY, 0x1013, b"<p>Anbei die Preise.</p>")], {"a.txt": b"Klemme 10 mm"})
    assert texts(extracted(carried("Anbei die Preise.", same), "a.eml")) == [
        "Preise", "Anbei die Preise.", "Klemme 10 mm",
    ]  # fmt: skip
    more = winmail("Preise", [(BINARY, 0x1013, f"<p>Anbei die Preise.</p>{LIST}".encode())])
    found = extracted(carried("Anbei die Preise.", more), "a.eml")
    assert [(each.article_number, each.name) for each in found.products] == [("A-1", "Klemme für 10 mm²")]


@pytest.mark.parametrize("cut", [5, 20])
def test_a_cut_one_gives_what_is_before_the_cut_and_says_so(cut: int) -> None:
    data = winmail("Preise", [wide(0x1000, "Anbei")], {"a.txt": b"eins", "b.txt": b"zwei"})[:-cut]
    found = []
    with pytest.raises(Unreadable, match="cut off"):
        found.extend(read(*identify(data, "winmail.dat")))
    assert "eins" in [getattr(item, "text", "") for item in found]


@pytest.mark.parametrize("lie", [0x7FFFFFFF, 0xFFFFFFFF])
def test_lengths_and_counts_that_are_lies_are_damage_and_no_memory(lie: int) -> None:
    listed = struct.pack("<IHHI", lie, 0x101E, 0x1000, lie) + bytes(64)
    data = winmail("Preise") + attribute(1, 0x00069003, listed)
    with pytest.raises(Unreadable, match="cut off"):
        list(read(*identify(data, "winmail.dat")))
