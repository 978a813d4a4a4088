"""E-mail: header, text and attachments, each attachment through the same dispatcher."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage

from servers.cradle.processing.extract.encoding import clean, decode, squeezed
from servers.cradle.processing.extract.extractor import Exhausted, File, Inner, Unreadable
from servers.cradle.processing.extract.html import read_html
from servers.cradle.processing.extract.text import paragraphs
from servers.cradle.processing.extraction import About, Attachment, Block, Item

_HEADERS = ("From", "To", "Cc", "Date")
MAX_PARTS = 500


class Mail:
    name = "mail"
    version = "1"
    media_types = frozenset({"message/rfc822"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Subject as heading, sender and date, the body (plain text before HTML), then the attachments in order."""
        message = email.message_from_bytes(file.data, policy=email.policy.default)
        subject = squeezed(_header(message, "Subject"))
        yield About(title=subject)
        if subject:
            yield Block("heading", subject, level=1)
        lines = [f"{name}: {squeezed(value)}" for name in _HEADERS if (value := _header(message, name))]
        if lines:
            yield Block("paragraph", "\n".join(lines))
        body = _body(message)
        if body is not None:
            yield from _read_body(body)
        yield from _attachments(message, body, file.depth, inner)


def _header(message: EmailMessage, name: str) -> str:
    try:
        return str(message.get(name) or "")
    except (ValueError, IndexError, AttributeError, LookupError):
        return ""


def _body(message: EmailMessage) -> EmailMessage | None:
    try:
        found = message.get_body(preferencelist=("plain", "html"))
    except (KeyError, AttributeError, ValueError):
        return None
    return found if isinstance(found, EmailMessage) else None


def _read_body(part: EmailMessage) -> Iterator[Item]:
    text = _text(part)
    if part.get_content_type() == "text/html":
        yield from (item for item in read_html(text) if isinstance(item, Block))
    else:
        yield from paragraphs(text)


def _text(part: EmailMessage) -> str:
    data = _bytes(part)
    charset = part.get_content_charset()
    if charset:
        try:
            return clean(data.decode(charset))
        except (LookupError, UnicodeDecodeError):
            pass
    return decode(data)


def _bytes(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _attachments(message: EmailMessage, body: EmailMessage | None, depth: int, inner: Inner) -> Iterator[Item]:
    for count, part in enumerate(_leaves(message, body)):
        if count >= MAX_PARTS:
            raise Unreadable("too_many_parts", f"The mail has more than {MAX_PARTS} parts; it was not read further.")
        data, name = _content(part, count + 1)
        try:
            yield from inner(data, name, depth + 1)
        except Exhausted:
            raise
        except Unreadable as error:
            yield Attachment(name, part.get_content_type(), len(data), error.code, error.reason)


def _leaves(part: EmailMessage, body: EmailMessage | None) -> Iterator[EmailMessage]:
    """All parts that hold content, without the body; the HTML twin of a plain body is the same text and left out."""
    if part is body:
        return
    if part.get_content_type() == "message/rfc822" or not part.is_multipart():
        if (
            part.get_content_disposition()
            or part.get_filename()
            or part.get_content_maintype() != "text"
            or body is None
            or part.get_content_type() == "text/plain"
        ):
            yield part
        return
    for child in part.iter_parts():
        if isinstance(child, EmailMessage):
            yield from _leaves(child, body)


def _content(part: EmailMessage, number: int) -> tuple[bytes, str]:
    name = squeezed(part.get_filename() or "")[:200]
    if part.get_content_type() == "message/rfc822":
        payload = part.get_payload()
        nested = payload[0] if isinstance(payload, list) and payload else None
        return (nested.as_bytes() if isinstance(nested, EmailMessage) else b""), name or f"attachment-{number}.eml"
    return _bytes(part), name or f"attachment-{number}"
