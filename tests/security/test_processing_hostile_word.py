"""Hostile and broken DOC and RTF: refused with a reason, or read, within time and memory that grow with the file."""

from __future__ import annotations

import random
import struct
import tracemalloc
from collections.abc import Callable

import pytest

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.compound_file import compound
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.lzfu import decompressed
from tests.outlook_message import message
from tests.word_file import TEXT, narrow, pieces, sample, word_file, word_file_of
from tests.word_old import old_file, row, style
from tests.word_pictures import (
    IN_STREAM,
    art,
    blip,
    dib,
    drawing,
    emf,
    entry,
    group,
    image,
    in_line,
    in_lines,
    packed,
    picture_doc,
    shape,
    store,
    wmf,
)

CODES = {"damaged", "unsupported_format", "encrypted", "too_deep", "empty", "zip_bomb"}
MANY = 2**17
LINE = b"Zeile\r"


def outcome(data: bytes, name: str) -> str:
    """The code of a refusal, `read` where the file was read to its end."""
    try:
        for _ in read(*identify(data, name)):
            pass
    except Unreadable as refused:
        return refused.code if refused.reason.endswith(".") else "no sentence"
    return "read"


def with_parts(parts: dict[int, bytes], text: bytes = LINE) -> bytes:
    """A Word file whose table stream holds these parts too, by their place in FibRgFcLcb97."""
    return word_file_of(text, pieces([(len(text), narrow(TEXT))]), (len(text),), parts=parts)


def page(kind: int) -> bytes:
    """A formatted disk page whose runs all lead to the same list of modifiers, as long as it goes."""
    runs, width = 20, 13 if kind == 13 else 1
    places = struct.pack(f"<{runs + 1}I", *range(TEXT, TEXT + runs + 1))
    entries = (b"\x80" + bytes(width - 1)) * runs
    return (places + entries).ljust(256, b"\0") + b"\xff" + b"\x16\x24\x01" * 84 + b"\0\0" + bytes((runs,))


def same_page(kind: int) -> bytes:
    """A table of pages that names the same one a hundred thousand times."""
    number = TEXT // 512 + 1
    return bytes(4 * (MANY + 1)) + struct.pack("<I", number) * MANY


def repeated_pieces() -> bytes:
    text = b"x" * 100_000
    return word_file_of(text, pieces([(len(text), narrow(TEXT))] * 2000), (2000 * len(text),))


def circle() -> bytes:
    """A compound file whose first stream says it has 4 GB, in a chain of sectors that is a circle."""
    data = bytearray(word_file("Text\r" * 2000))
    entry = data.index("WordDocument".encode("utf-16-le"))
    first = struct.unpack_from("<I", data, entry + 116)[0]
    struct.pack_into("<I", data, entry + 120, 0xFFFFFFF0)
    (fat,) = struct.unpack_from("<I", data, 76)
    struct.pack_into("<I", data, 512 * (fat + 1) + 4 * first, first)
    return bytes(data)


def many_sectors() -> bytes:
    """A compound file whose header says that its tables have four thousand million sectors."""
    data = bytearray(word_file("Text\r" * 2000))
    struct.pack_into("<I", data, 64, 0xFFFFFFF0)
    return bytes(data)


def overlapping_pictures() -> bytes:
    """Pictures in the line, each of which says that it goes on to the end of all."""
    return in_lines(*(struct.pack("<IHH", 10**6, 0x44, 0x64).ljust(0x44, b"\0") for _ in range(30)))


def overlapping_stored(count: int = 100) -> bytes:
    """Entries of the store whose pictures lie one in the other."""
    drawings = store(*(entry(place=IN_STREAM + 8 * each) for each in range(count)))
    shapes = (shape(7 + each, each + 1) for each in range(count))
    stream = b"".join(struct.pack("<HHI", 0x6E00, 0xF01E, 10**6) for _ in range(count))
    anchors = {each: 7 + each for each in range(count)}
    return picture_doc("\x08" * count + "\r", {}, b"", drawings + drawing(*shapes), anchors, stream)


def drawn(drawings: bytes) -> bytes:
    return picture_doc("\x08\r", {}, b"", drawings, {0: 7})


