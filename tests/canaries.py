"""A word that stands for a customer's content, every form in which it could be left behind, and the search for them.

A mark is 24 random capital letters, so nothing else on a machine holds it. A place is searched in whole: each file, and
what the compressed streams in it hold.
"""

from __future__ import annotations

import base64
import gzip
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
LENGTH, WINDOW = 24, 8
"""PostgreSQL's pglz puts a control byte before each eight literals: of the first 15 letters, eight stand together."""
LARGEST = 1 << 30
MAGIC = (b"\x1f\x8b\x08", b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
STREAM = 1 << 20


def new_mark() -> str:
    """A mark that was never used before."""
    return "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def forms_of(mark: str) -> dict[str, bytes]:
    """Every form of the mark that is searched for, by its name."""
    data = mark.encode()
    forms = {
        "raw": data,
        "lower case": mark.lower().encode(),
        "utf-16-le": mark.encode("utf-16-le"),
        "utf-16-be": mark.encode("utf-16-be"),
        "hex": data.hex().encode(),
        "hex in capitals": data.hex().upper().encode(),
    }
    for offset in range(3):
        whole = base64.b64encode(b"\0" * offset + data)
        forms[f"base64 at {offset}"] = whole[4 if offset else 0 : -4]  # the ends depend on the neighbours
    windows = range(WINDOW)
    return forms | {f"letters from {start}": data[start : start + WINDOW] for start in windows}


def float_forms(vector: np.ndarray) -> dict[str, bytes]:
    """Pieces of eight numbers of a vector, as float32 and float16 hold them."""
    starts = range(0, len(vector) - 8, len(vector) // 6)
    pieces = {start: vector[start : start + 8] for start in starts}
    return {
        f"{kind} from {start}": piece.astype(kind).tobytes()
        for kind in ("<f4", "<f2")
        for start, piece in pieces.items()
    }


def found_in(places: Iterable[Path], forms: dict[str, bytes]) -> set[tuple[str, str]]:
    """The files that hold a form, each with the form's name; a form in a file's own name counts."""
    found = set()
    for path in files_in(places):
        name = os.fsencode(path)
        found |= {(str(path), f"{form} in the name") for form, data in forms.items() if data in name}
        found |= {(str(path), form) for form in forms_in(path, forms)}
    return found


def files_in(places: Iterable[Path]) -> Iterator[Path]:
    """Every file at or below the places (links to folders are followed at the top only)."""
    for place in places:
        if place.is_file():
            yield place
        for folder, _, names in os.walk(place.resolve()):
            yield from (Path(folder) / name for name in names)


def forms_in(path: Path, forms: dict[str, bytes]) -> set[str]:
    """The forms that a file holds, in plain sight or compressed (gzip and zlib)."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST:
            return set()
        data = path.read_bytes()
    except FileNotFoundError:
        return set()
    texts = [data, *_streams(data)]
    return {name for name, form in forms.items() if any(form in text for text in texts)}


def _streams(data: bytes) -> Iterator[bytes]:
    """What could be a compressed stream; in a layer, two bytes of thousands of places look like one's beginning."""
    view = memoryview(data)  # what looks like a stream is not copied, a megabyte each
    for magic in MAGIC:
        start = data.find(magic)
        while start >= 0:
            yield _expanded(view[start : start + STREAM], zlib.MAX_WBITS | 32)
            start = data.find(magic, start + 1)


def _expanded(data: memoryview, bits: int) -> bytes:
    try:
        return zlib.decompressobj(bits).decompress(data, STREAM)
    except zlib.error:
        return b""


def plant(folder: Path, mark: str, vector: np.ndarray) -> set[str]:
    """Puts each form of a mark and a vector into files of a folder; the names of all forms that lie there now."""
    forms = forms_of(mark) | float_forms(vector)
    folder.mkdir(parents=True)
    for number, data in enumerate(forms.values()):
        (folder / f"{number}.bin").write_bytes(b"before " + data + b" after")
    (folder / "stream.gz").write_bytes(gzip.compress(b"before " + mark.encode() + b" after"))
    return set(forms)
