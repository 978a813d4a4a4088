"""What may not be in a value that comes in or goes out."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

from shared.errors import InvalidInput

LARGEST_INTEGER = 2**63 - 1
DEEPEST = 64
MAX_IMAGE_BYTES, MAX_PIXELS = 20 * 2**20, 40_000_000
"""Of an image that is to be read, and of each of its pages."""


def check_value(value: Any, field: str | None = None) -> None:
    """Refuses NaN, infinity, integers over 64 bits, NUL, lone surrogates and nesting deeper than `DEEPEST`.

    Raises:
        InvalidInput: says what is wrong, never the value.
    """
    problem = problem_of(value)
    if problem is not None:
        where = f"Argument `{field}`" if field else "The input"
        raise InvalidInput(f"{where} {problem}.", field=field)


def problem_of(value: Any, depth: int = 0) -> str | None:
    """What is wrong with a value, in words that follow a subject; None: nothing."""
    if isinstance(value, str):
        return _problem_of_text(value)
    if isinstance(value, int | float):
        return _problem_of_number(value)
    if depth >= DEEPEST:
        return f"is nested deeper than {DEEPEST} levels"
    if isinstance(value, dict):
        return _first(problem_of(each, depth + 1) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return _problem_of_list(value, depth)
    return None


def _problem_of_number(value: float) -> str | None:
    if isinstance(value, float):
        return None if isfinite(value) else "holds a number that is not finite"
    return None if -LARGEST_INTEGER <= value <= LARGEST_INTEGER else "holds an integer over 64 bits"


def _problem_of_list(values: list[Any] | tuple[Any, ...], depth: int) -> str | None:
    kinds = set(map(type, values))
    if kinds == {int}:
        return problem_of(max(values)) or problem_of(min(values))
    if kinds == {float} and isfinite(sum(values)):  # NaN and infinity survive a sum; vectors are long
        return None
    return _first(problem_of(each, depth + 1) for each in values)


def _problem_of_text(text: str) -> str | None:
    if "\0" in text:
        return "holds a NUL character: remove it"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "holds half a surrogate pair: send valid Unicode"
    return None


def _first(problems: Iterable[str | None]) -> str | None:
    return next((problem for problem in problems if problem is not None), None)
