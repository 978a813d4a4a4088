"""What stands in an OpenDocument file's paragraphs and shapes, read from its XML.

Elements: OpenDocument 1.3, part 3, 10 (shapes), 13 (forms), 14.1 (annotations) and 6.1 (text).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from servers.cradle.processing.extract.encoding import clean
from servers.cradle.processing.extract.xml import Element, local

TEXT = "{urn:oasis:names:tc:opendocument:xmlns:text:1.0}"
DRAW = "{urn:oasis:names:tc:opendocument:xmlns:drawing:1.0}"
FORM = "{urn:oasis:names:tc:opendocument:xmlns:form:1.0}"
_HREF = "{http://www.w3.org/1999/xlink}href"
PARAGRAPH, HEADING = TEXT + "p", TEXT + "h"
ANNOTATION = "{urn:oasis:names:tc:opendocument:xmlns:office:1.0}annotation"
MAX_SPACES = 255
_HOLDING = (DRAW + "g", DRAW + "a")


def shapes(element: Element) -> list[Element]:
    """The shapes among the children of a cell, a group or a list of shapes."""
    return [each for each in element if isinstance(each.tag, str) and each.tag.startswith(DRAW)]


def boxes(element: Element, labels: Mapping[str, str]) -> Iterator[str]:
    """The texts of its shapes, those in groups too; shapes without text left out.

    Args:
        labels: of the sheet's buttons and fields, which are drawn as shapes.
    """
    for shape in shapes(element):
        if shape.tag in _HOLDING:
            yield from boxes(shape, labels)
        elif text := inside(shape) or labels.get(shape.get(DRAW + "control", ""), ""):
            yield text


def labelled(forms: Element) -> Iterator[tuple[str, str]]:
    """Each button and field of a sheet's forms that has a label, and it."""
    for each in forms.iter(FORM + "*"):
        if label := clean(each.get(FORM + "label", "")).strip():
            yield each.get(FORM + "id", ""), label


def objects(element: Element) -> Iterator[str]:
    """The names of what is embedded in its shapes: a folder of an OpenDocument file, or a file."""
    for shape in shapes(element):
        yield from linked(shape, "object", "object-ole")


def pictures(element: Element) -> Iterator[str]:
    """The pictures drawn inside it; of a frame that holds something else they are only what that looks like."""
    for frame in element.iter(f"{DRAW}frame"):
        if not {"object", "object-ole", "table"} & {*map(local, frame)}:
            yield from linked(frame, "image")


def linked(element: Element, *names: str) -> Iterator[str]:
    """The places in the file that elements of these names, of what is drawn inside the element, stand for."""
    for each in element.iter(*(DRAW + name for name in names)):
        if href := each.get(_HREF):
            yield href.removeprefix("./").rstrip("/")


def inside(element: Element) -> str:
    """The text of all paragraphs inside the element that are not empty, a line each."""
    return "\n".join(text for each in element.iter(PARAGRAPH, HEADING) if (text := said(each).strip()))


def paragraphs(element: Element) -> str:
    """The text of the paragraphs that are the element's own, a line each."""
    return "\n".join(said(each) for each in element if each.tag in {PARAGRAPH, HEADING})


def said(paragraph: Element) -> str:
    """The text of a paragraph without what is drawn or noted inside it."""
    pieces = [paragraph.text or ""]
    for child in paragraph:
        name = local(child)
        if name == "s":
            pieces.append(" " * min(number(child.get(TEXT + "c")) or 1, MAX_SPACES))
        elif name in {"tab", "line-break"}:
            pieces.append("\t" if name == "tab" else "\n")
        elif isinstance(child.tag, str) and child.tag.startswith(TEXT) and name != "note":
            pieces.append(said(child))
        pieces.append(child.tail or "")
    return clean("".join(pieces))


def number(text: str | None) -> int:
    """What an attribute counts, at most eight digits; 0 where it says no number."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 9 else 0
