"""Units read from an answer of cradle that passes through, and the days of a month."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

import orjson

from shared.errors import InvalidInput
from shared.metering.units import Units, units_of_result


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
