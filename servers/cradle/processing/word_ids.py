"""The ids of a text from those of its words, each of which the model's tokenizer is asked for once in a run.

BERT's tokenizers take a text apart at white space and punctuation before anything else, so that a text's ids are those
of its words, one after the other; passages are measured many times, and their words repeat. So do their lines while a
document is cut: it is seen whether they fit below one heading and another, together and as the passage that is made. A
text with the name of a special token goes to the tokenizer as a whole.

What is remembered is of one run and thus of one customer: else a text would be read faster where another has sent it.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from servers.cradle.processing.chunking import Tokenizer

REMEMBERED = 100_000
"""Words; then it begins anew. About 30 MB."""
LONGEST = 100
LINES = 256
"""Lines whose ids are kept for the next look; then it begins anew."""
_WORDS = re.compile(r"[!-/:-@\[-`{-~]|[^ \t\n!-/:-@\[-`{-~]+")


class WordIds:
    """`Tokenizer` with a memory. Safe to call from several threads.

    Args:
        tokenizer: one whose `takes_words_apart`.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._ids: dict[str, tuple[int, ...]] = {}
        self._starts: dict[str, tuple[int, ...]] = {}
        self._lines: dict[str, list[int]] = {}
        self._names = re.compile("|".join(map(re.escape, tokenizer.special_names)) or "(?!)")

    def passage(self, text: str) -> list[int]:
        """See `Tokenizer.passage`."""
        if self._names.search(text):
            return self._tokenizer.passage(text)
        ids: list[int] = []
        for line in text.split("\n"):
            ids += self._lines.get(line) or (self._line(line) if line else ())
        return self._tokenizer.wrapped(ids, "passage")

    def starts(self, text: str) -> list[int]:
        """See `Tokenizer.starts`."""
        if self._names.search(text):
            return self._tokenizer.starts(text)
        return [
            match.start() + start
            for match in _WORDS.finditer(text)
            for start in self._starts.get(match[0]) or self._learnt_starts(match[0])
        ]

    def _line(self, line: str) -> list[int]:
        words = _WORDS.findall(line)
        found: list[Any] = list(map(self._ids.get, words))
        if None in found:
            new = self._learnt(words, found)
            found = [new[word] if ids is None else ids for word, ids in zip(words, found, strict=True)]
        ids = list(chain.from_iterable(found))
        if len(self._lines) >= LINES:
            self._lines.clear()
        self._lines[line] = ids
        return ids

    def _learnt(self, words: list[str], found: list[Any]) -> dict[str, tuple[int, ...]]:
        unknown = list({word for word, ids in zip(words, found, strict=True) if ids is None})
        new = dict(zip(unknown, map(tuple, self._tokenizer.encode_batch(unknown)), strict=True))
        _remember(self._ids, {word: ids for word, ids in new.items() if len(word) <= LONGEST})
        return new

    def _learnt_starts(self, word: str) -> tuple[int, ...]:
        starts = tuple(self._tokenizer.starts(word))
        if len(word) <= LONGEST:
            _remember(self._starts, {word: starts})
        return starts


def with_memory(tokenizer: Any) -> Tokenizer:
    """The tokenizer, with a memory for words where it takes texts apart by them."""
    return WordIds(tokenizer) if tokenizer.takes_words_apart else tokenizer


def _remember(known: dict[str, Any], new: dict[str, Any]) -> None:
    if len(known) + len(new) > REMEMBERED:
        known.clear()
    known.update(new)
