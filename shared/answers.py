"""How much of a list one answer to an agent holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Part = TypeVar("Part")

ANSWER_CHARS = 40_000
"""About what one answer holds: clients of agents refuse results over 25,000 tokens; an id takes one for two."""


def in_json(part: Any) -> int:
    """Characters of a model in JSON."""
    return len(part.model_dump_json())


def fitting(parts: Sequence[Part], chars: Callable[[Part], int] = in_json) -> list[Part]:
    """The first of them, as many as one answer holds, and at least one.

    Args:
        chars: about how many characters of the answer a part takes.
    """
    left = ANSWER_CHARS
    for number, each in enumerate(parts):
        left -= chars(each)
        if left < 0 and number:
            return list(parts[:number])
    return list(parts)
