"""Outlook messages (MSG): header, text and attachments, each attachment and inner message through the same dispatcher.

The file is a compound file; streams are named by MAPI property (MS-OXMSG): `__substg1.0_` + property id + type, where
type 001F is UTF-16, 001E is text in the message's code page, 0102 is bytes and 000D is an inner message or object.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.compound import BROKEN, Compound, opened
from servers.cradle.processing.extract.detect import MSG, RTF
from servers.cradle.processing.extract.encoding import clean, decode, squeezed
from servers.cradle.processing.extract.extractor import Exhausted, File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.html import read_html
from servers.cradle.processing.extract.lzfu import decompressed
from servers.cradle.processing.extract.mail import MAX_PARTS
from servers.cradle.processing.extract.ole_object import embedded
from servers.cradle.processing.extract.rtf import read_rtf
from servers.cradle.processing.extract.text import paragraphs
from servers.cradle.processing.extract.twins import page_blocks, page_says_more, plain_says_more
from servers.cradle.processing.extraction import About, Attachment, Block, Item

_SUBJECT, _BODY, _HTML, _RTF = "0037", "1000", "1013", "1009"
_SENDER, _ADDRESS, _TO, _CC = "0C1A", "5D01", "0E04", "0E03"
_DATA, _LONG_NAME, _NAME, _SHOWN = "3701", "3707", "3704", "3001"
_PROPERTIES = "__properties_version1.0"
_SENT, _RECEIVED = b"\x40\x00\x39\x00", b"\x40\x00\x06\x0e"
_DAMAGED = "The message is cut off or damaged. Save it again from Outlook."


class Outlook:
    name = "outlook"
    version = "8"
    media_types = frozenset({MSG})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Subject as heading, sender and date, the body (plain text, else HTML, else RTF), then attachments in order.

        Raises:
            Unreadable: `damaged`.
        """
        try:
            with opened(file.data) as container:
                yield from _Message(container, []).items(file.depth, inner)
        except BROKEN:
            raise Unreadable("damaged", _DAMAGED) from None


class _Message:
    """A message at a storage of the file: the root's, or one that is attached."""

    def __init__(self, container: Compound, place: list[str]) -> None:
        self._container = container
        self._place = place

    def items(self, depth: int, inner: Inner) -> Iterator[Item]:
        subject, sent = squeezed(self._text(_SUBJECT)), self._date()
        yield About(title=subject, dated=dates.of_iso(sent))
        if subject:
            yield Block("heading", subject, level=1)
        if lines := list(self._header(sent)):
            yield Block("paragraph", "\n".join(lines))
        yield from self._body(depth, inner)
        yield from self._attachments(depth, inner)

    def _header(self, sent: str) -> Iterator[str]:
        sender = " ".join(filter(None, (squeezed(self._text(_SENDER)), squeezed(self._text(_ADDRESS)))))
        named = (("From", sender), ("To", squeezed(self._text(_TO))), ("Cc", squeezed(self._text(_CC))))
        yield from (f"{name}: {value}" for name, value in (*named, ("Date", sent)) if value)

    def _body(self, depth: int, inner: Inner) -> Iterator[Item]:
        plain, html = self._text(_BODY), self._bytes(_HTML, "0102") or self._text(_HTML).encode()
        page = page_blocks(html) if html and plain.strip() else []
        if plain.strip() and not page_says_more(page, plain):
            yield from paragraphs(plain)
        elif page:
            yield from paragraphs(plain) if plain_says_more(page, plain) else ()
            yield from page
        elif html:
            yield from (item for item in read_html(html) if isinstance(item, Block))
        elif rich := self._bytes(_RTF, "0102"):
            yield from self._rich(rich, depth, inner)

    def _rich(self, rich: bytes, depth: int, inner: Inner) -> Iterator[Item]:
        """The compressed RTF, which holds HTML where that is how the mail was written."""
        try:
            items = read_rtf(decompressed(rich), depth, inner)
            yield from (item for item in items if not isinstance(item, About))
        except Exhausted:
            raise
        except Unreadable as error:
            yield Attachment("body.rtf", RTF, len(rich), error.code, error.reason)

    def _attachments(self, depth: int, inner: Inner) -> Iterator[Item]:
        inside = {path[len(self._place)] for path in self._container.below(*self._place)}
        names = {name for name in inside if name.startswith("__attach")}
        for number, name in enumerate(sorted(names), 1):
            if number > MAX_PARTS:
                raise Unreadable(
                    "too_many_parts", f"The mail has more than {MAX_PARTS} parts; it was not read further."
                )
            yield from _Message(self._container, [*self._place, name])._attached(number, depth, inner)

    def _attached(self, number: int, depth: int, inner: Inner) -> Iterator[Item]:
        shown = squeezed(self._text(_LONG_NAME) or self._text(_NAME) or self._text(_SHOWN))[:200]
        storage = [*self._place, f"__substg1.0_{_DATA}000D"]
        if self._container.has(*storage) and not self._container.has(*storage, _PROPERTIES):
            yield from embedded(self._container, storage, shown or f"attachment-{number}", depth, inner)
            return
        if self._container.has(*storage):
            shown = shown or f"attachment-{number}.msg"
            if depth >= 5:  # as deep as the dispatcher goes, which does not see this message
                yield Attachment(shown, MSG, 0, "too_deep", "Messages nest too deep; the innermost were not read.")
                return
            yield Attachment(shown, MSG, 0)
            yield from _Message(self._container, storage).items(depth + 1, inner)
            return
        data = self._bytes(_DATA, "0102")
        shown = shown or f"attachment-{number}"
        yield from inner_items(inner, data, shown, depth + 1)

    def _bytes(self, identifier: str, kind: str) -> bytes:
        return self._stream(f"__substg1.0_{identifier}{kind}")

    def _stream(self, name: str) -> bytes:
        return self._container.read(*self._place, name)

    def _text(self, identifier: str) -> str:
        if wide := self._bytes(identifier, "001F"):
            return clean(wide.decode("utf-16-le", "replace"))
        narrow = self._bytes(identifier, "001E")
        return decode(narrow) if narrow else ""

    def _date(self) -> str:
        """When it was sent, else received: 16-byte entries of the property stream, the time in 100 ns since 1601."""
        stream = self._stream(_PROPERTIES)
        for wanted in (_SENT, _RECEIVED):
            at = stream.find(wanted)
            if at >= 0 and len(stream) >= at + 16:
                ticks = int.from_bytes(stream[at + 8 : at + 16], "little")
                if 0 < ticks < 2**61:
                    moment = datetime(1601, 1, 1, tzinfo=UTC) + timedelta(microseconds=ticks // 10)
                    return moment.isoformat(timespec="seconds")
        return ""
