"""The streams of a Word 97-2003 file (MS-DOC): text out of its pieces, styles, fonts and the places of its stories."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import NamedTuple

from servers.cradle.processing.extract import doc_properties, rtf_words
from servers.cradle.processing.extract.doc_properties import Characters, Paragraph, Run, characters
from servers.cradle.processing.extract.encoding import raised
from servers.cradle.processing.extract.extractor import Locked, Unreadable
from servers.cradle.processing.extract.symbol_font import is_symbol, signs

DAMAGED = "The document is cut off or damaged. Open it in Word and save it as DOCX."
_OLD = "The document is older than Word 6.0 or of an East Asian Word 95 and was not read. Save it as DOCX in Word."
_WORD = 0xA5EC
_WORD_97 = 0xBF  # the least nFib of Word 97 to 2003 (MS-DOC 2.5.1)
LOCK, _TABLE_1 = 0x0100, 0x0200
_STYLES, _CHARACTERS, _PARAGRAPHS, _FONTS, _PIECES = 1, 12, 13, 15, 33  # places in FibRgFcLcb97
_ANCHORS, _DRAWINGS = 40, 50
_STORIES = (0x4C, 0x50, 0x54, 0x5C, 0x60, 0x64, 0x68)
_TITLE = 62  # the style's number in every language of Word, as 1 to 9 are those of headings
_OF_CHARACTERS = 2
NESTED = 10
"""Word nests styles no deeper."""
_REPEATED = 4  # characters for a byte of the file at most: pieces may overlap, but no writer lets them
_FIELD = re.compile("[\x13\x14\x15]")
_NO_MARK = re.compile("[^\x07\x0c]")
_UNSEEN = re.compile("[^\r\x07\x0c\x13-\x15]")


class Piece(NamedTuple):
    """Characters `first` to `last` of the text, from `place` in the stream on, `width` bytes each."""

    first: int
    last: int
    place: int
    width: int


class Font(NamedTuple):
    """A font's name, and the codec of text in it, '' where it has that of the file."""

    name: str
    codec: str = ""


_NO_FONT = Font("")


class Form(NamedTuple):
    """What a file information block leads to: lengths of stories, pieces of text, fonts, levels of styles, runs, and
    the tables of drawings. `codec` is that of text whose font has none of its own, '' where text is Unicode; `raising`
    are the styles of characters above the line."""

    stories: tuple[int, ...]
    pieces: list[Piece]
    fonts: list[Font]
    levels: dict[int, int]
    paragraphs: list[Run]
    characters: list[Run]
    codec: str = ""
    anchors: bytes = b""
    drawings: bytes = b""
    raising: frozenset[int] = frozenset()


def form_of(stream: bytes, tables: tuple[bytes, bytes]) -> Form:
    """What the file information block (Fib) of a file of Word 97 to 2003 leads to.

    Raises:
        Unreadable: `damaged`, `encrypted`, or `unsupported_format` for older files.
    """
    table = tables[1 if _checked_flags(stream) & _TABLE_1 else 0]

    def part(index: int) -> bytes:
        """A part of the table stream, whose place and length stand at the index."""
        place, length = struct.unpack_from("<II", stream, 0x9A + 8 * index)
        return table[place : place + length]

    return Form(
        tuple(struct.unpack_from("<I", stream, place)[0] for place in _STORIES),
        list(pieces(part(_PIECES), len(stream))),
        list(_fonts(part(_FONTS))),
        levels(part(_STYLES)),
        doc_properties.paragraph_runs(stream, part(_PARAGRAPHS)),
        doc_properties.character_runs(stream, part(_CHARACTERS)),
        anchors=part(_ANCHORS),
        drawings=part(_DRAWINGS),
        raising=raising(part(_STYLES)),
    )


