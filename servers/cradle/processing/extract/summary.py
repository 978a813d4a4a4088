"""The properties of a compound file: its stream of the set `SummaryInformation` (MS-OLEPS 2.21, 2.25.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.compound import Compound
from servers.cradle.processing.extract.encoding import decode, squeezed
from servers.cradle.processing.extract.rtf_words import code_page

_TEXT, _TIME = b"\x1e\0\0\0", b"\x40\0\0\0"  # VT_LPSTR, VT_FILETIME
_PAGE, _TITLE, _MADE, _SAVED = 1, 2, 12, 13


class Summary(NamedTuple):
    """`dated` is when the file was saved last, else when it was made (`dates`)."""

    title: str = ""
    dated: str = ""


def summary(container: Compound) -> Summary:
    """The first set: a table of numbers and places, then the values. Property 1 is the code page of its texts.

    Raises:
        OSError and others of `compound.BROKEN`: it is damaged.
    """
    properties = container.read("\x05SummaryInformation")
    if len(properties) < 48:
        return Summary()
    section = properties[struct.unpack_from("<I", properties, 44)[0] :][: 2**20]
    count = min(int.from_bytes(section[4:8], "little"), (len(section) - 8) // 8)
    places = dict(struct.iter_unpack("<II", section[8 : 8 + 8 * count])) if count > 0 else {}
    values = {number: section[places[number] :] for number in (_PAGE, _TITLE, _MADE, _SAVED) if number in places}
    return Summary(_title(values), _time(values.get(_SAVED, b"")) or _time(values.get(_MADE, b"")))


def _title(values: dict[int, bytes]) -> str:
    value = values.get(_TITLE, b"")
    if value[:4] != _TEXT:
        return ""
    text = value[8 : 8 + int.from_bytes(value[4:8], "little")].rstrip(b"\0")
    codec = code_page(int.from_bytes(values.get(_PAGE, b"")[4:6], "little"))
    return squeezed(decode(text) if codec == "cp1252" else text.decode(codec, "replace"))


def _time(value: bytes) -> str:
    return dates.of_ticks(int.from_bytes(value[4:12], "little")) if value[:4] == _TIME else ""
