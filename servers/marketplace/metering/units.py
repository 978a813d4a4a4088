"""Units served: calls, tokens, pages and bytes, and how they are read from an answer of cradle."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

import orjson

from shared.errors import InvalidInput

LARGEST = 10**15


@dataclass(frozen=True, slots=True)
class Units:
    """Amounts of one or more calls. `bytes` are those of the answers."""

    calls: int = 0
    tokens: int = 0
    pages: int = 0
    bytes: int = 0

    def __add__(self, other: Units) -> Units:
        return Units(
            self.calls + other.calls, self.tokens + other.tokens, self.pages + other.pages, self.bytes + other.bytes
        )


class Key(NamedTuple):
    """What units are added up for."""

    customer: str
    day: date
    server: str
    tool: str


def computed_units(body: bytes) -> Units:
    """Tokens and pages that a tool's answer of cradle names; none where it names none, or is an error.

    Only answers of the platform's own cradle are asked: any other server could write what it likes.
    """
    found = Units()
    for answer in _answers(body):
        result = answer.get("result")
        told = result.get("structuredContent") if isinstance(result, dict) else None
        if isinstance(told, dict):
            found += units_of_result(told)
    return found


def units_of_result(result: dict[str, Any]) -> Units:
    """Tokens (`tokens`) and pages (`pages`: a number, or a list of pages) of a result of cradle."""
    pages = result.get("pages")
    return Units(tokens=_amount(result.get("tokens")), pages=len(pages) if isinstance(pages, list) else _amount(pages))


def month_days(month: str) -> tuple[date, date]:
    """The first day of a month `YYYY-MM`, and of the next one.

    Raises:
        InvalidInput: there is no such month.
    """
    try:
        first = date.fromisoformat(f"{month}-01")
        following = date(first.year + first.month // 12, first.month % 12 + 1, 1)
    except ValueError:
        raise InvalidInput("A month looks like 2026-11.", field="month") from None
    return first, following


def _amount(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= LARGEST else 0


def _answers(body: bytes) -> Iterable[dict[str, Any]]:
    """The JSON-RPC messages of an answer: one object, or the data lines of events."""
    lines = [line[5:] for line in body.splitlines() if line.startswith(b"data:")] or [body]
    for line in lines:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            yield value
