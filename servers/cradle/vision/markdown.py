"""Words with boxes → Markdown: headings by their size, tables by cells that stand below one another. Pure.

It is a guess from geometry; providers that are models write Markdown by themselves.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from itertools import groupby, pairwise

from shared.contracts.vision import Word

HEADING = 1.35
"""Times the page's usual height of a line."""
HEADING_CHARS = 100
CELL_GAP = 1.0
PARAGRAPH_GAP = 0.9
ALIGNED = 1.5
"""Distances in heights of a line."""
_SPECIAL = re.compile(r"^[#>](?=\s)|[\\`*_|<]")
Cell = tuple[str, float, float, float, float]


def markdown(words: Sequence[Word]) -> str:
    """The page's text as Markdown.

    Args:
        words: in reading order: line by line, each from left to right.
    """
    lines = _lines(words)
    if not lines:
        return ""
    usual = statistics.median(_height(line) for line in lines)
    blocks: list[str] = []
    for is_table, group in groupby(_with_tables(lines), key=lambda each: each[0]):
        rows = [line for _, line in group]
        blocks += [_table(rows)] if is_table else _running(rows, usual)
    return "\n\n".join(blocks)


def _lines(words: Sequence[Word]) -> list[list[Cell]]:
    """Cells line by line: words with less than a line's height between them are one cell."""
    lines: list[list[Cell]] = []
    for word in words:
        left, top, right, bottom = word.box
        cell = (word.text, left, top, right, bottom)
        if not lines or left <= lines[-1][-1][1]:
            lines.append([cell])
            continue
        text, start, upper, end, lower = lines[-1][-1]
        if left - end < CELL_GAP * (bottom - top):
            lines[-1][-1] = (f"{text} {word.text}", start, min(upper, top), max(end, right), max(lower, bottom))
        else:
            lines[-1].append(cell)
    return lines


def _with_tables(lines: list[list[Cell]]) -> list[tuple[bool, list[Cell]]]:
    """Each line, and whether it is a table's row: it and a neighbour have as many cells, standing below each other."""
    alike = [_alike(above, below) for above, below in pairwise(lines)]
    return [(any(alike[max(0, at - 1) : at + 1]), line) for at, line in enumerate(lines)]


def _alike(above: list[Cell], below: list[Cell]) -> bool:
    near = ALIGNED * max(_height(above), _height(below))
    return len(above) == len(below) > 1 and all(
        abs(left[1] - right[1]) < near or abs(left[3] - right[3]) < near
        for left, right in zip(above, below, strict=True)
    )


def _table(rows: list[list[Cell]]) -> str:
    width = max(map(len, rows))
    texts = [[_escaped(cell[0]) for cell in row] + [""] * (width - len(row)) for row in rows]
    head, *body = [f"| {' | '.join(row)} |" for row in texts]
    return "\n".join([head, "|" + " --- |" * width, *body])


def _running(lines: list[list[Cell]], usual: float) -> list[str]:
    blocks: list[list[str]] = []
    below, headed = 0.0, True
    for line in lines:
        text = _escaped(" ".join(cell[0] for cell in line))
        heading = _height(line) >= HEADING * usual and len(text) <= HEADING_CHARS
        top = min(cell[2] for cell in line)
        if heading or headed or top - below > PARAGRAPH_GAP * usual:
            blocks.append([])
        blocks[-1].append(f"## {text}" if heading else text)
        below, headed = max(cell[4] for cell in line), heading
    return ["\n".join(block) for block in blocks]


def _height(line: list[Cell]) -> float:
    return max(cell[4] - cell[2] for cell in line)


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)
