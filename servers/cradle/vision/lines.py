"""Puts recognised pieces of text into rows, on pages that lie a little askew. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import NamedTuple

WORD = 4
HIGH = 1.5
NEARLY = 0.05


@dataclass(frozen=True)
class Piece:
    """One recognised piece: text, confidence 0–1, and its four corners in pixels (clockwise from top left)."""

    text: str
    confidence: float
    corners: tuple[tuple[float, float], ...]


class Placed(NamedTuple):
    """A piece on the page turned straight: its middle, width and height in pixels, y going down."""

    piece: Piece
    x: float
    y: float
    width: float
    height: float


def skew(pieces: list[Piece]) -> float:
    """The page's angle in radians: the median over the pieces' upper edges, long pieces only where there are any."""
    edges = [(piece.corners[0], piece.corners[1]) for piece in pieces]
    lengths = [math.dist(left, right) for left, right in edges]
    limit = max(lengths, default=0.0) / 3
    angles = [
        math.atan2(right[1] - left[1], right[0] - left[0])
        for (left, right), length in zip(edges, lengths, strict=True)
        if length >= limit
    ]
    return statistics.median(angles) if angles else 0.0


def sure(pieces: list[Piece]) -> float:
    """Mean confidence of the characters, 0 where there are none."""
    chars = sum(len(piece.text) for piece in pieces)
    return sum(piece.confidence * len(piece.text) for piece in pieces) / chars if chars else 0.0


def on_side(pieces: list[Piece]) -> bool:
    """Whether most words stand on their side. A letter or two may be higher than wide in any case."""
    words = [piece for piece in pieces if len(piece.text) >= WORD]
    high = sum(len(piece.text) for piece in words if is_high(piece))
    return 2 * high > sum(len(piece.text) for piece in words)


def wrong_way(pieces: list[Piece], unsure: float) -> int:
    """By how many quarters a page is to be turned counter-clockwise and read again, 0 where it stands upright.

    A piece on its side is read as if it went down the page: one that is not read well goes up.

    Args:
        unsure: mean confidence below which a page may be upside down.
    """
    well = sure(pieces) >= unsure
    if not pieces or on_side(pieces):
        return (1 if well else 3) if pieces else 0
    return 0 if well else 2


def reads_better(other: list[Piece], pieces: list[Piece]) -> bool:
    """Whether the page is turned for good: what stood on its side need not be surer where it stands."""
    return sure(other) > sure(pieces) - (NEARLY if on_side(pieces) else 0)


def rows(pieces: list[Piece]) -> list[list[Placed]]:
    """Rows from top to bottom, each from left to right, judged on the page turned straight."""
    turn = skew(pieces)
    found: list[list[Placed]] = []
    for each in sorted((_placed(piece, turn) for piece in pieces), key=lambda each: (each.y, each.x)):
        if found and each.y - found[-1][-1].y < 0.5 * min(each.height, found[-1][-1].height):
            found[-1].append(each)
        else:
            found.append([each])
    return [sorted(row, key=lambda each: each.x) for row in found]


def _placed(piece: Piece, turn: float) -> Placed:
    x = sum(corner[0] for corner in piece.corners) / len(piece.corners)
    y = sum(corner[1] for corner in piece.corners) / len(piece.corners)
    across, down = x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)
    return Placed(piece, across, down, math.dist(*piece.corners[:2]), math.dist(piece.corners[0], piece.corners[3]))


def is_high(piece: Piece) -> bool:
    """Whether a piece is clearly higher than wide."""
    xs, ys = zip(*piece.corners, strict=True)
    return max(ys) - min(ys) > HIGH * (max(xs) - min(xs))
