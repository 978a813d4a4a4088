"""The long words of all passages, and which of them are like a question's: parts of compounds, compounds, misspellings.

`Klemme` is looked up in some thousand different words, not in every passage, and the passages with `Reihenklemmen` are
then found by that word. An index of the passages' own n-grams, which finds the same, is read for a second of processor
time where passages are many.

File: the words in order, a line each, in ASCII as `words.long_words` folds them.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable
from typing import TYPE_CHECKING

from shared.dataset import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

GRAM = 4
"""Letters of a gram; each is a byte, and four of them a number."""
_BREAK = ord("\n")
ALIKE = 0.6
"""The share of the grams of the shorter of two words that the other one has to have."""
_APART = re.compile(r"(?<![a-z0-9])[a-z]{2,}(?:(?: +| ?- ?)[a-z]{2,})+(?![a-z0-9])")
MOST_PARTS = 3
LINKS = ("", "s", "n", "en")
FORMS = 2
"""Letters in which two forms of a compound differ at its end: `Klemme`, `Klemmen`."""
MOST = 64
"""Words that one word of a question stands for."""


def vocabulary_file(found: Iterable[str]) -> bytes:
    """The file of these words."""
    return "\n".join(sorted(found)).encode()


class Vocabulary:
    """The words in memory: about 10 bytes for each of their letters.

    Args:
        data: the file.
    """

    def __init__(self, data: bytes) -> None:
        import numpy as np

        letters = np.frombuffer(data, np.uint8)
        grams, breaks = _grams(letters), np.cumsum(letters == _BREAK)
        within = np.ones(len(grams), np.bool_)
        for at in range(GRAM):
            within &= letters[at : at + len(grams)] != _BREAK
        owners = breaks[: len(grams)][within]
        pairs = np.sort((grams[within].astype(np.uint64) << 32) | owners.astype(np.uint64))
        pairs = pairs[
            np.append(pairs[1:] != pairs[:-1], True)[: len(pairs)]
        ]  # np.unique hashes: a hundred times slower
        self._words = data.decode().split("\n")
        self._grams, self._owners = (pairs >> 32).astype(np.uint32), (pairs & 0xFFFFFFFF).astype(np.uint32)
        self._sizes = np.bincount(self._owners, minlength=len(self._words))

    def meant(self, question: str) -> str:
        """The long words of a question, and the passages' words that are like them."""
        asked = words.long_words(question).split()
        return " ".join(dict.fromkeys([*asked, *(each for word in asked for each in self.like(word))]))

    def together(self, question: str) -> str:
        """A question, folded, in which compounds that it writes apart are one word as in the passages: `Sicherheits
        Relais`. A letter that joins them may be left out."""

        def joined(found: re.Match[str]) -> str:
            parts, done = re.split("[ -]+", found[0]), list[str]()
            while parts:
                for number in range(min(len(parts), MOST_PARTS), 1, -1):
                    if whole := self._joined(parts[:number]):
                        break
                else:
                    number, whole = 1, parts[0]
                done.append(whole)
                del parts[:number]
            return " ".join(done)

        return _APART.sub(joined, words.folded(question))

    def _joined(self, parts: list[str]) -> str:
        """The parts as one word that the passages have, in this form or another one; '' where there is none."""
        *first, last = parts
        for link in LINKS:
            whole = "".join(f"{part}{link}" for part in first) + last
            stem = whole[: max(words.MIN_WORD, len(whole) - FORMS)]
            at = bisect_left(self._words, stem)
            while at < len(self._words) and self._words[at].startswith(stem):
                if len(self._words[at]) <= len(whole) + FORMS:
                    return whole
                at += 1
        return ""

    def like(self, word: str) -> list[str]:
        """The words that are like this one, the most similar first; itself too, where it is there."""
        import numpy as np

        wanted = np.unique(_grams(np.frombuffer(word.encode(), np.uint8)))
        low, high = (np.searchsorted(self._grams, wanted, side) for side in ("left", "right"))
        hits = [self._owners[start:end] for start, end in zip(low, high, strict=True)]
        found, shared = np.unique(np.concatenate(hits), return_counts=True)
        sizes = self._sizes[found]
        alike = shared / np.minimum(sizes, len(wanted))
        whole = shared / np.maximum(sizes, len(wanted))
        best = np.lexsort((found, -whole, -alike))[:MOST]
        return [self._words[found[at]] for at in best if alike[at] >= ALIKE]


def _grams(letters: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """The gram that begins at each place."""
    import numpy as np

    size = max(len(letters) - GRAM + 1, 0)
    parts = (letters[at : at + size].astype(np.uint32) << 8 * (GRAM - 1 - at) for at in range(GRAM))
    return np.bitwise_or.reduce(list(parts))
