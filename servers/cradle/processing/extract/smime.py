"""Signed messages and files (S/MIME, CMS: RFC 5652 and 8551). What is signed is read without any key; who signed it is
not looked at. What is encrypted can only be read by its recipient."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from servers.cradle.processing.extract.detect import CMS, CMS_BEGIN
from servers.cradle.processing.extract.extractor import Damaged, File, Inner, Unreadable, inner_items
from servers.cradle.processing.extraction import Item

_SIGNED = 2
_CONTENT, _STRING, _STRING_OF_PIECES = 0xA0, 0x04, 0x24
MAX_DEPTH = 20
_HEADER = re.compile(rb"(?:content-|mime-version)[\w-]*:", re.IGNORECASE)
_ENCRYPTED = (
    "The message is encrypted for its recipient. Open it in the mail programme, save it unencrypted and send it."
)


class Smime:
    name = "smime"
    version = "1"
    media_types = frozenset({CMS})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The items of what is signed; none of a signature that stands beside what it signs.

        Raises:
            Unreadable: `encrypted` or `damaged`.
        """
        data = file.data
        begin = CMS_BEGIN.match(data)
        if begin is None or begin[1][-1] != _SIGNED:
            raise Unreadable("encrypted", _ENCRYPTED)
        content = _signed(data)
        if content is None:
            return
        inner.require(len(content))
        name = re.sub(r"\.p7[mscz]$", "", file.name, flags=re.IGNORECASE) or "signed"
        name += ".eml" if _HEADER.match(content) else ""
        yield from inner_items(inner, content, name, file.depth + 1)


class _Element(NamedTuple):
    """One element of BER (X.690): its tag, and where its content begins and ends, and the element too."""

    tag: int
    begin: int
    end: int
    after: int


def _signed(data: bytes) -> bytes | None:
    """The content of ContentInfo → SignedData → EncapsulatedContentInfo; None where that is elsewhere.

    Raises:
        Damaged: it is cut off, or no such message.
    """
    try:
        _, explicit = islice(_children(data, _element(data, 0, 0), 0), 2)
        signed = next(_children(data, explicit, 1))
        held = next(islice(_children(data, signed, 2), 2, None))
        content = next((each for each in _children(data, held, 3) if each.tag == _CONTENT), None)
        return None if content is None else b"".join(_pieces(data, next(_children(data, content, 4)), 5))
    except (IndexError, ValueError, StopIteration):
        raise Damaged from None


def _pieces(data: bytes, string: _Element, depth: int) -> Iterator[bytes]:
    """The bytes of a string, which may come in several ones, as a stream of unknown length does."""
    if string.tag == _STRING:
        yield data[string.begin : string.end]
    elif string.tag == _STRING_OF_PIECES:
        for each in _children(data, string, depth):
            yield from _pieces(data, each, depth + 1)
    else:  # of PKCS #7, before CMS: any content
        yield data[string.begin : string.end]


def _children(data: bytes, element: _Element, depth: int) -> Iterator[_Element]:
    at = element.begin
    while at < element.end:
        child = _element(data, at, depth + 1)
        if child.after > element.end:
            raise ValueError
        yield child
        at = child.after


def _element(data: bytes, at: int, depth: int) -> _Element:
    """The element that begins there. One of unknown length ends at two zero bytes where the next would begin."""
    if depth > MAX_DEPTH or data[at] & 31 == 31:
        raise ValueError
    tag, size, begin = data[at], data[at + 1], at + 2
    if size != 0x80:
        if size > 0x80:
            begin += size & 127
            size = int.from_bytes(data[at + 2 : begin], "big")
        if begin + size > len(data):
            raise ValueError
        return _Element(tag, begin, begin + size, begin + size)
    end = begin
    while data[end : end + 2] != b"\0\0":
        end = _element(data, end, depth + 1).after
    return _Element(tag, begin, end, end + 2)
