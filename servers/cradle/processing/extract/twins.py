"""A mail's text in two forms, plain and as a page: whether one of them says what the other does not. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extract.html import read_html
from servers.cradle.processing.extract.listed import listing
from servers.cradle.processing.extraction import Block

_UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_ADDRESSES = re.compile(r"https?://[^\s>\])]+|\[(?:cid|image|bild):[^\]]*\]", re.IGNORECASE)
_WORDS = re.compile(r"\w+")


def page_blocks(page: bytes | str) -> list[Block]:
    """The blocks of a page; none where it cannot be read."""
    try:
        return [item for item in read_html(page) if isinstance(item, Block)]
    except Unreadable:
        return []


def page_says_more(page: Sequence[Block], plain: str) -> bool:
    """Whether a page has words that the plain text beside it lacks, as where that is `Siehe Anhang` or a notice, or a
    list of articles, whose columns the plain text has lost."""
    tables = (block for block in page if block.kind == "table")
    return not _words(_text(page)) <= _words(plain) or any(listing(table) is not None for table in tables)


def plain_says_more(page: Sequence[Block], plain: str) -> bool:
    """Whether a plain text has words that the page beside it lacks, addresses aside."""
    return not _words(_ADDRESSES.sub(" ", plain)) <= _words(_text(page))


def _text(page: Sequence[Block]) -> str:
    return "\n".join(block.text for block in page)


def _words(text: str) -> set[str]:
    return set(_WORDS.findall(_UNSEEN.sub("", text).casefold()))
