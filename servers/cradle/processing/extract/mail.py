"""E-mail, one message or a mailbox of them (mbox): header, text and attachments, each by the same dispatcher."""

from __future__ import annotations

import codecs
import email
import email.policy
import re
from collections.abc import Iterator
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from functools import lru_cache
from itertools import pairwise

from servers.cradle.processing.extract import dates
from servers.cradle.processing.extract.detect import TNEF_MARK
from servers.cradle.processing.extract.encoding import clean, decode, squeezed
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable, inner_items
from servers.cradle.processing.extract.html import read_html
from servers.cradle.processing.extract.text import paragraphs
from servers.cradle.processing.extract.twins import page_blocks, page_says_more, plain_says_more
from servers.cradle.processing.extraction import About, Block, Item

_HEADERS = ("From", "To", "Cc", "Date")
_FROM_LINE = re.compile(rb"^From [^\r\n]*\r?\n(?=[!-9;-~]+:)", re.MULTILINE)  # RFC 4155; a header follows it
_TWINS = frozenset({"text/html", "text/x-amp-html", "text/watch-html", "text/enriched", "text/richtext", "text/rtf"})
_ENDINGS = {"message/rfc822": ".eml", "text/csv": ".csv", "text/html": ".html"}
_AS_IT_CAME = email.policy.default.clone(refold_source="none")
MAX_PARTS = 500


class Mail:
    name = "mail"
    version = "10"
    media_types = frozenset({"message/rfc822"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Of each mail the subject as heading, sender and date, then texts and attachments in order."""
        data = file.data
        for message in _messages(data):
            yield from _items(message, file.depth, inner, alone=not _is_mailbox(data))


def _is_mailbox(data: bytes) -> bool:
    return data.startswith(b"From ")


def _messages(data: bytes) -> Iterator[bytes]:
    """The mails of a mailbox, whose first line is a `From ` line; else the one mail."""
    if not _is_mailbox(data):
        yield data
        return
    starts = [found.start() for found in _FROM_LINE.finditer(data, 1)]
    for start, end in pairwise([0, *starts, len(data)]):
        yield data[start:end]


def _items(data: bytes, depth: int, inner: Inner, alone: bool) -> Iterator[Item]:
    # A header is taken apart each time that it is asked for, which is up to thirty times.
    policy = email.policy.default.clone(header_factory=lru_cache(MAX_PARTS)(HeaderRegistry()))
    message = email.message_from_bytes(data, policy=policy)
    subject = squeezed(_header(message, "Subject"))
    yield About(title=subject, dated=dates.of_mail(_header(message, "Date")) if alone else "")
    if subject:
        yield Block("heading", subject, level=1)
    lines = [f"{name}: {squeezed(value)}" for name in _HEADERS if (value := _header(message, name))]
    if lines:
        yield Block("paragraph", "\n".join(lines))
    attached, said = 0, subject
    for count, part in enumerate(_chosen(message)):
        if count > MAX_PARTS:
            raise Unreadable("too_many_parts", f"The mail has more than {MAX_PARTS} parts; it was not read further.")
        if _is_text(part):
            said += "\n" + _text(part)
            yield from _read_text(part)
        else:
            attached += 1
            yield from _attachment(part, attached, depth, inner, said)


def _header(message: EmailMessage, name: str) -> str:
    try:
        value = str(message.get(name) or "")
        return _as_sent(message, name, value) if "\ufffd" in value else value
    except (ValueError, IndexError, AttributeError, LookupError, TypeError):  # email's, of malformed ones
        return ""


def _as_sent(message: EmailMessage, name: str, value: str) -> str:
    """A header that was sent in 8 bits, as old programs do (`Subject: Größe`): email has a question mark for each."""
    sent = next((str(each) for said, each in message.raw_items() if said.lower() == name.lower()), "")
    return value if "=?" in sent else decode(sent.encode("utf-8", "surrogateescape"))


def _chosen(part: EmailMessage) -> Iterator[EmailMessage]:
    """All parts that hold content; of a text that stands there in several forms the plain one, but each that says what
    no other does."""
    if part.get_content_type() == "multipart/alternative" or not _is_branch(part):
        leaves = list(_leaves(part))
        plain = [leaf for leaf in leaves if leaf.get_content_type() == "text/plain" and _is_text(leaf)]
        if (said := "\n".join(map(_text, plain))).strip():
            left_out = [leaf for leaf in leaves if _is_twin(leaf)]
            pages = [leaf for leaf in left_out if leaf.get_content_type() == "text/html"]
            if pages and page_says_more(shown := page_blocks(_text(pages[-1])), said):
                left_out.remove(pages[-1])
                left_out += [] if plain_says_more(shown, said) else plain
            leaves = [leaf for leaf in leaves if leaf not in left_out]
        yield from leaves
        return
    for child in part.iter_parts():
        if isinstance(child, EmailMessage):
            yield from _chosen(child)


def _leaves(part: EmailMessage) -> Iterator[EmailMessage]:
    if not _is_branch(part):
        yield part
        return
    for child in part.iter_parts():
        if isinstance(child, EmailMessage):
            yield from _leaves(child)


def _is_branch(part: EmailMessage) -> bool:
    return part.is_multipart() and part.get_content_type() != "message/rfc822"


def _is_twin(part: EmailMessage) -> bool:
    return part.get_content_type() in _TWINS and not _is_file(part)


def _is_text(part: EmailMessage) -> bool:
    """Whether it is text of the mail itself, no file."""
    return part.get_content_type() in ("text/plain", "text/html") and not _is_file(part)


def _is_file(part: EmailMessage) -> bool:
    return part.get_content_disposition() == "attachment" or bool(part.get_filename())


def _read_text(part: EmailMessage) -> Iterator[Item]:
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
            name = codecs.lookup(charset).name
            return clean(data.decode("cp1252" if name == "iso8859-1" else name))  # as WHATWG's Encoding has it
        except (LookupError, ValueError):
            pass
    return decode(data)


def _bytes(part: EmailMessage) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _attachment(part: EmailMessage, number: int, depth: int, inner: Inner, said: str) -> Iterator[Item]:
    """The items of a file, but for what the mail's text (`said`) says of `winmail.dat`, which repeats it."""
    data, name = _content(part, number)
    items = inner_items(inner, data, name, depth + 1, part.get_content_type())
    if data.startswith(TNEF_MARK):
        from servers.cradle.processing.extract.tnef import body_blocks

        twin = not page_says_more(body_blocks(data), said)
        items = (each for each in items if not (twin and isinstance(each, Block) and each.source == name))
    yield from items


def _content(part: EmailMessage, number: int) -> tuple[bytes, str]:
    kind = part.get_content_type()
    name = squeezed(part.get_filename() or "")[:200] or f"attachment-{number}{_ENDINGS.get(kind, '')}"
    if kind != "message/rfc822":
        return _bytes(part), name
    payload = part.get_payload()
    nested = payload[0] if isinstance(payload, list) and payload else None
    return (_whole(nested) if isinstance(nested, EmailMessage) else b""), name


def _whole(message: EmailMessage) -> bytes:
    """The message as it came: its header is not folded anew, which not every malformed one lets happen."""
    try:
        return message.as_bytes(policy=_AS_IT_CAME)
    except UnicodeEncodeError:  # of one that says it has parts, and names no boundary
        return message.as_string(policy=_AS_IT_CAME).encode("utf-8", "replace")
