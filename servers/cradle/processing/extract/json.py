"""JSON and JSON lines, read as they come: lists of records are tables, everything else lines `path: value`.

What is in memory at a time are `RECORDS` entries of one list, however long it is.
"""

from __future__ import annotations

import codecs
import io
import itertools
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, BinaryIO

import orjson

from servers.cradle.processing.extract.columns import Figure, columns_of
from servers.cradle.processing.extract.encoding import clean, decode, encoding_of
from servers.cradle.processing.extract.extractor import File, Inner, Unreadable
from servers.cradle.processing.extract.product_table import read_rows
from servers.cradle.processing.extract.structured import LINES, blocks
from servers.cradle.processing.extraction import Item

RECORDS = 4096
WHOLE = 32 * 2**20
MAX_LINE = 64 * 2**20
MAX_DEPTH = 200
_DAMAGED = "The JSON is cut off, not well-formed or nested too deep."
_Events = Iterator[tuple[str, Any]]


class Json:
    name = "json"
    version = "9"
    media_types = frozenset({"application/json"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """A table for each `RECORDS` entries of a list of flat records (or of JSON lines), with the names that occur in
        them; else lines. In an object only lists of products are tables.

        Raises:
            Unreadable: `damaged` where it is no JSON, or nests too deep; what came before still holds.
        """
        del inner
        if _is_lines(file.head):
            yield from _told(_entries(_lines(file.open()), ""))
        else:
            yield from _told(_walked("", _events(_stream(file))))


def _is_lines(head: bytes) -> bool:
    """Whether the first line is a JSON object that ends there, in UTF-8; later ones may be in a code page."""
    first, ended, _ = head.partition(b"\n")
    try:
        return bool(ended) and isinstance(orjson.loads(first), dict)
    except orjson.JSONDecodeError:
        return False


def _lines(lines: BinaryIO) -> Iterator[object]:
    try:
        while line := lines.readline(MAX_LINE + 1):
            if len(line) > MAX_LINE:
                raise Unreadable("too_large", f"A line of the JSON is over {MAX_LINE >> 20} MiB. Split it.")
            if line.strip():
                yield _line(line)
    except orjson.JSONDecodeError:
        raise Unreadable("damaged", _DAMAGED) from None


def _line(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return orjson.loads(decode(line))


def _stream(file: File) -> BinaryIO:
    """The file in UTF-8 without a mark. A small one is decoded whole, and so is one that its beginning shows not to be
    in UTF-8."""
    if file.size <= WHOLE or encoding_of(file.head) != "utf-8":
        return io.BytesIO(decode(file.data).encode())
    stream = file.open()
    if file.head.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


def _events(stream: BinaryIO) -> _Events:
    """The parser's events, those of several values one after the other too."""
    import ijson

    depth = 0
    try:
        for event, value in ijson.basic_parse(stream, multiple_values=True):
            depth += (event in ("start_map", "start_array")) - (event in ("end_map", "end_array"))
            if depth > MAX_DEPTH:
                raise Unreadable("damaged", _DAMAGED)
            yield event, value
    except (ijson.JSONError, UnicodeDecodeError):
        raise Unreadable("damaged", _DAMAGED) from None


def _walked(path: str, events: _Events) -> Iterator[str | Item]:
    """Lines and tables of the values that the events are of, up to the end of the object that holds them."""
    name = path
    for event, value in events:
        if event == "end_map":
            return
        if event == "map_key":
            name = _below(path, value)
        elif event == "start_map":
            yield from _walked(name, events)
        elif event == "start_array":
            yield from _entries(_listed(events), name)
        else:
            yield from _json_lines(value, name)


def _listed(events: _Events) -> Iterator[object]:
    """The entries of a list, each whole."""
    for event, value in events:
        if event == "end_array":
            return
        yield _built(event, value, events)


def _built(event: str, value: Any, events: _Events) -> object:
    if event == "start_array":
        return list(_listed(events))
    if event != "start_map":
        return value
    held, name = {}, ""
    for inner, key in events:
        if inner == "end_map":
            break
        if inner == "map_key":
            name = key
        else:
            held[name] = _built(inner, key, events)
    return held


def _entries(entries: Iterator[object], path: str) -> Iterator[str | Item]:
    first = True
    while held := list(itertools.islice(entries, RECORDS)):
        if _are_records(held, 2 if first else 1) and (not path or _are_products(held)):
            yield from read_rows(_table(held), name=path)
        else:
            yield from _json_lines(held, path)
        first = False


def _told(found: Iterator[str | Item]) -> Iterator[Item]:
    """Lines that follow one another as paragraphs, everything else as it is."""
    lines: list[str] = []
    for each in found:
        if isinstance(each, str):
            lines.append(each)
        if lines and (len(lines) == LINES or not isinstance(each, str)):
            yield from blocks(iter(lines))
            lines = []
        if not isinstance(each, str):
            yield each
    yield from blocks(iter(lines))


def _are_records(held: list[Any], least: int) -> bool:
    return len(held) >= least and all(
        isinstance(row, dict) and not any(isinstance(value, dict | list) for value in row.values()) for row in held
    )


def _are_products(held: list[Any]) -> bool:
    return columns_of(_names(held)).products


def _names(held: list[Any]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(clean(name) for row in held for name in row))


def _table(held: list[Any]) -> Iterator[tuple[str, ...]]:
    names = list(dict.fromkeys(name for row in held for name in row))
    yield tuple(clean(name) for name in names)
    for row in held:
        yield tuple(_scalar(row.get(name)) for name in names)


def _scalar(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return clean(value).strip()
    if isinstance(value, bool):
        return "true" if value else "false"
    return Figure(_plain(value) if isinstance(value, Decimal) else value)


def _plain(number: Decimal) -> str:
    """As it is written, without an exponent where that is not absurdly long."""
    exponent = number.as_tuple().exponent
    return f"{number:f}" if isinstance(exponent, int) and -40 < exponent < 40 else str(number)


def _json_lines(value: object, path: str) -> Iterator[str]:
    stack: list[tuple[str, object]] = [(path, value)]
    while stack:
        path, item = stack.pop()
        if isinstance(item, dict):
            stack.extend((_below(path, key), entry) for key, entry in reversed(item.items()))
        elif isinstance(item, list):
            stack.extend((path, entry) for entry in reversed(item))
        elif text := _scalar(item):
            yield f"{path}: {text}" if path else str(text)


def _below(path: str, name: object) -> str:
    return f"{path}.{clean(str(name))}" if path else clean(str(name))
