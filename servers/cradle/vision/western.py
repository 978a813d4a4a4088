"""Signs of a recogniser that knows Chinese, as western pages have them. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from servers.cradle.vision.lines import Piece, is_high

_SIGNS = str.maketrans(
    {chr(code + 0xFEE0): chr(code) for code in range(0x21, 0x7F)} | {"℃": "°C", "℉": "°F", "。": ".", "、": ","}
)
_EASTERN = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_UPRIGHT = {"一": "I", "二": "II", "三": "III"}
_LYING = str.maketrans({"一": "–", "二": "=", "三": "≡"})
FEW = 0.05
"""Of a page's characters: a sign on a western page that is read as a Chinese one is rare."""


def western(pieces: list[Piece]) -> list[Piece]:
    """The pieces of a western page in western signs; those of a Chinese or Japanese one as they are. A narrow piece is
    recognised on its side: there a class `I` is 一."""
    letters = "".join(piece.text for piece in pieces)
    others = sum(1 for sign in _EASTERN.findall(letters) if sign not in _UPRIGHT)
    if others > FEW * len(letters):
        return pieces
    return [replace(piece, text=_western(piece)) for piece in pieces]


def _western(piece: Piece) -> str:
    if piece.text in _UPRIGHT and is_high(piece):
        return _UPRIGHT[piece.text]
    return piece.text.translate(_SIGNS).translate(_LYING)
