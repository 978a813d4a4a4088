"""Archives: every file inside is read by its own reader, and nothing makes more of an archive than its size allows."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from servers.cradle.processing.extract import MAX_DEPTH, identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from tests.tables_rig import extracted

FILES = {
    "preise.csv": b"Artikelnummer;Preis\nA-1;2,50\n",
    "ordner/lesen.txt": "Grüße aus dem Archiv.".encode(),
    "kaputt.pdf": b"%PDF-1.4 cut",
    "../../etc/passwd": b"Nur ein Name.",
    "leer.txt": b"",
}


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.mkdir("ordner")
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


PACKERS: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a.zip": zipped,
    "a.tar": tarred,
    "alt.tar": lambda files: tarred(files, tarfile.USTAR_FORMAT),
    "a.tar.gz": lambda files: gzip.compress(tarred(files)),
    "a.tbz2": lambda files: bz2.compress(tarred(files)),
    "a.tar.xz": lambda files: lzma.compress(tarred(files)),
}


@pytest.mark.requirement("O-01", "F-13")
@pytest.mark.parametrize("name", PACKERS)
def test_every_file_in_an_archive_is_read_or_named_with_its_reason(name: str, tmp_path: Path) -> None:
    found = extracted(PACKERS[name](FILES), name)
    assert {(block.text, block.source) for block in found.blocks} == {
        ("Grüße aus dem Archiv.", "ordner/lesen.txt"),
        ("Nur ein Name.", "../../etc/passwd"),
    }
    assert [(product.article_number, product.source) for product in found.products] == [("A-1", "preise.csv")]
    failed = {each.name: each.code for each in found.attachments if each.code}
    assert failed == {"kaputt.pdf": "damaged", "leer.txt": "empty"}
    assert {each.name for each in found.attachments} == set(FILES)


def test_a_damaged_entry_is_named_whatever_it_is_packed_with() -> None:
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            archive.writestr("kaputt.txt", "Grüße " * 2000)
            archive.writestr("ganz.txt", "Grüße")
        data = bytearray(out.getvalue())
        data[60:90] = b"\x5a" * 30
        found = extracted(bytes(data), "a.zip")
        assert [block.text for block in found.blocks] == ["Grüße"]
        assert [(each.name, each.code) for each in found.attachments] == [("kaputt.txt", "damaged"), ("ganz.txt", "")]


def test_an_entry_without_a_name_and_one_that_says_wrongly_what_it_is_are_named() -> None:
    odt = bytearray(zipped({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b"<x/>"}))
    odt[odt.index(b"mimetype") - 30] ^= 0xFF  # the mark of its own header
    out = io.BytesIO(zipped({"a.odt": bytes(odt), "b.txt": b"Ganz."}))
    with zipfile.ZipFile(out, "a") as archive:
        archive.writestr(zipfile.ZipInfo(""), "Ohne Namen.")
    found = extracted(out.getvalue(), "a.zip")
    assert [block.text for block in found.blocks] == ["Ganz.", "Ohne Namen."]
    assert [(each.name, each.code) for each in found.attachments] == [
        ("a.odt", "damaged"), ("b.txt", ""), ("unnamed", "")
    ]  # fmt: skip


@pytest.mark.parametrize("name", PACKERS)
def test_a_defect_of_a_reader_costs_its_file_and_not_the_archive(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ValueError

    monkeypatch.setattr("servers.cradle.processing.extract.text.Markdown.extract", broken)
    found = extracted(PACKERS[name]({"a.md": b"# A", "b.txt": b"Ganz."}), name)
    assert [block.text for block in found.blocks] == ["Ganz."]
    assert {each.name: each.code for each in found.attachments if each.code} == {"a.md": "reader_failed"}


@pytest.mark.parametrize("name", PACKERS)
def test_an_entry_that_is_too_large_is_named_and_the_others_are_read(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("servers.cradle.processing.extract.archive.MAX_ENTRY", 10)
    found = extracted(PACKERS[name]({"lang.txt": b"x" * 20, "elf.txt": b"y" * 11, "kurz.txt": b"z" * 10}), name)
    assert [block.text for block in found.blocks] == ["z" * 10]
    assert [each.name for each in found.attachments if each.code] == ["lang.txt", "elf.txt"]
    assert not {each.code for each in found.attachments} - {"", "too_large", "zip_bomb"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_files_of_one_name_in_an_archive_are_both_read() -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a.txt", "Der alte Stand.")
        archive.writestr("a.txt", "Der neue Stand.")
    assert [block.text for block in extracted(out.getvalue(), "a.zip").blocks] == ["Der alte Stand.", "Der neue Stand."]


def test_a_single_compressed_file_is_read_as_what_it_is() -> None:
    found = extracted(gzip.compress(FILES["preise.csv"]), "liste/preise.csv.gz")
    assert [(product.article_number, product.source) for product in found.products] == [("A-1", "preise.csv")]


@pytest.mark.requirement("I-09")
def test_links_and_devices_in_an_archive_are_named_and_not_followed() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, kind in (("verweis", tarfile.SYMTYPE), ("hart", tarfile.LNKTYPE), ("geraet", tarfile.CHRTYPE)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)
    found = extracted(out.getvalue(), "a.tar")
    assert {each.name: each.code for each in found.attachments} == dict.fromkeys(
        ("verweis", "hart", "geraet"), "not_a_file"
    )
    assert found.blocks == ()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("verweis")
        link.external_attr = 0xA1FF << 16
        archive.writestr(link, "/etc/passwd")
    found = extracted(packed.getvalue(), "a.zip")
    assert [(each.name, each.code) for each in found.attachments] == [("verweis", "not_a_file")]


def zeros(mebibytes: int) -> bytes:
    return bytes(mebibytes * 2**20)


def nested(levels: int, width: int) -> bytes:
    """Archives of archives: small at every level, far more than their size at the bottom."""
    data = zipped({"innen.txt": b"wort " * 2**19})
    for _ in range(levels):
        data = zipped({f"{number}.zip": data for number in range(width)})
    return data


def overlapping() -> bytes:
    """A directory in which many entries share the bytes of one."""
    data = bytearray(zipped({f"{number}.txt": b"x" * 50_000 for number in range(8)}))
    first = data.index(b"PK\x01\x02")
    at = first
    while (at := data.find(b"PK\x01\x02", at + 1)) > 0:
        data[at + 42 : at + 46] = (0).to_bytes(4, "little")
        data[at + 20 : at + 24] = (first).to_bytes(4, "little")
    return bytes(data)


@pytest.fixture(scope="module")
def bombs() -> dict[str, tuple[str, bytes]]:
    big = zeros(72)
    return {
        "a zip": ("a.zip", zipped({"a.txt": big})),
        "a gzip": ("a.gz", gzip.compress(big)),
        "a bzip2": ("a.bz2", bz2.compress(big)),
        "an xz": ("a.xz", lzma.compress(big)),
        "a tar in gzip": ("a.tar.gz", gzip.compress(tarred({"a.txt": big}))),
        "a zip of zips": ("a.zip", nested(4, 20)),
        "overlapping entries": ("a.zip", overlapping()),
        "a polyglot": ("a.txt", b"PK\x03\x04" + zipped({"a.txt": big})),
    }


CASES = ["a zip", "a gzip", "a bzip2", "an xz", "a tar in gzip", "a zip of zips", "overlapping entries", "a polyglot"]


@pytest.mark.requirement("I-05")
@pytest.mark.parametrize("case", CASES)
def test_a_bomb_is_refused_as_a_whole_within_memory(bombs: dict[str, tuple[str, bytes]], case: str) -> None:
    name, data = bombs[case]
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable) as refused:
            for _ in read(*identify(data, name)):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.code == "zip_bomb"
    assert peak < 100 * 2**20


def test_archives_nest_only_so_deep_and_what_lies_above_is_read() -> None:
    data = zipped({"unten.txt": b"Ganz unten."})
    for level in range(MAX_DEPTH + 1):
        data = zipped({"tiefer.zip": data, f"{level}.txt": f"Ebene {level}.".encode()})
    found = extracted(data, "a.zip")
    assert "too_deep" in {each.code for each in found.attachments}
    said = {block.text for block in found.blocks}
    assert f"Ebene {MAX_DEPTH}." in said
    assert "Ganz unten." not in said


@pytest.mark.parametrize("name", PACKERS)
def test_a_cut_archive_is_damaged(name: str) -> None:
    import random

    noise = random.Random(7).randbytes(200_000).hex().encode()  # noqa: S311
    data = PACKERS[name]({"a.txt": noise, "b.txt": noise})
    with pytest.raises(Unreadable) as refused:
        for _ in read(*identify(data[: len(data) // 3], name)):
            pass
    assert refused.value.code == "damaged"


def test_an_ordinary_archive_of_well_compressed_text_is_not_taken_for_a_bomb() -> None:
    lines = "".join(f"A-{number};Reihenklemme {number}\n" for number in range(200_000)).encode()
    found = extracted(zipped({"a.txt": lines}), "a.zip")
    assert sum(len(block.text) for block in found.blocks) > len(lines) * 0.9
