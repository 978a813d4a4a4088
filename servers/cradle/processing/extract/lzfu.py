"""Compressed RTF, as Outlook keeps it (MS-OXRTFCP): a window of 4096 bytes that begins with usual RTF."""

from __future__ import annotations

import struct

from servers.cradle.processing.extract.extractor import Unreadable

_BEGIN = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    + b"\r\n"
    + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
_WINDOW = 4096
MAX_SIZE = 64 * 2**20


def decompressed(data: bytes) -> bytes:
    """The RTF.

    Raises:
        Unreadable: `damaged`, or `too_large` where it is over 64 MiB.
    """
    if len(data) < 16 or data[8:12] not in (b"LZFu", b"MELA"):
        raise Unreadable("damaged", "The message's rich text is cut off or damaged. Save it again from Outlook.")
    (size,) = struct.unpack_from("<I", data, 4)
    if size > MAX_SIZE:
        raise Unreadable("too_large", f"The message's rich text is over {MAX_SIZE >> 20} MiB. Save it as text.")
    return data[16 : 16 + size] if data[8:12] == b"MELA" else _unpacked(data, size)


def _unpacked(data: bytes, size: int) -> bytes:
    """Up to `size` bytes. `held` is all that ever came; place p of the window is its last byte at a place ≡ p."""
    held = bytearray(_BEGIN)
    at, end = 16, len(_BEGIN) + size
    while at < len(data) and len(held) < end:
        control, at = data[at], at + 1
        for bit in range(8):
            if not control >> bit & 1:
                held += data[at : at + 1]
                at += 1
                continue
            token, at = int.from_bytes(data[at : at + 2], "big"), at + 2
            back = (len(held) - (token >> 4)) % _WINDOW
            if not back:  # the end: a reference to where the next byte goes
                return bytes(held[len(_BEGIN) : end])
            for _ in range((token & 15) + 2):
                held.append(held[-back] if back <= len(held) else 32)
    return bytes(held[len(_BEGIN) : end])