def pictures_of_all_kinds() -> bytes:
    stream = packed(emf(image(42, "BMP")))
    pictures = [in_line(entry(blip(image(31, "JPEG"), 0xF01D))), in_line(packed(wmf(dib(32)), 0xF01B))]
    drawings = store(entry(place=IN_STREAM), entry(blip(dib(33), 0xF01F))) + drawing(shape(7, 1), group(shape(8, 2)))
    characters = {2: struct.pack("<HI", 0x6A03, 0), 3: struct.pack("<HI", 0x6A03, len(pictures[0]))}
    return picture_doc("\x08\x08\x01\x01\r", characters, b"".join(pictures), drawings, {0: 7, 1: 8}, stream)


DOCS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a piece outside of the file": (lambda: word_file_of(LINE, pieces([(6, narrow(10**6))]), (6,)), "damaged"),
    "a piece longer than the file": (lambda: word_file_of(LINE, pieces([(10**9, narrow(TEXT))]), (6,)), "damaged"),
    "pieces that go back": (
        lambda: word_file_of(LINE, b"\x02" + struct.pack("<I4I", 28, 0, 6, 3, 0) + bytes(16), (6,)),
        "damaged",
    ),
    "the same piece two thousand times": (repeated_pieces, "damaged"),
    "no table of pieces": (lambda: word_file_of(LINE, b"", (6,)), "damaged"),
    "lists without end before the table": (lambda: word_file_of(LINE, b"\x01\0\0" * MANY, (6,)), "damaged"),
    "no text": (lambda: compound({"WordDocument": b""}), "damaged"),
    "a cut header": (lambda: compound({"WordDocument": struct.pack("<HH6xH", 0xA5EC, 0xC1, 0) + bytes(60)}), "damaged"),
    "a stream in a circle": (circle, "damaged"),
    "a header of huge counts": (many_sectors, "damaged"),
    "stories longer than the text": (lambda: word_file("Text\r", (2**32 - 1,) * 7), "read"),
    "fields in fields": (lambda: word_file("\x13" * MANY + "Text\x14\x15\r"), "read"),
    "fields that close in turn": (lambda: word_file("\x13" * MANY + "\x14" * MANY + "\x15" * MANY + "\r"), "read"),
    "the same page of paragraphs again and again": (
        lambda: with_parts({13: same_page(13)}, LINE.ljust(512, b"\r") + page(13)),
        "read",
    ),
    "the same page of characters again and again": (
        lambda: with_parts({12: same_page(12)}, LINE.ljust(512, b"\r") + page(12)),
        "read",
    ),
    "styles that are based on themselves": (
        lambda: with_parts({1: struct.pack("<HHH", 4, 60_000, 10) + b"\x04\0\xfe\x0f\x11\x00" * 60_000}),
        "read",
    ),
    "fonts without end": (lambda: with_parts({15: b"\xff\xff\0\0" + b"\0" * MANY}), "read"),
    "cells without a row": (
        lambda: word_file_of(b"a\x07" * MANY, pieces([(2 * MANY, narrow(TEXT))]), (2 * MANY,)),
        "read",
    ),
    "an old text of the same piece again and again": (
        lambda: old_file(b"x" * 100_000 + b"\r", order=[(0, 100_000)] * 2000),
        "damaged",
    ),
    "an old text whose piece lies outside of the file": (
        lambda: old_file(LINE, order=[(0, 6), (10**6, 10**6 + 6)]),
        "damaged",
    ),
    "an old text of endless fonts and modifiers": (
        lambda: old_file(LINE, [(6, style(0, b"\xbe\xff\xff" + b"\x17\xff" * 100))], fonts=[("x" * 200, 255)] * 200),
        "read",
    ),
    "pictures in the line that overlap": (overlapping_pictures, "zip_bomb"),
    "stored pictures that overlap": (overlapping_stored, "zip_bomb"),
    "metafiles that come to more than a file of its size holds": (
        lambda: in_lines(*(in_line(packed(b"%d" % each, size=60 * 2**20)) for each in range(2))),
        "zip_bomb",
    ),
    "a metafile that says it has four thousand million bytes": (
        lambda: in_lines(in_line(packed(emf(), size=2**32 - 1))),
        "read",
    ),
    "a metafile that has more bytes than it says": (
        lambda: in_lines(in_line(packed(emf() + bytes(2**27), size=1000))),
        "read",
    ),
    "metafiles with records of no size": (
        lambda: in_lines(
            in_line(packed(emf()[:88] + struct.pack("<II", 81, 0) * MANY)),
            in_line(packed(wmf(b"")[:18] + struct.pack("<IH", 0, 0x0F43) * MANY, 0xF01B)),
        ),
        "read",
    ),
    "a metafile of bitmaps that lie outside of their records": (
        lambda: in_lines(in_line(packed(emf()[:88] + struct.pack("<II40x4I8x", 81, 72, *[2**32 - 1] * 4) * 1000))),
        "read",
    ),
    "groups of shapes in groups": (
        lambda: drawn(store(entry(blip(b"x"))) + drawing(struct.pack("<HHI", 15, 0xF003, 2**31) * MANY)),
        "read",
    ),
    "entries of pictures in entries": (lambda: drawn(store(entry(entry(entry()))) + drawing(shape(7, 1))), "read"),
    "a store of entries that are cut": (lambda: drawn(store(art(0xF007, b"") * MANY) + drawing(shape(7, 1))), "read"),
    "a shape that shows the same picture again and again": (
        lambda: drawn(store(entry(blip(bytes(2**16)))) + drawing(shape(7, *[1] * 2**11))),
        "read",
    ),
}


