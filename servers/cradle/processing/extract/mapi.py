"""What Outlook keeps of a message whichever way it is stored (MSG, TNEF): its MAPI properties as items.

Properties have the numbers of MS-OXPROPS; a text is UTF-16 or in a code page, a time counts 100 ns since 1601.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Protocol

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.detect import RTF
from servers.cradle.processing.extract.encoding import squeezed
from servers.cradle.processing.extract.extractor import Exhausted, Inner, Unreadable
from servers.cradle.processing.extract.html import read_html
from servers.cradle.processing.extract.lzfu import decompressed
from servers.cradle.processing.extract.rtf import read_rtf
from servers.cradle.processing.extract.text import paragraphs
from servers.cradle.processing.extract.twins import page_blocks, page_says_more, plain_says_more
from servers.cradle.processing.extraction import About, Attachment, Block, Item

SUBJECT, BODY, HTML, RICH = 0x0037, 0x1000, 0x1013, 0x1009
SENDER, ADDRESS, TO, CC = 0x0C1A, 0x5D01, 0x0E04, 0x0E03
DATA, LONG_NAME, NAME, SHOWN = 0x3701, 0x3707, 0x3704, 0x3001
SENT, RECEIVED = 0x0039, 0x0E06
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


class Properties(Protocol):
    """The properties of one message or attachment; what is not there is empty."""

    def text(self, number: int) -> str: ...

    def data(self, number: int) -> bytes: ...

    def ticks(self, number: int) -> int: ...


def message_items(message: Properties, depth: int, inner: Inner) -> Iterator[Item]:
    """Subject as heading, sender and date, then the body: plain text, else HTML, else RTF, or what says more."""
    subject, sent = squeezed(message.text(SUBJECT)), _moment(message)
    yield About(title=subject, dated=dates.of_iso(sent))
    if subject:
        yield Block("heading", subject, level=1)
    if lines := list(_header(message, sent)):
        yield Block("paragraph", "\n".join(lines))
    yield from body_items(message, depth, inner)


def body_items(message: Properties, depth: int, inner: Inner) -> Iterator[Item]:
    """The body alone, nothing of it twice."""
    plain, html = message.text(BODY), message.data(HTML) or message.text(HTML).encode()
    page = page_blocks(html) if html and plain.strip() else []
    if plain.strip() and not page_says_more(page, plain):
        yield from paragraphs(plain)
    elif page:
        yield from paragraphs(plain) if plain_says_more(page, plain) else ()
        yield from page
    elif html:
        yield from (item for item in read_html(html) if isinstance(item, Block))
    elif rich := message.data(RICH):
        yield from _rich(rich, depth, inner)


def attachment_name(attachment: Properties) -> str:
    """The name that an attachment was sent under, '' where it has none."""
    return squeezed(attachment.text(LONG_NAME) or attachment.text(NAME) or attachment.text(SHOWN))[:200]


def _header(message: Properties, sent: str) -> Iterator[str]:
    sender = " ".join(filter(None, (squeezed(message.text(SENDER)), squeezed(message.text(ADDRESS)))))
    named = (("From", sender), ("To", squeezed(message.text(TO))), ("Cc", squeezed(message.text(CC))))
    yield from (f"{name}: {value}" for name, value in (*named, ("Date", sent)) if value)


def _rich(rich: bytes, depth: int, inner: Inner) -> Iterator[Item]:
    """The compressed RTF, which holds HTML where that is how the mail was written."""
    try:
        items = read_rtf(decompressed(rich), depth, inner)
        yield from (item for item in items if not isinstance(item, About))
    except Exhausted:
        raise
    except Unreadable as error:
        yield Attachment("body.rtf", RTF, len(rich), error.code, error.reason)


def _moment(message: Properties) -> str:
    """When it was sent, else received."""
    found = (ticks for number in (SENT, RECEIVED) if 0 < (ticks := message.ticks(number)) < 2**61)
    ticks = next(found, 0)
    return (_EPOCH + timedelta(microseconds=ticks // 10)).isoformat(timespec="seconds") if ticks else ""
