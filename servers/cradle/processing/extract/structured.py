"""Any other XML, and JSON: their text with the path that leads to it. Lists of flat records are tables."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO

import orjson

from servers.cradle.processing.extract.columns import Figure
from servers.cradle.processing.extract.encoding import clean, decode
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.product_table import read_rows
from servers.cradle.processing.extract.xml import Element, drop, events, local
from servers.cradle.processing.extraction import Block, Item

LINES = 40
RECORDS = 4096
MAX_LINE = 64 * 2**20
_DAMAGED = "The JSON is cut off, not well-formed or nested too deep."


class Xml:
    name = "xml"
    version = "1"
    media_types = frozenset({"application/xml"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Lines `path: text`, attributes as `path@name: value`, in document order, while the document streams by."""
        del inner
        yield from _blocks(_xml_lines(file))


class Json:
    name = "json"
    version = "4"
    media_types = frozenset({"application/json"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """A table where the content is a list of flat records (or JSON lines), else lines `path: value`.

        JSON lines come as a stream: each `RECORDS` of them are a table with the names that occur in them.

        Raises:
            Unreadable: `damaged` where it is no JSON, or nests too deep.
        """
        del inner
        if _is_lines(file.head):
            values = _values(file.open())
            while held := list(itertools.islice(values, RECORDS)):
                yield from _read(held)
        else:
            yield from _read(_load(decode(file.data)))


def _xml_lines(file: File) -> Iterator[str]:
    """Text stands before its children; what follows a child (its tail) is whole only at the next event."""
    path: list[str] = []
    ended: Element | None = None
    for event, element in events(file):
        if ended is not None:
            yield from _line(path, ended.tail)
            drop(ended)
            ended = None
        if event == "start":
            if (parent := element.getparent()) is not None:
                yield from _line(path, parent.text)
                parent.text = None
            path.append(local(element))
            for name, value in element.attrib.items():
                if text := " ".join(str(value).split()):
                    yield f"{'/'.join(path)}@{str(name).rpartition('}')[2]}: {text}"
            continue
        yield from _line(path, element.text)
        path.pop()
        ended = element


def _line(path: list[str], text: str | None) -> Iterator[str]:
    if text and (words := " ".join(text.split())):
        yield f"{'/'.join(path)}: {words}"


def _read(value: object) -> Iterator[Item]:
    if _records(value):
        yield from read_rows(_table(value))
    else:
        yield from _blocks(_json_lines(value))


def _is_lines(head: bytes) -> bool:
    """Whether the first line is a JSON object that ends there, in UTF-8; later ones may be in a code page."""
    first, ended, _ = head.partition(b"\n")
    try:
        return bool(ended) and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _values(lines: BinaryIO) -> Iterator[object]:
    try:
        while line := lines.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise Unreadable("too_large", f"A line of the JSON is over {MAX_LINE >> 20} MiB. Split it.")
            if line.strip():
                yield _value(line)
    except orjson.JSONDecodeError:
        raise Unreadable("damaged", _DAMAGED) from None


def _value(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return orjson.loads(decode(line))


def _load(text: str) -> object:
    try:
        return orjson.loads(text.encode())
    except orjson.JSONDecodeError:
        pass
    try:
        return [orjson.loads(line) for line in text.split("\n") if line.strip()]
    except orjson.JSONDecodeError:
        raise Unreadable("damaged", _DAMAGED) from None


def _records(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) > 1
        and all(isinstance(row, dict) and not any(isinstance(v, dict | list) for v in row.values()) for row in value)
    )


def _table(value: object) -> Iterator[tuple[str, ...]]:
    assert isinstance(value, list)  # noqa: S101 - `_records` said so
    names = list(dict.fromkeys(name for row in value for name in row))
    yield tuple(clean(name) for name in names)
    for row in value:
        yield tuple(_scalar(row.get(name)) for name in names)


def _scalar(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value).strip()
    text = orjson.dumps(value).decode()
    return text if isinstance(value, bool | dict | list) else Figure(text)


def _json_lines(value: object) -> Iterator[str]:
    stack: list[tuple[str, object]] = [("", value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            stack.extend((f"{path}.{clean(str(k))}" if path else clean(str(k)), v) for k, v in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((path, entry) for entry in reversed(item))
        elif text := _scalar(item):
            yield f"{path}: {text}" if path else text


def _blocks(lines: Iterator[str]) -> Iterator[Block]:
    while held := list(itertools.islice(lines, LINES)):
        yield Block("paragraph", "\n".join(held))
