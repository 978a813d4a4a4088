"""Passages from blocks: along the structure, sized in the embedding model's own tokens. Pure and deterministic.

A document's text is its blocks' and products' texts in order, joined by an empty line; a passage's `start` and `end`
are offsets in it. Every character of it lies inside at least one passage. A passage begins with the headings above,
among which the name of an attachment stands; a part of a table repeats the table's header, a part of a product its
name, a part of a long paragraph the end of the part before it.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from servers.cradle.processing.contents import is_contents
from servers.cradle.processing.extraction import Block, Extraction, Product
from servers.cradle.processing.language import guess
from servers.cradle.processing.product_text import language_of, languages_of, product_lines
from shared.dataset.rows import ChunkKind

VERSION = "7"
NAME = "structure"
JOINT = "\n\n"
PATH_JOINT = " › "
CHARS_PER_TOKEN = 16

_SENTENCE_END = re.compile(r"(?<=[.!?:;…])[\"'»“)\]]?\s+(?=\S)|\n+")


class Tokenizer(Protocol):
    """The embedding model's tokenizer."""

    def starts(self, text: str) -> list[int]:
        """Where each token begins, in characters and in order."""
        ...

    def passage(self, text: str) -> list[int]:
        """The ids that the model reads for this text: prefix and special tokens included."""
        ...


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Bounds in tokens: of a passage, and of what neighbours in running text repeat."""

    max_tokens: int
    overlap_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage. `product` is the place of its product among the document's products, None where it is of none.

    `ids` are what the model reads for the text, so that it is not tokenised again to be embedded.
    """

    ordinal: int
    text: str
    ids: list[int]
    page: int
    heading_path: str
    kind: ChunkKind
    language: str
    start: int
    end: int
    product: int | None = None

    @property
    def tokens(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _About:
    """What a passage is besides its text: the headings above it, its kind, page and product."""

    above: tuple[str, ...]
    kind: ChunkKind
    page: int
    product: int | None = None


@dataclass(slots=True)
class _Open:
    """Neighbouring blocks that may still share a passage. `content` is False while it holds headings only."""

    pieces: list[_Piece] = field(default_factory=list)
    above: tuple[str, ...] = ()
    page: int = 0
    kinds: set[ChunkKind] = field(default_factory=set)
    content: bool = False


class Chunker:
    """Makes passages of one document, part by part. Holds headings, ordinals and offsets between parts, no text."""

    def __init__(self, tokenizer: Tokenizer, sizes: ChunkSizes) -> None:
        self._fit = _Fit(tokenizer, sizes)
        self._ordinal = 0
        self._position = 0
        self._products = 0
        self._spoken = self._several = ""
        self._headings: list[tuple[int, str]] = []
        self._around: list[tuple[int, str]] = []
        self._source = ""
        self._open = _Open()
        self._contents = False

    def add(self, part: Extraction) -> Iterator[Chunk]:
        """The passages of the document's next part; none is held back for the part after it."""
        for item in part.flow:
            if item.source != self._source:
                yield from self._enter(item.source)
            if isinstance(item, Product):
                yield from self._product(item)
            elif isinstance(item, Block) and item.text:
                yield from self._block(item)
        yield from self._close()

    def _enter(self, source: str) -> Iterator[Chunk]:
        """Go on in a file inside the document, below its name and the headings around it, or ('') after it."""
        yield from self._close()
        if not self._source:
            self._around = self._headings
        self._source = source
        above = [(0, text) for _, text in self._around]  # of no level that a heading of the file could end
        self._headings = [*above, (0, source)] if source else self._around

    @property
    def _path(self) -> tuple[str, ...]:
        return tuple(text for _, text in self._headings)

    def _place(self, text: str) -> int:
        start = self._position
        self._position += len(text) + len(JOINT)
        return start

    def _block(self, block: Block) -> Iterator[Chunk]:
        start = self._place(block.text)
        if not block.text.strip():
            return  # a table of empty cells would be a passage of nothing
        piece = _Piece(block.text, start, start + len(block.text))
        if block.kind == "heading":
            yield from self._heading(block, piece)
        elif block.kind == "table":
            lines = _lines(block.text, start)
            about = _About(self._path, "table", block.page)
            yield from self._rows(lines, min(block.header_rows, len(lines)), about)
        else:
            kind: ChunkKind = "ocr" if block.ocr else "list" if block.kind == "list" else "text"
            yield from self._running(piece, kind, block.page)

    def _heading(self, block: Block, piece: _Piece) -> Iterator[Chunk]:
        if self._open.content:
            yield from self._close()
        self._headings = [(level, text) for level, text in self._headings if level < block.level]
        if not self._open.pieces:
            self._open = _Open(above=self._path, page=block.page)
        self._headings.append((block.level, " ".join(block.text.split())))
        if not self._fit.fits(self._open.above, [*self._texts(), piece.text]):
            yield from self._close()
            yield from self._long(piece, _About(self._path[:-1], "text", block.page))
            self._open = _Open()
        else:
            self._open.pieces.append(piece)
            self._open.kinds.add("text")

    def _running(self, piece: _Piece, kind: ChunkKind, page: int) -> Iterator[Chunk]:
        ours = self._open
        other_page = ours.content and ours.page != page
        if ours.pieces and (other_page or not self._fit.fits(ours.above, [*self._texts(), piece.text])):
            if ours.content or self._fit.fits(self._path, [piece.text]):
                yield from self._close()
            else:
                # A heading stays with the beginning of the long paragraph below it.
                yield from self._long(piece, _About(ours.above, kind, page), self._taken())
                return
        if not self._open.pieces:
            self._open = _Open(above=self._path)
        if not self._fit.fits(self._open.above, [*self._texts(), piece.text]):
            yield from self._long(piece, _About(self._path, kind, page))
            return
        ours = self._open
        ours.page = ours.page if ours.content else page
        ours.pieces.append(piece)
        ours.kinds = {*ours.kinds, kind} if ours.content else {kind}
        ours.content = True

    def _taken(self) -> list[_Piece]:
        pieces, self._open = self._open.pieces, _Open()
        return pieces

    def _texts(self) -> list[str]:
        return [piece.text for piece in self._open.pieces]

    def _close(self) -> Iterator[Chunk]:
        ours, self._open = self._open, _Open()
        if ours.pieces:
            kind = next(iter(ours.kinds)) if len(ours.kinds) == 1 else "text"
            text = JOINT.join(piece.text for piece in ours.pieces)
            about = _About(ours.above, kind, ours.page)
            yield self._made(about, text, ours.pieces[0].start, ours.pieces[-1].end)

    def _long(self, piece: _Piece, about: _About, lead: Sequence[_Piece] = ()) -> Iterator[Chunk]:
        """A text over the bound, in parts; `lead` are headings that open the first one."""
        opening = "".join(each.text + JOINT for each in lead)
        if lead and not self._fit.has_room(about.above, opening):
            text = JOINT.join(each.text for each in lead)
            yield self._made(replace(about, kind="text"), text, lead[0].start, lead[-1].end)
            lead, opening = (), ""
        first = lead[0].start if lead else piece.start
        for start, end in self._fit.split(piece.text, about.above, opening):
            if start == 0:
                yield self._made(about, opening + piece.text[:end], first, piece.start + end)
            else:
                below = replace(about, above=self._path)
                yield self._made(below, piece.text[start:end], piece.start + start, piece.start + end)

    def _rows(self, lines: list[_Piece], header_rows: int, about: _About) -> Iterator[Chunk]:
        """Lines that stay whole, in as many passages as they need, the header again at the top of each."""
        if self._open.content:
            yield from self._close()
        header = "".join(line.text + "\n" for line in lines[:header_rows])
        if not self._fit.has_room(about.above, header):
            header_rows, header = 0, ""
        start = lines[0].start
        if self._open.pieces and self._fit.holds(about.above, self._texts()):
            start = self._open.pieces[0].start  # headings alone, which the line above says
            self._open = _Open()
        yield from self._close()
        rows = [line for line in lines[header_rows:] if line.text]  # an empty row alone would be a passage of nothing
        if not rows:
            yield self._made(about, header.rstrip("\n"), start, lines[header_rows - 1].end)
        elif self._fit.fits(about.above, [header + _joined(rows)]):  # most products and small tables: one look
            yield self._made(about, header + _joined(rows), start, rows[-1].end)
        else:
            yield from self._parts(rows, header, start, about)

    def _parts(self, rows: list[_Piece], header: str, start: int, about: _About) -> Iterator[Chunk]:
        """Rows that do not fit in one passage. `start`: where the first one begins."""
        held: list[_Piece] = []
        for row in rows:
            if held and not self._fit.fits(about.above, [header + _joined([*held, row])]):
                yield self._made(about, header + _joined(held), start, held[-1].end)
                held, start = [], row.start
            if self._fit.fits(about.above, [header + row.text]):
                held.append(row)
                continue
            for offset, end in self._fit.split(row.text, about.above, header):
                begin = start if offset == 0 else row.start + offset
                yield self._made(about, header + row.text[offset:end], begin, row.start + end)
            start = row.end
        if held:
            yield self._made(about, header + _joined(held), start, held[-1].end)

    def _product(self, product: Product) -> Iterator[Chunk]:
        self._spoken, self._several = language_of(product), languages_of(product)
        text = "\n".join(product_lines(product, self._spoken))
        about = _About(self._path, "product", product.page, self._products)
        yield from self._rows(_lines(text, self._place(text)), 1, about)
        self._products += 1

    def _made(self, about: _About, text: str, start: int, end: int) -> Chunk:
        whole = self._fit.context(about.above) + text
        self._contents = about.kind != "product" and is_contents(text, continued=self._contents)
        made = Chunk(
            ordinal=self._ordinal,
            text=whole,
            ids=self._fit.ids(whole),
            page=about.page,
            heading_path=PATH_JOINT.join(self._path),
            kind="contents" if self._contents else about.kind,
            language=guess(whole) if about.product is None else self._several or guess(whole, self._spoken),
            start=start,
            end=end,
            product=about.product,
        )
        self._ordinal += 1
        return made


class _Fit:
    """What fits in a passage, with the headings above it as its first line."""

    def __init__(self, tokenizer: Tokenizer, sizes: ChunkSizes) -> None:
        self.tokenizer = tokenizer
        self._sizes = sizes
        self._contexts: dict[tuple[str, ...], str] = {}
        self._last = ("", tokenizer.passage(""))

    def context(self, above: tuple[str, ...]) -> str:
        """The line of headings; the outer ones fall away where it would take over a quarter of the passage."""
        if above not in self._contexts:
            if len(self._contexts) > 1000:
                self._contexts.clear()
            kept = above
            while kept and len(self.tokenizer.passage(PATH_JOINT.join(kept))) > self._sizes.max_tokens // 4:
                kept = kept[1:]
            self._contexts[above] = PATH_JOINT.join(kept) + "\n" if kept else ""
        return self._contexts[above]

    def holds(self, above: tuple[str, ...], headings: list[str]) -> bool:
        """Whether the line of headings says all of these headings in full."""
        said = self.context(above)
        return all(" ".join(heading.split()) in said for heading in headings)

    def fits(self, above: tuple[str, ...], texts: list[str]) -> bool:
        return self._within(self.context(above) + JOINT.join(texts), self._sizes.max_tokens)

    def has_room(self, above: tuple[str, ...], opening: str) -> bool:
        """Whether the opening leaves half of the passage for what follows."""
        return self._within(self.context(above) + opening, self._sizes.max_tokens // 2)

    def split(self, text: str, above: tuple[str, ...], opening: str) -> Iterator[tuple[int, int]]:
        """Ranges of a text over the bound, at sentence ends where there are any; each fits with `opening`."""
        starts = self.tokenizer.starts(text)
        ends = sorted({match.end() for match in _SENTENCE_END.finditer(text)} | {len(text)})
        opening = self.context(above) + opening
        used = len(self.tokenizer.passage(opening)) if opening else 0
        start = 0
        while start < len(text):
            end = self._reach(text, start, starts, ends, opening, used)
            yield start, end
            if end >= len(text):
                return
            start = max(self._back(text, end, starts, ends), start + 1)

    def ids(self, text: str) -> list[int]:
        """What the model reads for a text; that of the last one is remembered, for what fits is mostly what is made."""
        if self._last[0] != text:
            self._last = (text, self.tokenizer.passage(text))
        return self._last[1]

    def _within(self, text: str, tokens: int) -> bool:
        return len(text) <= tokens * CHARS_PER_TOKEN and len(self.ids(text)) <= tokens

    def _reach(self, text: str, start: int, starts: list[int], ends: list[int], opening: str, used: int) -> int:
        """The furthest end for a range from `start`: a sentence's, else a word's, else a character's.

        Args:
            used: tokens of the opening.
        """
        budget = self._sizes.max_tokens
        last = bisect_left(starts, start) + max(budget - used, 1)
        limit = starts[last] if last < len(starts) else len(text)
        limit = min(max(limit, start + 1), start + max(budget * CHARS_PER_TOKEN - len(opening), 1))
        while True:
            sentence = bisect_right(ends, limit) - 1
            if sentence >= 0 and ends[sentence] > start + (limit - start) // 3:
                end = ends[sentence]
            elif limit < len(text) and (space := text.rfind(" ", start + (limit - start) // 3, limit)) > start:
                end = space + 1
            else:
                end = limit
            if end - start <= 1 or self._within(opening + text[start:end], budget):
                return end
            over = len(self.tokenizer.passage(opening + text[start:end])) - budget
            limit = max(start + 1, end - max(1, over, (end - start) // 16))

    def _back(self, text: str, end: int, starts: list[int], ends: list[int]) -> int:
        """Where the next range begins: as far before `end` as the overlap allows, at a sentence or at least a word."""
        overlap = self._sizes.overlap_tokens
        if overlap <= 0:
            return end
        first = max(bisect_left(starts, end) - overlap, 0)
        earliest = starts[first] if first < len(starts) else end
        sentence = ends[bisect_left(ends, earliest)] if earliest < end else end
        if earliest <= sentence < end:
            return sentence
        space = text.find(" ", earliest, end)
        return space + 1 if space >= 0 else end


def _joined(rows: list[_Piece]) -> str:
    return "\n".join(row.text for row in rows)


def _lines(text: str, start: int) -> list[_Piece]:
    pieces, position = [], start
    for line in text.split("\n"):
        pieces.append(_Piece(line, position, position + len(line)))
        position += len(line) + 1
    return pieces
