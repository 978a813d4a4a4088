"""Article numbers and GTINs of which a question knows only a part, or one sign wrongly: which ones it may mean. Pure.

They are compared as `words.codes` writes them, without separators; zeros in front do not count.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from shared.dataset import words

COLUMNS = ("article_number", "gtin", "manufacturer_article_number", "name")
"""Of the products: their numbers, and what they are called."""
MIN_PART = 4
MIN_INSIDE = 5
"""Signs of a part that may stand inside or at the end of a number; a shorter one stands in many."""
MIN_SIMILAR = 7
"""Signs of a number that may be another one, of which one sign is wrong or two are exchanged."""


@dataclass(frozen=True, slots=True)
class Numbered:
    """A product's number, as it is written, and what the product is called."""

    number: str
    name: str


class Numbers:
    """The numbers of a dataset.

    Args:
        products: the values of `COLUMNS` of each product.
    """

    def __init__(self, products: Iterable[tuple[str, str, str, str]]) -> None:
        known: dict[str, Numbered] = {}
        for *numbers, name in products:
            for number in filter(None, numbers):
                known.setdefault(bare_number(number), Numbered(number, name))
        known.pop("", None)
        self._codes = sorted(known)
        self._known = known
        self._all = "\n".join(["", *self._codes, ""])

    def meant(self, code: str, most: int, anywhere: bool = True) -> list[Numbered]:
        """The numbers that are the code but for zeros in front; else those that begin so; else those that hold it; else
        those that differ in a sign. At most so many.

        Args:
            anywhere: whether it may stand inside or be wrong; not for what may be a quantity.
        """
        bare = bare_number(code)
        if len(bare) < MIN_PART:
            return [self._known[bare]] if bare in self._known else []
        kinds = (
            [bare] if bare in self._known else [],
            self._beginning(bare),
            self._holding(bare) if anywhere and len(bare) >= MIN_INSIDE else [],
            self._similar(bare) if anywhere and len(bare) >= MIN_SIMILAR else [],
        )
        for kind in kinds:
            found = [each for each, _ in zip(kind, range(most), strict=False)]
            if found:
                return [self._known[each] for each in found]
        return []

    def _beginning(self, part: str) -> Iterator[str]:
        for at in range(bisect_left(self._codes, part), len(self._codes)):
            if not self._codes[at].startswith(part):
                return
            yield self._codes[at]

    def _holding(self, part: str) -> Iterator[str]:
        at = self._all.find(part)
        while at >= 0:
            start, end = self._all.rindex("\n", 0, at) + 1, self._all.index("\n", at)
            yield self._all[start:end]
            at = self._all.find(part, end)

    def _similar(self, code: str) -> Iterator[str]:
        """Of two halves of a number at least one is right where one sign is wrong."""
        half = len(code) // 2
        for each in self._beginning(code[:half]):
            if _one_apart(code, each):
                yield each
        for each in self._holding(code[half + 1 :]):
            if not each.startswith(code[:half]) and _one_apart(code, each):
                yield each


def bare_number(number: str) -> str:
    """A number without separators, case and zeros in front."""
    return "".join(each for each in words.folded(number) if each.isalnum()).lstrip("0")


def _one_apart(one: str, other: str) -> bool:
    """Whether one sign differs, or two neighbours are exchanged."""
    if len(one) != len(other):
        return False
    apart = [at for at in range(len(one)) if one[at] != other[at]]
    if len(apart) == 2 and apart[1] == apart[0] + 1:
        return one[apart[0]] == other[apart[1]] and one[apart[1]] == other[apart[0]]
    return len(apart) == 1
