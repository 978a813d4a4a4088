"""Texts → model input, on a few threads of its own: long texts must not hold up the event loop or the device."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from shared.contracts.embedding import InputType
from shared.encoder import Tokenizer, over_limit
from shared.errors import InvalidInput

THREADS = 2
TURN_CHARS = 16_384
"""A call with much text queues again after each so many characters: others come in between."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the model reads for each text, and the positions of those that were cut."""

    ids: list[list[int]]
    cut: list[int]

    @property
    def tokens(self) -> int:
        return sum(map(len, self.ids))


class TokenizerPool:
    """Runs a model's tokenizer beside the event loop.

    Args:
        limit: tokens that the model reads.
    """

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        self._tokenizer = tokenizer
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="tokenizer")

    async def inputs(self, texts: Sequence[str], kind: InputType, truncate: bool) -> Inputs:
        """The input for texts. What comes after a text that is refused is not looked at.

        Raises:
            InvalidInput: a text cannot be encoded, or is longer than the model reads and may not be cut.
        """
        loop, ids, cut = asyncio.get_running_loop(), list[list[int]](), list[int]()
        for part in _turns(texts):
            found = await loop.run_in_executor(self._threads, self._encoded, part, kind, truncate, len(ids))
            ids += found.ids
            cut += found.cut
        return Inputs(ids, cut)

    async def described(
        self, texts: Sequence[str], kind: InputType | None, special: bool
    ) -> list[list[dict[str, object]]]:
        """Each text's tokens; see `Tokenizer.described`.

        Raises:
            InvalidInput: a text is not Unicode.
        """
        loop, found = asyncio.get_running_loop(), list[list[dict[str, object]]]()
        for part in _turns(texts):
            found += await loop.run_in_executor(self._threads, self._described, part, kind, special, len(found))
        return found

    def close(self) -> None:
        """Ends the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _encoded(self, texts: Sequence[str], kind: InputType, truncate: bool, first: int) -> Inputs:
        _require_unicode(texts, first)
        ids = self._tokenizer.inputs(texts, kind)
        cut = [at for at, each in enumerate(ids) if len(each) > self._limit]
        if cut and not truncate:
            raise over_limit(first + cut[0], self._limit)
        for at in cut:
            ids[at] = self._tokenizer.cut(ids[at])
        return Inputs(ids, [first + at for at in cut])

    def _described(
        self, texts: Sequence[str], kind: InputType | None, special: bool, first: int
    ) -> list[list[dict[str, object]]]:
        _require_unicode(texts, first)
        return [self._tokenizer.described(text, kind, special) for text in texts]


def _turns(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in parts of about `TURN_CHARS`."""
    start = size = 0
    for at, text in enumerate(texts):
        size += len(text)
        if size >= TURN_CHARS:
            yield texts[start : at + 1]
            start, size = at + 1, 0
    if start < len(texts):
        yield texts[start:]


def _require_unicode(texts: Sequence[str], first: int) -> None:
    for at, text in enumerate(texts, first):
        if not _is_unicode(text):
            raise InvalidInput(
                f"Text {at} holds half of a character (a lone surrogate). Remove it.", field=f"texts.{at}"
            )


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
