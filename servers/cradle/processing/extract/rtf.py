"""RTF: paragraphs, headings, lists, tables, notes, headers, text boxes, pictures, and the files that it holds."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from typing import NamedTuple

from servers.cradle.processing.extract import rtf_words
from servers.cradle.processing.extract.detect import RTF
from servers.cradle.processing.extract.encoding import raised, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.ole_object import unpacked
from servers.cradle.processing.extract.pictures import FEW_CHARS, Picture, chars_of, for_ocr, scans
from servers.cradle.processing.extract.rtf_sinks import (
    Fonts,
    Markup,
    Paragraph,
    PictureData,
    Sink,
    Styles,
    Text,
    Value,
)
from servers.cradle.processing.extract.rtf_words import Font
from servers.cradle.processing.extraction import About, Attachment, Item

MAX_DEPTH = 10_000
_TOKEN = re.compile(
    rb"(?P<bytes>[^\\{}\r\n]+)"
    rb"|\\(?P<word>[a-zA-Z]{1,32})(?P<value>-?[0-9]{1,10})?\ ?"
    rb"|(?P<hex>(?:\\'[0-9a-fA-F]{2}){1,1000})"
    rb"|(?P<open>\{)|(?P<close>\})"
    rb"|\\(?P<symbol>[^a-zA-Z])",
    re.DOTALL,
)
_DAMAGED = "The file is cut off: groups in it do not end. Open it in Word, save it again and send it."
_DEEP = f"The file nests groups deeper than {MAX_DEPTH}; it was not read. Open it in Word and save it again."
_NO_FILE = "The document only names the object, or it is damaged; it was not read."


class Rtf:
    name = "rtf"
    version = "9"
    media_types = frozenset({RTF})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """The body in order, then notes, headers, footers, comments and text boxes, then what is embedded. A document
        with next to no text gives its pictures to OCR.

        Raises:
            Unreadable: `damaged`, `too_deep`.
        """
        yield from _Reader(file.data, pictured=True).items(file.depth, inner)


def read_rtf(data: bytes, depth: int, inner: Inner) -> Iterator[Item]:
    """As `Rtf.extract`, for the text of a mail: HTML that a mail programme put into RTF is read as HTML.

    A mail has text of its own beside it, so pictures are none of it.
    """
    yield from _Reader(data).items(depth, inner)


class _State(NamedTuple):
    """What a group inherits and its end takes back.

    `to` is None where text is left out; `font` -1 is the default one; `fallback` is how many bytes after a `\\u` stand
    for it in old readers; `rtf_only` is what HTML in RTF does not have; of what is `pictured`, pictures are read.
    """

    to: Sink | None
    paragraph: Paragraph = Paragraph()
    font: int = -1
    fallback: int = 1
    deleted: bool = False
    hidden: bool = False
    raised: bool = False
    rtf_only: bool = False
    pictured: bool = True

    @property
    def unseen(self) -> bool:
        return self.deleted or self.hidden or (self.rtf_only and isinstance(self.to, Markup))


class _Reader:
    def __init__(self, data: bytes, *, pictured: bool = False) -> None:
        self._data = data
        self._out: list[Item] = []
        self._beside: list[Item] = []
        self._objects: list[tuple[str, str]] = []
        self._object = ""
        self._pictures: list[Picture] = []
        self._chars = 0
        self._body = Text(self._out)
        self._state = _State(self._body, pictured=pictured)
        self._groups: list[_State] = []
        self._optional = False
        self._raw = bytearray()
        self._passing = 0
        self.codec = "cp1252"
        self.default_font = 0
        self.fonts: dict[int, Font] = {}
        self.levels: dict[int, int] = {}

    def items(self, depth: int, inner: Inner) -> Iterator[Item]:
        at: int | None = 0
        while at is not None:
            at = yield from self._tokens(at)
        if self._groups:
            raise Unreadable("damaged", _DAMAGED)
        self._body.close()
        yield from self._taken()
        self._out = self._beside
        yield from self._taken()
        yield from for_ocr(self._chars, scans(self._pictures, 0, depth, inner))
        for number, (name, digits) in enumerate(self._objects, 1):
            shown = squeezed(name)[:200] or f"object-{number}"
            if (held := unpacked(_native(digits))) and held.data:
                yield from inner_items(inner, held.data, held.name or shown, depth + 1)
            else:
                yield Attachment(shown, "", 0, "not_a_file", _NO_FILE)

    def _tokens(self, at: int) -> Iterator[Item]:
        """Reads on from a place, up to binary data; where that ends, None at the end of the document."""
        for token in _TOKEN.finditer(self._data, at):
            kind = token.lastgroup
            if kind == "bytes":
                self._bytes(token.group())
            elif kind == "hex":
                self._bytes(bytes.fromhex(token.group().replace(b"\\'", b"").decode()))
            elif kind == "open":
                self._open()
            elif kind == "close":
                self._close()
                if not self._groups:
                    return None
            elif kind == "symbol":
                self._symbol(token.group("symbol"))
            else:
                word, value = token.group("word"), token.group("value")
                if word == b"bin":
                    return self._binary(token.end(), max(int(value or 0), 0))
                self._word(word, int(value) if value else 1)
            if self._out:
                yield from self._taken()
        return None

    def _taken(self) -> Iterator[Item]:
        """What has been read since the last time."""
        self._chars += sum(map(chars_of, self._out))
        yield from self._out
        self._out.clear()

    def _binary(self, at: int, size: int) -> int:
        """Takes binary data; where it ends."""
        if isinstance(self._state.to, PictureData):
            self._state.to.binary(self._data[at : at + size])
        return at + size

    def _bytes(self, data: bytes) -> None:
        """Bytes of text. Those that only old readers show, after a `\\u`, are passed over."""
        if self._passing:
            data, self._passing = data[self._passing :], max(self._passing - len(data), 0)
        if self._state.to is not None:
            self._raw += data

    def _say(self, text: str = "") -> None:
        """Gives on the bytes held so far, then the text."""
        self._passing = 0
        if not self._raw and not text:
            return
        if isinstance(self._state.to, PictureData):
            self._state.to.digits(self._raw)
        elif self._state.to is not None and not self._state.unseen:
            font = self._font()
            said = font.text(bytes(self._raw)) + font.shown(text)
            self._state.to.add(raised(said) if self._state.raised else said)
        self._raw.clear()

    def _font(self) -> Font:
        number = self.default_font if self._state.font < 0 else self._state.font
        return self.fonts.get(number) or Font(self.codec)

    def _open(self) -> None:
        self._say()
        if len(self._groups) >= MAX_DEPTH:
            raise Unreadable("too_deep", _DEEP)
        self._groups.append(self._state)
        self._optional = False

    def _close(self) -> None:
        self._say()
        to = self._state.to
        if self._groups:
            self._state = self._groups.pop()
        if to is not None and to is not self._state.to:
            to.close()

    def _symbol(self, symbol: bytes) -> None:
        if symbol == b"*":
            self._optional = True
        elif symbol in b"\r\n":
            self._word(b"par", 1)
        else:
            self._say(rtf_words.SYMBOLS.get(symbol, ""))

    def _word(self, word: bytes, value: int) -> None:
        self._say()
        optional, self._optional = self._optional, False
        state = self._state
        if state.to is None:
            return
        if word == b"u":
            self._say(_character(value))
            self._passing = state.fallback
        elif (sign := rtf_words.SIGNS.get(word)) is not None:
            self._say(sign)
        elif state.unseen and word == b"par":
            return  # the mark is deleted too: the paragraphs are one
        elif state.to.word(word, value, state.paragraph):
            return
        elif (change := _CHANGES.get(word)) is not None:
            self._state = change(self, state, value)
        else:
            self._destination(word, optional=optional)

    def _destination(self, word: bytes, *, optional: bool) -> None:
        to = self._state.to
        if word in rtf_words.ASIDES:
            pictured = self._state.pictured and word in rtf_words.BOXES
            self._state = self._state._replace(to=Text(self._beside), paragraph=Paragraph(), pictured=pictured)
        elif word == b"pict":
            self._state = self._state._replace(to=self._picture())
        elif word == b"sp":
            self._state = self._state._replace(to=Sink())  # of a shape's properties only pictures are read
        elif (make := _VALUES.get(word)) is not None:
            self._state = self._state._replace(to=make(self))
        elif word == b"htmltag" and isinstance(to, Markup):
            self._state = self._state._replace(to=to.tag())
        elif word in rtf_words.NUMBERS:
            if isinstance(to, Text):
                to.numbered = True
            self._state = self._state._replace(to=None)
        elif word in rtf_words.LEFT_OUT or (optional and word not in rtf_words.OPTIONAL):
            self._state = self._state._replace(to=None)

    def _picture(self) -> Sink | None:
        """Where a picture goes; once there is text enough, none is needed."""
        if self._chars >= FEW_CHARS or self._state.unseen or not self._state.pictured:
            return None
        return PictureData(lambda data: self._pictures.append(Picture(data)))

    def encapsulated(self) -> Sink:
        return Markup(self._out)

    def titled(self, title: str) -> None:
        self._out.append(About(title=squeezed(title)))

    def named_object(self, name: str) -> None:
        self._object = name

    def embedded(self, digits: str) -> None:
        self._objects.append((self._object, digits))
        self._object = ""


_VALUES: dict[bytes, Callable[[_Reader], Sink]] = {
    b"fonttbl": lambda reader: Fonts(reader.fonts, reader.codec),
    b"stylesheet": lambda reader: Styles(reader.levels),
    b"title": lambda reader: Value(reader.titled),
    b"objclass": lambda reader: Value(reader.named_object),
    b"objdata": lambda reader: Value(reader.embedded),
}


def _code_page(codec: str) -> _Change:
    def change(reader: _Reader, state: _State, value: int) -> _State:
        reader.codec = codec
        return state

    return change


def _ansi_code_page(reader: _Reader, state: _State, value: int) -> _State:
    reader.codec = rtf_words.code_page(value)
    return state


def _default_font(reader: _Reader, state: _State, value: int) -> _State:
    reader.default_font = value
    return state


def _paragraph(**fields: object) -> _Change:
    return lambda reader, state, value: state._replace(paragraph=state.paragraph._replace(**fields))


def _style(reader: _Reader, state: _State, value: int) -> _State:
    return state._replace(paragraph=state.paragraph._replace(level=reader.levels.get(value, 0)))


def _level(reader: _Reader, state: _State, value: int) -> _State:
    return state._replace(paragraph=state.paragraph._replace(level=value + 1 if 0 <= value < 9 else 0))


_Change = Callable[[_Reader, _State, int], _State]
_CHANGES: dict[bytes, _Change] = {
    **{word: _code_page(codec) for word, codec in rtf_words.CODE_PAGES.items()},
    b"ansicpg": _ansi_code_page,
    b"deff": _default_font,
    b"f": lambda reader, state, value: state._replace(font=value),
    b"plain": lambda reader, state, value: state._replace(font=-1, deleted=False, hidden=False, raised=False),
    b"uc": lambda reader, state, value: state._replace(fallback=max(value, 0)),
    b"deleted": lambda reader, state, value: state._replace(deleted=value != 0),
    b"v": lambda reader, state, value: state._replace(hidden=value != 0),
    b"super": lambda reader, state, value: state._replace(raised=value != 0),
    b"sub": lambda reader, state, value: state._replace(raised=False),
    b"nosupersub": lambda reader, state, value: state._replace(raised=False),
    b"htmlrtf": lambda reader, state, value: state._replace(rtf_only=value != 0),
    b"fromhtml": lambda reader, state, value: state._replace(to=reader.encapsulated()),
    b"pard": lambda reader, state, value: state._replace(paragraph=Paragraph()),
    b"intbl": _paragraph(in_table=True),
    b"s": _style,
    b"outlinelevel": _level,
    b"ls": lambda reader, state, value: state._replace(paragraph=state.paragraph._replace(listed=value > 0)),
}


def _character(code: int) -> str:
    """The character of a `\\u`: signed 16 bits, of which some writers leave out the sign."""
    return chr(code % 0x10000 if code < 0x10000 or code > 0x10FFFF else code)


def _native(digits: str) -> bytes:
    """The file in an embedded object (MS-OLEDS 2.2.5): after version and kind three names with their lengths."""
    try:
        data, at = bytes.fromhex(digits), 8
        for _ in range(3):
            at += 4 + struct.unpack_from("<I", data, at)[0]
        (size,) = struct.unpack_from("<I", data, at)
    except (ValueError, struct.error):
        return b""
    return data[at + 4 : at + 4 + size]
