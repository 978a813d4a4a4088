"""Units served: calls, tokens, pages and bytes; and calls that failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, NamedTuple

LARGEST = 10**15
CRADLE = "io.0711/cradle"
"""The name that everything that cradle computes is counted under, whichever way it was asked."""

GATEWAY = "gateway"
"""The `client_id` of tokens that the marketplace makes for calls which it counts itself."""


@dataclass(frozen=True, slots=True)
class Units:
    """Amounts of one or more calls. `bytes` are those of the answers, `failures` calls without one."""

    calls: int = 0
    tokens: int = 0
    pages: int = 0
    bytes: int = 0
    failures: int = 0

    @property
    def amounts(self) -> tuple[int, int, int, int, int]:
        """The amounts in the order of the fields: `dataclasses.astuple` copies them deeply, for each answer."""
        return self.calls, self.tokens, self.pages, self.bytes, self.failures

    def __add__(self, other: Units) -> Units:
        return Units(
            self.calls + other.calls, self.tokens + other.tokens, self.pages + other.pages, self.bytes + other.bytes,
            self.failures + other.failures,
        )  # fmt: skip


class Key(NamedTuple):
    """What units are added up for."""

    customer: str
    day: date
    server: str
    tool: str


def units_of_result(result: dict[str, Any]) -> Units:
    """Tokens (`tokens`) and pages (`pages`: a number, or a list of pages) of a result of cradle."""
    pages = result.get("pages")
    return Units(tokens=_amount(result.get("tokens")), pages=len(pages) if isinstance(pages, list) else _amount(pages))


def _amount(value: Any) -> int:
    return value if type(value) is int and 0 <= value <= LARGEST else 0
