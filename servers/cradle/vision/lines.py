"""Puts recognised pieces of text into lines, on pages that lie a little askew. Pure."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

WORD = 4
HIGH = 1.5


@dataclass(frozen=True)
class Piece:
    """One recognised piece: text, confidence 0–1, and its four corners in pixels (clockwise from top left)."""

    text: str
    confidence: float
    corners: tuple[tuple[float, float], ...]


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
    high = sum(len(piece.text) for piece in words if _is_high(piece))
    return 2 * high > sum(len(piece.text) for piece in words)


def group(pieces: list[Piece]) -> list[list[Piece]]:
    """Lines from top to bottom, each from left to right, judged on the page turned straight."""
    turn = skew(pieces)
    placed = sorted(((*_centre(piece, turn), _height(piece), piece) for piece in pieces), key=lambda each: each[:2])
    placed.sort(key=lambda each: each[1])
    lines: list[list[tuple[float, float, float, Piece]]] = []
    for each in placed:
        if lines and each[1] - lines[-1][-1][1] < 0.5 * min(each[2], lines[-1][-1][2]):
            lines[-1].append(each)
        else:
            lines.append([each])
    return [[each[3] for each in sorted(line, key=lambda each: each[0])] for line in lines]


def text(pieces: list[Piece]) -> str:
    """The page as text: one printed line per line, pieces of a line joined by a space."""
    return "\n".join(" ".join(piece.text for piece in line) for line in group(pieces))


def _centre(piece: Piece, turn: float) -> tuple[float, float]:
    x = sum(corner[0] for corner in piece.corners) / len(piece.corners)
    y = sum(corner[1] for corner in piece.corners) / len(piece.corners)
    return x * math.cos(turn) + y * math.sin(turn), y * math.cos(turn) - x * math.sin(turn)


def _is_high(piece: Piece) -> bool:
    xs, ys = zip(*piece.corners, strict=True)
    return max(ys) - min(ys) > HIGH * (max(xs) - min(xs))


def _height(piece: Piece) -> float:
    return math.dist(piece.corners[0], piece.corners[3])