def overwritten(data: bytes, at: int) -> bytes:
    """The data with the largest number at a place."""
    return data[:at] + b"\xff" * 4 + data[at + 4 :]


def pict(data: bytes) -> bytes:
    return HEAD + rb"{\pict " + data.hex().encode() + b"}}"


HEAD = rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}"
RTFS: dict[str, tuple[Callable[[], bytes], str]] = {
    "a cut text": (lambda: HEAD + rb"\pard Text", "damaged"),
    "groups in groups": (lambda: HEAD + b"{" * 100_000 + b"}" * 100_000, "too_deep"),
    "groups that do not begin": (lambda: HEAD + b"}" * MANY, "read"),
    "binary data to beyond the end": (lambda: HEAD + rb"\bin4294967295 x}", "damaged"),
    "binary data of no or negative length": (lambda: HEAD + rb"\bin0 \bin-5 \bin " * 20_000 + b"}", "read"),
    "nothing but escapes": (lambda: HEAD + rb"\'e4" * 2**20 + b"}", "read"),
    "edges that come after their row": (lambda: HEAD + rb"\trowd\cellx1 a\cell\row\cellx2 b\cell\row}", "read"),
    "nothing but backslashes": (lambda: HEAD + b"\\" * MANY + b"}", "read"),
    "a backslash at the end": (lambda: HEAD + b"\\", "damaged"),
    "an escape that is cut": (lambda: HEAD + rb"\'e", "damaged"),
    "huge numbers": (
        lambda: HEAD + rb"\u99999999999 \uc999999999 \u228 \f2147483648 \s-1 \cellx9999999999 x\cell\row}",
        "read",
    ),
    "rows of many edges": (lambda: HEAD + rb"\trowd" + rb"\cellx1" * 50_000 + rb"x\cell\row" * 50_000 + b"}", "read"),
    "each row with an edge of its own": (
        lambda: HEAD + b"".join(rb"\trowd\cellx%d x\cell\row" % (each * 200) for each in range(20_000)) + b"}",
        "read",
    ),
    "a table of fonts without end": (lambda: HEAD + rb"{\fonttbl" + rb"\f1 x\'41" * 100_000 + b"}}", "read"),
    "pictures in pictures": (lambda: HEAD + rb"{\pict 89504e47" * 9000 + b"}" * 9000 + b"}", "read"),
    "a bitmap of four thousand million colours": (lambda: pict(overwritten(dib(31), 32)), "read"),
    "a metafile whose bitmap has a header of four thousand million bytes": (
        lambda: pict(overwritten(emf(image(31, "BMP")), 88 + 52)),
        "read",
    ),
    "a picture without end": (lambda: HEAD + rb"{\pict\pngblip " + b"89504e47\n" * MANY, "damaged"),
    "a picture of nothing but escapes": (lambda: HEAD + rb"{\pict " + rb"\'e4" * 2**20 + b"}}", "read"),
    "a picture of bytes to beyond the end": (lambda: HEAD + rb"{\pict\bin4294967295 x}}", "damaged"),
    "a hundred thousand empty pictures": (lambda: HEAD + rb"{\pict}" * 100_000 + b"}", "read"),
    "HTML in groups": (lambda: rb"{\rtf1\fromhtml1 " + rb"{\*\htmltag <div>}" * 5000 + b"}", "too_deep"),
}  # fmt: skip


