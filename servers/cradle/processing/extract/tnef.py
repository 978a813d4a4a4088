"""What Outlook and Exchange put into `winmail.dat` (TNEF, MS-OXTNEF): a message's text and its attachments.

After a mark come attributes: level (1 of the message, 2 of an attachment), id, length, value, a checksum. Some of them
hold MAPI properties, a list of type, number and value in steps of four bytes. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from servers.cradle.processing.extract import mapi
from servers.cradle.processing.extract.detect import TNEF
from servers.cradle.processing.extract.encoding import clean, decode
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.mail import MAX_PARTS
from servers.cradle.processing.extract.rtf_words import code_page
from servers.cradle.processing.extraction import Block, Item

_ATTRIBUTE = struct.Struct("<BII")
_SUBJECT, _BODY, _PROPERTIES, _CODE_PAGE = 0x00018004, 0x0002800C, 0x00069003, 0x00069007
_BEGINS, _TITLE, _DATA, _OF_ATTACHMENT = 0x00069002, 0x00018010, 0x0006800F, 0x00069005
_PLAIN = {_SUBJECT: mapi.SUBJECT, _BODY: mapi.BODY, _TITLE: mapi.NAME, _DATA: mapi.DATA}
"""Attributes that hold one property's value, a text in the message's code page."""
_SIZES = {2: 4, 3: 4, 4: 4, 5: 8, 6: 8, 7: 8, 10: 4, 11: 4, 0x14: 8, 0x40: 8, 0x48: 16}
_NARROW, _WIDE, _BINARY, _OBJECT, _TIME, _MANY = 0x1E, 0x1F, 0x102, 0x0D, 0x40, 0x1000
_MAX_PROPERTIES = 50_000
_DAMAGED = "The message (winmail.dat) is cut off or damaged: what came before is read. Send its files by themselves."


class Tnef:
    name = "tnef"
    version = "4"
    media_types = frozenset({TNEF})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """As of an Outlook message: subject, sender and date, the body, then attachments in order.

        Raises:
            Unreadable: `damaged`, after what stands before the damage; `too_many_parts`.
        """
        message = _Message(file.data)
        yield from mapi.message_items(message.properties, file.depth, inner)
        for number, attached in enumerate(message.attachments, 1):
            if number > MAX_PARTS:
                raise Unreadable(
                    "too_many_parts", f"The message has more than {MAX_PARTS} files; it was not read further."
                )
            data, name = attached.content(), mapi.attachment_name(attached) or f"attachment-{number}"
            yield from inner_items(inner, data, name, file.depth + 1)
        if message.damaged:
            raise Unreadable("damaged", _DAMAGED)


def body_blocks(data: bytes) -> list[Block]:
    """The blocks of the message's text, to compare with those of the mail that carries it; none of a damaged one."""
    try:
        items = mapi.body_items(_Message(data).properties, 0, _Nothing())
        return [item for item in items if isinstance(item, Block)]
    except Unreadable:
        return []


class _Nothing:
    """Reads none of the files that stand in a text."""

    left = 0

    def require(self, size: int) -> None: ...

    def __call__(self, data: bytes, name: str, depth: int) -> Iterator[Item]:
        return iter(())


class _Value(NamedTuple):
    kind: int
    data: bytes


class _Properties:
    """The properties of the message or of an attachment: number → value, the first of each."""

    def __init__(self) -> None:
        self.found: dict[int, _Value] = {}
        self.codec = ""

    def text(self, number: int) -> str:
        kind, data = self.found.get(number, (0, b""))
        if kind == _WIDE:
            return clean(data.decode("utf-16-le", "replace")).rstrip("\0")
        if kind != _NARROW:
            return ""
        data = data.rstrip(b"\0")
        return clean(data.decode(self.codec, "replace")) if self.codec else decode(data)

    def data(self, number: int) -> bytes:
        kind, data = self.found.get(number, (0, b""))
        return data if kind in (_BINARY, _OBJECT) else b""

    def ticks(self, number: int) -> int:
        kind, data = self.found.get(number, (0, b""))
        return int.from_bytes(data, "little") if kind == _TIME else 0

    def content(self) -> bytes:
        """An attachment's bytes; of an object those behind its interface's id: a message in TNEF, or a file of OLE."""
        kind, data = self.found.get(mapi.DATA, (0, b""))
        return data[16:] if kind == _OBJECT else data

    def put(self, number: int, kind: int, data: bytes) -> None:
        if data:
            self.found.setdefault(number, _Value(kind, data))


class _Message:
    """The attributes up to the end, or to where the file is `damaged`."""

    def __init__(self, data: bytes) -> None:
        self.properties = _Properties()
        self.attachments: list[_Properties] = []
        self.damaged = False
        try:
            for identifier, value in self._attributes(data):
                self._take(identifier, value)
        except struct.error:
            self.damaged = True
        for each in self.attachments:
            each.codec = self.properties.codec

    @staticmethod
    def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
        """Checksums are not looked at: old programs write wrong ones. What follows the attributes is no part of it."""
        at = 6
        while at + _ATTRIBUTE.size <= len(data) and data[at] in (1, 2):
            _, identifier, size = _ATTRIBUTE.unpack_from(data, at)
            at += _ATTRIBUTE.size
            if at + size > len(data):
                raise struct.error
            yield identifier, data[at : at + size]
            at += size + 2

    def _take(self, identifier: int, value: bytes) -> None:
        if identifier == _BEGINS:
            self.attachments.append(_Properties())
        elif identifier == _CODE_PAGE:
            self.properties.codec = code_page(struct.unpack_from("<I", value)[0])
        elif identifier in (_PROPERTIES, _OF_ATTACHMENT):
            _take_properties(value, self._of(identifier == _PROPERTIES))
        elif (number := _PLAIN.get(identifier)) is not None:
            of = self._of(identifier in (_SUBJECT, _BODY))
            of.put(number, _BINARY if identifier == _DATA else _NARROW, value)

    def _of(self, message: bool) -> _Properties:
        if message:
            return self.properties
        if not self.attachments:
            raise struct.error
        return self.attachments[-1]


def _take_properties(data: bytes, into: _Properties) -> None:
    """The properties of a list. A value of several is passed over: none that is read here has them."""
    (count,) = struct.unpack_from("<I", data)
    at = 4
    for _ in range(min(count, _MAX_PROPERTIES)):
        kind, number = struct.unpack_from("<HH", data, at)
        at += 4
        if number >= 0x8000:
            at = _after_name(data, at)
        base = kind & ~_MANY
        size = _SIZES.get(base)
        values = 1
        if size is None or kind & _MANY:
            (values,) = struct.unpack_from("<I", data, at)
            at += 4
        if size is not None and kind & _MANY:
            at += size * values
            continue
        for _ in range(values):
            if (length := size) is None:
                if base not in (_NARROW, _WIDE, _BINARY, _OBJECT):
                    raise struct.error
                (length,) = struct.unpack_from("<I", data, at)
                at += 4
            if at + length > len(data):
                raise struct.error
            if not kind & _MANY and number < 0x8000:
                into.put(number, base, data[at : at + length])
            at += (length + 3) // 4 * 4


def _after_name(data: bytes, at: int) -> int:
    """Where the value of a property begins that has a name: an id of 16 bytes, then a number, or a text's length."""
    (by_name,) = struct.unpack_from("<I", data, at + 16)
    (size,) = struct.unpack_from("<I", data, at + 20)
    return at + 24 + ((size + 3) // 4 * 4 if by_name else 0)
