"""Any other XML: its text with the path that leads to it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from servers.cradle.processing.extract.extractor import File, Inner
from servers.cradle.processing.extract.xml import events, local, taken_text
from servers.cradle.processing.extraction import Block, Item

LINES = 40


class Xml:
    name = "xml"
    version = "2"
    media_types = frozenset({"application/xml"})

    def extract(self, file: File, inner: Inner) -> Iterator[Item]:
        """Lines `path: text`, attributes as `path@name: value`, in document order, while the document streams by."""
        del inner
        yield from blocks(_xml_lines(file))


def _xml_lines(file: File) -> Iterator[str]:
    """Text stands before its children; what follows a child (its tail) is whole only at the next event."""
    path: list[str] = []
    for event, element in events(file):
        if event == "start":
            if (parent := element.getparent()) is not None:
                yield from _line(path, taken_text(parent, element))
            path.append(local(element))
            for name, value in element.attrib.items():
                if text := " ".join(str(value).split()):
                    yield f"{'/'.join(path)}@{str(name).rpartition('}')[2]}: {text}"
        else:
            yield from _line(path, taken_text(element))
            path.pop()


def _line(path: list[str], text: str) -> Iterator[str]:
    if words := " ".join(text.split()):
        yield f"{'/'.join(path)}: {words}"


def blocks(lines: Iterator[str]) -> Iterator[Block]:
    """Paragraphs of `LINES` lines each."""
    while held := list(itertools.islice(lines, LINES)):
        yield Block("paragraph", "\n".join(held))