@pytest.mark.requirement("F-13", "I-06", "I-08")
@pytest.mark.parametrize(("name", "case"), [*(("a.doc", each) for each in DOCS), *(("a.rtf", each) for each in RTFS)])
def test_a_hostile_text_ends_with_a_reason_or_its_content_in_bounded_memory(name: str, case: str) -> None:
    make, expected = (DOCS | RTFS)[case]
    data = make()
    tracemalloc.start()
    try:
        found = outcome(data, name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found == expected
    assert peak < 100 * 2**20 + 20 * len(data)


def pictures_in_rtf() -> bytes:
    metafile, picture = emf(image(34, "BMP")).hex().encode(), image(32)
    in_bytes = rb"{\pict\pngblip\bin%d " % len(picture) + picture + b"}"
    return HEAD + rb"{\*\shppict{\pict\emfblip " + metafile + b"}}" + in_bytes + b"}"


def old_text() -> bytes:
    """A text of Word 95 in pieces, with a table."""
    paragraphs = [(7, style(1)), (11, style(0, b"\x18\x01")), (12, style(0, row(1000, 3000))), (17, style(0))]
    characters = [(3, b"\x5d\1\0"), (5, b"\x44\x04\0\3\0\0"), (17, b"\x41\1")]
    fonts = [("Arial", 238), ("Symbol", 2)]
    return old_file(b"Kopf\x01.\ra\x07b\x07\x07Ende\r", paragraphs, characters, fonts=fonts, order=[(7, 17), (0, 7)])


SMALL = {"doc": pictures_of_all_kinds, "rtf": pictures_in_rtf, "old.doc": old_text}


@pytest.mark.parametrize("ending", ["doc", "rtf"])
def test_a_text_cut_anywhere_is_damaged_or_read_but_never_a_fault(ending: str) -> None:
    data = sample(ending)
    found = {outcome(data[:cut], f"a.{ending}") for cut in range(8, len(data), len(data) // 40)}
    assert "damaged" in found
    assert found <= {*CODES, "read"}


@pytest.mark.parametrize("ending", ["doc", "rtf"])
def test_a_text_with_wrong_bytes_is_refused_or_read_but_never_a_fault(ending: str) -> None:
    chance, data = random.Random(7), sample(ending)  # noqa: S311
    for _ in range(150):
        changed = bytearray(data)
        for at in chance.choices(range(8, len(data)), k=chance.choice((1, 5, 50))):
            changed[at] = chance.randrange(256)
        assert outcome(bytes(changed), f"a.{ending}") in {*CODES, "read"}


@pytest.mark.parametrize("ending", SMALL)
def test_pictures_and_old_texts_with_wrong_bytes_or_cut_are_refused_or_read_but_never_a_fault(ending: str) -> None:
    chance, data = random.Random(8), SMALL[ending]()  # noqa: S311
    filled = [at for at, byte in enumerate(data) if byte]
    for _ in range(300):
        changed = bytearray(data)
        for at in chance.choices(filled, k=chance.choice((1, 3, 10))):
            changed[at] = chance.randrange(256)
        assert outcome(bytes(changed), f"a.{ending}") in {*CODES, "read"}
    assert {outcome(data[:cut], f"a.{ending}") for cut in range(8, len(data), len(data) // 40)} <= {*CODES, "read"}


def test_compressed_rtf_gives_no_more_than_it_says_and_no_fault() -> None:
    refers = b"\xff" + b"\x00\x0f" * 8  # eight references, each of seventeen bytes
    body = refers * 50_000
    packed = struct.pack("<II4sI", len(body), 1000, b"LZFu", 0) + body
    assert len(decompressed(packed)) == 1000
    for cut in range(16, 60):
        assert len(decompressed(packed[:cut])) <= 1000
    with pytest.raises(Unreadable) as refused:
        decompressed(struct.pack("<II4sI", 0, 2**32 - 1, b"LZFu", 0))
    assert refused.value.code == "too_large"
    assert outcome(compound(message("Betreff", "", None, _10090102=packed)), "a.msg") == "read"