class Word:
    """A file's text and what it says of it; characters count from 0, and nothing that is left out moves them."""

    def __init__(self, stream: bytes, data: bytes, form: Form) -> None:
        self.stream, self.data, self.form = stream, data, form
        self._starts = [piece.first for piece in form.pieces]
        self._known: dict[int, Paragraph] = {}
        told = ((run, characters(run, form.raising)) for run in form.characters)
        self._telling = [(run, said) for run, said in told if said != Characters()]
        self._ends = [run.end for run, _ in self._telling]
        self.text = _without_codes("".join(self._texts()))

    def stories(self) -> Iterator[tuple[int, int]]:
        """First and last character of body, footnotes, headers, comments, endnotes, text boxes and headers' ones."""
        return pairwise(accumulate(self.form.stories, initial=0))

    def paragraph(self, at: int) -> Paragraph:
        """The properties of the paragraph whose mark is the character `at`."""
        run = doc_properties.run_at(self.form.paragraphs, self._place(at))
        if run is None:
            return Paragraph()
        if run.start not in self._known:
            self._known[run.start] = doc_properties.paragraph(run, self.form.levels, self.data)
        return self._known[run.start]

    def characters(self, at: int) -> Characters:
        """The properties of the character `at`."""
        place = self._place(at)
        index = bisect_right(self._ends, place)
        run, said = self._telling[index] if index < len(self._telling) else (None, Characters())
        return said if run and run.start <= place else Characters()

    def _place(self, at: int) -> int:
        """Where the character `at` stands in the stream."""
        piece = self.form.pieces[bisect_right(self._starts, at) - 1]
        return piece.place + (at - piece.first) * piece.width

    def _texts(self) -> Iterator[str]:
        """The pieces' texts; characters that are deleted or hidden are NUL, and those that are raised or of the font
        Symbol are what they look like."""
        for piece in self.form.pieces:
            end = piece.place + (piece.last - piece.first) * piece.width
            content = self.stream[piece.place : end]
            text, at = _characters(content, piece.width, "latin-1" if self.form.codec else "cp1252"), 0
            for index in range(bisect_right(self._ends, piece.place), len(self._telling)):
                run, said = self._telling[index]
                if run.start >= end:
                    break
                first = max((run.start - piece.place) // piece.width, at)
                last = max((run.end - piece.place) // piece.width, first)
                yield self._shown(text[at:first], Characters())
                yield self._shown(text[first:last], said)
                at = last
            yield self._shown(text[at:], Characters())

    def _shown(self, text: str, said: Characters) -> str:
        if said.deleted:
            return _NO_MARK.sub("\0", text)
        if said.hidden:
            return _UNSEEN.sub("\0", text)
        font = self.form.fonts[said.font] if 0 <= said.font < len(self.form.fonts) else _NO_FONT
        if self.form.codec:
            text = _decoded(text.encode("latin-1"), font, self.form.codec)
        if said.symbol:
            text = text.replace("(", chr(said.symbol))  # for which it stands (MS-DOC 2.6.1, sprmCSymbol)
        text = signs(text) if is_symbol(font.name) else text
        return raised(text) if said.above else text


def _checked_flags(stream: bytes) -> int:
    """The flags of a file information block (FibBase) that can be read."""
    if len(stream) < 0x20:
        raise Unreadable("damaged", DAMAGED)
    signature, version, flags = struct.unpack_from("<HH6xH", stream)
    if version < _WORD_97:
        raise Unreadable("unsupported_format", _OLD)
    if signature != _WORD:
        raise Unreadable("damaged", DAMAGED)
    if flags & LOCK:
        raise Locked
    if len(stream) < 0x9A + 8 * (_PIECES + 1):
        raise Unreadable("damaged", DAMAGED)
    return flags


def pieces(part: bytes, size: int, *, narrow: bool = False) -> Iterator[Piece]:
    """The table of pieces (Clx): after lists of properties (1, length in 2 bytes) it itself (2, length in 4 bytes).

    Args:
        size: length of the stream in which the pieces are.
        narrow: every character has one byte, and no bit says so.
    """
    at = 0
    while part[at : at + 1] == b"\x01":
        at += 3 + int.from_bytes(part[at + 1 : at + 3], "little")
    table = part[at + 5 :][: int.from_bytes(part[at + 1 : at + 5], "little")]
    count = (len(table) - 4) // 12
    if part[at : at + 1] != b"\x02" or count < 1:
        raise Unreadable("damaged", DAMAGED)
    starts = struct.unpack_from(f"<{count + 1}I", table)
    if starts[0] or starts[-1] > _REPEATED * size:
        raise Unreadable("damaged", DAMAGED)
    for index, (first, last) in enumerate(pairwise(starts)):
        (where,) = struct.unpack_from("<I", table, 4 * (count + 1) + 8 * index + 2)
        width = 1 if narrow or where & 0x40000000 else 2
        place = where if narrow else (where & 0x3FFFFFFF) // (2 // width)
        if last < first or place + (last - first) * width > size:
            raise Unreadable("damaged", DAMAGED)
        yield Piece(first, last, place, width)


def _decoded(content: bytes, font: Font, codec: str) -> str:
    """The text, with a character for each byte also where the font's codec has pairs of them."""
    text = rtf_words.Font(font.codec or codec, font.name).text(content)
    return text if len(text) == len(content) else content.decode("cp1252", "replace")


def _characters(content: bytes, width: int, codec: str) -> str:
    """The text, with a character for each byte or pair of bytes, so that places are kept."""
    if width == 1:
        return content.decode(codec, "replace")
    text = content.decode("utf-16-le", "replace")
    if 2 * len(text) == len(content):
        return text
    return "".join(map(chr, struct.unpack(f"<{len(content) // 2}H", content)))


def _without_codes(text: str) -> str:
    """The text with NUL for the code of each field (from U+0013 to U+0014); its result (to U+0015) stays.

    A field that does not end hides nothing.
    """
    hidden: list[tuple[int, int]] = []
    fields: list[tuple[int, bool]] = []
    for mark in _FIELD.finditer(text):
        at = mark.start()
        if mark.group() == "\x13":
            fields.append((at, True))
        elif fields:
            start, in_code = fields.pop()
            if in_code:
                while hidden and hidden[-1][0] >= start:
                    hidden.pop()
                hidden.append((start, at))
            if mark.group() == "\x14":
                fields.append((start, False))
    pieces, at = [], 0
    for start, end in hidden:
        pieces += (text[at:start], "\0" * (end - start))
        at = end
    return "".join((*pieces, text[at:]))


def levels(sheet: bytes) -> dict[int, int]:
    """Number of a style → level of heading, that of the style it is based on where it has none (STSH)."""
    fixed, found, bases = int.from_bytes(sheet[4:6], "little"), dict[int, int](), dict[int, int]()
    for number, style in _each_style(sheet):
        found[number] = _level(style, fixed)
        bases[number] = int.from_bytes(style[2:4], "little") >> 4
    for _ in range(NESTED):
        found = {number: level or found.get(bases[number], 0) for number, level in found.items()}
    return found


def raising(sheet: bytes) -> frozenset[int]:
    """The numbers of styles that put characters above the line, by themselves or the style they are based on."""
    fixed, found, bases = int.from_bytes(sheet[4:6], "little"), dict[int, bool | None](), dict[int, int]()
    for number, style in _each_style(sheet):
        if style[2] & 0xF == _OF_CHARACTERS:
            found[number] = doc_properties.above(_modifiers(style, fixed))
            bases[number] = int.from_bytes(style[2:4], "little") >> 4
    for _ in range(NESTED):
        found = {number: found.get(bases[number]) if said is None else said for number, said in found.items()}
    return frozenset(number for number, said in found.items() if said)


def _each_style(sheet: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2 + int.from_bytes(sheet[:2], "little")
    for number in range(int.from_bytes(sheet[2:4], "little")):
        style = sheet[at + 2 : at + 2 + int.from_bytes(sheet[at : at + 2], "little")]
        if len(style) >= 4:
            yield number, style
        at += 2 + len(style) + len(style) % 2


def _level(style: bytes, fixed: int) -> int:
    """A style's own level: by its number, else by the properties after its fixed part and its name (STD)."""
    kind = int.from_bytes(style[:2], "little") & 0xFFF
    if kind == _TITLE or 0 < kind < 10:
        return 1 if kind == _TITLE else kind
    is_paragraph = style[2] & 0xF == 1
    return doc_properties.outline(_modifiers(style, fixed)[2:]) if is_paragraph else 0


def _modifiers(style: bytes, fixed: int) -> bytes:
    """The first properties of a style, behind its fixed part and its name; a paragraph's begin with its number."""
    at = fixed + 4 + 2 * int.from_bytes(style[fixed : fixed + 2], "little")
    return style[at + 2 : at + 2 + int.from_bytes(style[at : at + 2], "little")]


def _fonts(table: bytes) -> Iterator[Font]:
    """The fonts' names in their order (SttbfFfn): each entry's length, then 39 bytes, then the name."""
    at = 4
    while at < len(table):
        end = at + 1 + table[at]
        yield Font(table[at + 40 : end].decode("utf-16-le", "replace").partition("\0")[0])
        at = end
