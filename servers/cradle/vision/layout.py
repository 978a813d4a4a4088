"""Recognised pieces → the page's text or Markdown: columns of prose one after the other, rows of tables whole. Pure.

Where columns and tables are is judged as on a PDF's page (`pdf_layout`): there the characters have boxes, here the
pieces. Providers that are models write text and Markdown by themselves.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator, Sequence

from servers.cradle.processing.extract.pdf_layout import Table, paragraphs_of, regions_of
from servers.cradle.processing.extract.pdf_lines import Line, Segment
from servers.cradle.vision.lines import Piece, Placed, rows
from shared.contracts.vision import VisionOutput, Word

LAYOUT = "2"
"""Changes with every change of what is made of the same pieces, by `pdf_layout` too; part of the parameters'
fingerprint."""
HEADING = 1.35
"""Times the page's usual height of a line; boxes of lines in one size differ by less."""
HEADING_CHARS = 100
CELL_GAP = 0.6
"""In heights of a line: pieces closer together are one cell. A recogniser's boxes are a little wider than the text."""
_SPECIAL = re.compile(r"^[#>](?=\s)|[\\`*_|<]")


def formed(pieces: list[Piece], output: VisionOutput) -> str:
    """The page's text in the form that was asked for."""
    return markdown(pieces) if output == "markdown" else text(pieces)


def text(pieces: list[Piece]) -> str:
    """The page as text: a printed line a line, an empty one between paragraphs; a table's row is a line, its cells
    parted by ` | `."""
    return "\n\n".join(
        "\n".join(" | ".join(row).rstrip() for row in table) if table else "\n".join(line.text for line in lines)
        for table, lines in _regions(pieces)
    )


def markdown(pieces: list[Piece]) -> str:
    """The page as Markdown; lines that are clearly higher than the others are headings."""
    return "\n\n".join(_piped(table) if table else _running(lines) for table, lines in _regions(pieces))


def of_words(words: Sequence[Word]) -> list[Piece]:
    """Words as pieces that stand straight."""
    return [
        Piece(word.text, word.confidence, ((left, top), (right, top), (right, bottom), (left, bottom)))
        for word in words
        for left, top, right, bottom in [word.box]
    ]


def _regions(pieces: list[Piece]) -> Iterator[tuple[Table, list[Line]]]:
    """Tables and paragraphs in reading order, one of both each. A line's size is 1, or more times the usual one."""
    if not pieces:
        return
    placed = rows(pieces)
    usual = statistics.median(each.height for row in placed for each in row)
    for table, running in regions_of([_line(row, usual) for row in placed], 1.0):
        if table:
            yield table, []
        yield from (([], group) for group in paragraphs_of(running, 1.0))


def _line(row: list[Placed], usual: float) -> Line:
    """A row as a line on a PDF's page, in usual heights of a line: y goes up."""
    segments: list[Segment] = []
    for each in row:
        left, right = (each.x - each.width / 2) / usual, (each.x + each.width / 2) / usual
        if segments and left - segments[-1].right < CELL_GAP:
            last = segments[-1]
            segments[-1] = Segment(f"{last.text} {each.piece.text}", last.left, max(last.right, right))
        else:
            segments.append(Segment(each.piece.text, left, right))
    size = max(each.height for each in row) / usual
    middle = statistics.median(each.y for each in row)
    return Line(segments, -middle / usual, size if size >= HEADING else 1.0)


def _running(lines: list[Line]) -> str:
    said = "\n".join(_escaped(line.text) for line in lines)
    heads = lines[0].size >= HEADING and len(said) <= HEADING_CHARS
    return f"## {' '.join(said.split())}" if heads else said


def _piped(table: Table) -> str:
    head, *body = [f"| {' | '.join(_escaped(cell) for cell in row)} |" for row in table]
    return "\n".join([head, "|" + " --- |" * len(table[0]), *body])


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
