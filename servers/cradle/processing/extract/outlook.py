"""Outlook messages (MSG): header, text and attachments, each attachment and inner message through the same dispatcher.

The file is a compound file; streams are named by MAPI property (MS-OXMSG): `__substg1.0_` + property id + type, where
type 001F is UTF-16, 001E is text in the message's code page, 0102 is bytes and 000D is an inner message or object.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from servers.cradle.processing.extract import mapi
from servers.cradle.processing.extract.compound import BROKEN, Compound, opened
from servers.cradle.processing.extract.detect import MSG
from servers.cradle.processing.extract.encoding import clean, decode
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.mail import MAX_PARTS
from servers.cradle.processing.extract.ole_object import embedded
from servers.cradle.processing.extraction import Attachment, Item

_PROPERTIES = "__properties_version1.0"
_TIME = 0x40
_DAMAGED = "The message is cut off or damaged. Save it again from Outlook."


class Outlook:
    name = "outlook"
    version = "12"
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
    """A message, or one of its attachments, at a storage of the file: the root's, or one that is attached."""

    def __init__(self, container: Compound, place: list[str]) -> None:
        self._container = container
        self._place = place

    def items(self, depth: int, inner: Inner) -> Iterator[Item]:
        yield from mapi.message_items(self, depth, inner)
        yield from self._attachments(depth, inner)

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
        shown = mapi.attachment_name(self)
        storage = [*self._place, f"__substg1.0_{mapi.DATA:04X}000D"]
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
        yield from inner_items(inner, self.data(mapi.DATA), shown or f"attachment-{number}", depth + 1)

    def data(self, number: int, kind: str = "0102") -> bytes:
        return self._stream(f"__substg1.0_{number:04X}{kind}")

    def text(self, number: int) -> str:
        if wide := self.data(number, "001F"):
            return clean(wide.decode("utf-16-le", "replace"))
        narrow = self.data(number, "001E")
        return decode(narrow) if narrow else ""

    def ticks(self, number: int) -> int:
        """Of the property stream's entries, 16 bytes each: type, number, flags and value."""
        stream = self._stream(_PROPERTIES)
        at = stream.find(struct.pack("<HH", _TIME, number))
        return int.from_bytes(stream[at + 8 : at + 16], "little") if 0 <= at <= len(stream) - 16 else 0

    def _stream(self, name: str) -> bytes:
        return self._container.read(*self._place, name)
