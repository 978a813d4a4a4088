"""Where the text of an RTF destination goes: to blocks, to a table of fonts or styles, to HTML, to one value, or to a
picture."""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from servers.cradle.processing.extract.encoding import paired
from servers.cradle.processing.extract.html import read_html
from servers.cradle.processing.extract.rtf_words import Font, charset, code_page
from servers.cradle.processing.extract.story import Story
from servers.cradle.processing.extraction import Block, Item

_HEADING = re.compile("title|heading ([1-9])")
_NO_DIGITS = bytes(set(range(256)) - set(b"0123456789abcdefABCDEF"))
_NAME = 100  # characters of a font's or style's name that are looked at


class Paragraph(NamedTuple):
    """What the paragraph is that a mark ends."""

    in_table: bool = False
    level: int = 0
    listed: bool = False


class Sink:
    """Takes the text of a destination, and the control words that it knows; of this one everything falls away."""

    def add(self, text: str) -> None:
        """Text, as it stands in the file."""

    def word(self, word: bytes, value: int, paragraph: Paragraph) -> bool:
        """Whether the control word is one of this destination's own."""
        del word, value, paragraph
        return False

    def close(self) -> None:
        """The end of the destination."""


class Text(Sink):
    """Running text. Its blocks are appended to `into`."""

    def __init__(self, into: list[Item]) -> None:
        self.numbered = False
        self._story = Story(into)
        self._pieces: list[str] = []
        self._edges: list[int] = []
        self._header = False

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def word(self, word: bytes, value: int, paragraph: Paragraph) -> bool:
        match word:
            case b"par" | b"sect":
                self._end_paragraph(paragraph)
            case b"nestcell":
                self._story.cell_paragraph(self._taken())
            case b"cell":
                self.numbered = False
                self._story.cell(self._taken())
            case b"row":
                self._story.row(self._edges, header=self._header)
            case b"trowd":
                self._edges, self._header = [], False
            case b"cellx":
                self._edges.append(value)
            case b"trhdr":
                self._header = True
            case _:
                return False
        return True

    def close(self) -> None:
        if self._pieces:
            self._end_paragraph(Paragraph())
        self._story.close()

    def _end_paragraph(self, paragraph: Paragraph) -> None:
        text = self._taken()
        listed, self.numbered = paragraph.listed or self.numbered, False
        if paragraph.in_table:
            self._story.cell_paragraph(text)
        else:
            self._story.paragraph(text, paragraph.level, listed=listed)

    def _taken(self) -> str:
        """The text since the last mark."""
        text, self._pieces = paired("".join(self._pieces)), []
        return text


@dataclass
class Fonts(Sink):
    """The table of fonts: number → font. `default` is the file's codec."""

    fonts: dict[int, Font]
    default: str
    _number: int = 0
    _name: str = ""
    _codec: str = ""

    def add(self, text: str) -> None:
        name, end, _ = text.partition(";")
        if len(self._name) < _NAME:
            self._name += name[:_NAME]
        if end:
            self.fonts[self._number] = Font(self._codec or self.default, self._name)
            self._name = self._codec = ""

    def word(self, word: bytes, value: int, paragraph: Paragraph) -> bool:
        if word == b"f":
            self._number = value
        elif word == b"fcharset":
            self._codec = charset(value, self.default)
        elif word == b"cpg":
            self._codec = code_page(value)
        return word in (b"f", b"fcharset", b"cpg")


@dataclass
class Styles(Sink):
    """The table of styles: number → level of heading, for those that are headings."""

    levels: dict[int, int]
    _number: int = 0
    _name: str = ""
    _level: int = 0

    def add(self, text: str) -> None:
        name, end, _ = text.partition(";")
        if len(self._name) < _NAME:
            self._name += name[:_NAME]
        if end:
            named = _HEADING.fullmatch(self._name.strip().lower())
            if level := int(named.group(1) or 1) if named else self._level:
                self.levels[self._number] = level
            self._number, self._name, self._level = 0, "", 0

    def word(self, word: bytes, value: int, paragraph: Paragraph) -> bool:
        if word == b"s":
            self._number = value
        elif word == b"outlinelevel":
            self._level = value + 1 if 0 <= value < 9 else 0
        return word in (b"s", b"outlinelevel")


class Value(Sink):
    """A destination that is one value, given to `then` at its end."""

    def __init__(self, then: Callable[[str], None]) -> None:
        self._then = then
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        self._pieces.append(text)

    def close(self) -> None:
        self._then("".join(self._pieces))


class PictureData(Sink):
    """A picture as hexadecimal digits or as bytes, given to `then` at its end where there is one."""

    def __init__(self, then: Callable[[bytes], None]) -> None:
        self._then = then
        self._digits = bytearray()
        self._bytes = bytearray()

    def digits(self, digits: bytes | bytearray) -> None:
        self._digits += digits.translate(None, _NO_DIGITS)

    def binary(self, data: bytes) -> None:
        self._bytes += data

    def close(self) -> None:
        even = len(self._digits) // 2 * 2
        if data := bytes(self._bytes) or binascii.unhexlify(self._digits[:even]):
            self._then(data)


class Markup(Sink):
    """HTML that a mail programme put into RTF (MS-OXRTFEX): text between tags, which are destinations of their own."""

    def __init__(self, into: list[Item]) -> None:
        self._into = into
        self._pieces: list[str] = []

    def add(self, text: str) -> None:
        self._pieces.append(html.escape(text, quote=False))

    def word(self, word: bytes, value: int, paragraph: Paragraph) -> bool:
        if word == b"par":
            self._pieces.append("\n")
        return word == b"par"

    def tag(self) -> Value:
        """Where a tag goes."""
        return Value(self._pieces.append)

    def close(self) -> None:
        text = paired("".join(self._pieces))
        self._into.extend(item for item in read_html(text) if isinstance(item, Block))
