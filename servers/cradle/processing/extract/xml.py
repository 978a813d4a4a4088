"""XML read without entities, external references or unbounded depth. The one place that configures the parser."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from servers.cradle.processing.extract.extractor import File, Unreadable

Element = Any  # lxml ships no types
_ENTITY = re.compile(rb"<!ENTITY|<\0!\0E\0N\0T\0I\0T\0Y|\0<\0!\0E\0N\0T\0I\0T\0Y")
_DAMAGED = "The XML is cut off or not well-formed. Send it again from its source."
_ENTITIES = "The XML has entities of its own, which are not expanded. Save it without a DOCTYPE and send it again."


def refuse_entities(data: bytes) -> None:
    """Raises `Unreadable` where the prologue declares entities: they are never expanded, so text would be missing."""
    if _ENTITY.search(data[:65536]):
        raise Unreadable("xml_entities", _ENTITIES)


def parse(data: bytes) -> Element:
    """The root of a document that fits in memory. Depth is bounded by libxml2 at 256.

    Raises:
        Unreadable: `damaged` or `xml_entities`.
    """
    refuse_entities(data)
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, huge_tree=len(data) > 10 * 2**20, remove_comments=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        raise Unreadable("damaged", _DAMAGED) from None
    _refuse_declared(root)
    if root.getroottree().docinfo.doctype and next(root.iter(etree.Entity), None) is not None:
        raise Unreadable("xml_entities", _ENTITIES)
    return root


def events(file: File) -> Iterator[tuple[str, Element]]:
    """`start` and `end` of each element while the document streams by; the caller clears what it has read. Of an entity
    of an external DTD, which is never read, an element that ends has what HTML means by its name, or the name.

    Raises:
        Unreadable: `damaged` or `xml_entities`, at the point where the document breaks.
    """
    refuse_entities(file.head)
    stream = etree.iterparse(
        file.open(),
        events=("start", "end"),
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    first, typed = True, False
    try:
        for event, element in stream:
            if first:
                first, typed = False, bool(element.getroottree().docinfo.doctype)
                _refuse_declared(element)
            if typed and event == "end" and len(element):
                _spell_out(element)
            yield event, element
    except etree.XMLSyntaxError:
        raise Unreadable("damaged", _DAMAGED) from None


def local(element: Element) -> str:
    """The element's name without its namespace; '' for comments and entity references."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def drop(element: Element) -> None:
    """Frees an element that was read, and its elder siblings, so that memory stays flat."""
    element.clear(keep_tail=False)
    parent = element.getparent()
    while parent is not None and (elder := element.getprevious()) is not None:
        parent.remove(elder)


def taken_text(parent: Element, until: Element | None = None) -> str:
    """The text of an element that nobody has taken yet, up to a child; what stood there is freed."""
    pieces, parent.text = [parent.text or ""], None
    while (node := next(parent.iterchildren(), None)) is not None and node is not until:
        if node.tag is etree.Entity:
            pieces.append(html.unescape(node.text))
        pieces.append(node.tail or "")
        parent.remove(node)
    return "".join(pieces)


def _spell_out(element: Element) -> None:
    """Puts the entities among an element's children into its text."""
    for entity in list(element.iterchildren(etree.Entity)):
        text, before = html.unescape(entity.text) + (entity.tail or ""), entity.getprevious()
        if before is None:
            element.text = (element.text or "") + text
        else:
            before.tail = (before.tail or "") + text
        element.remove(entity)


def _refuse_declared(root: Element) -> None:
    declared = root.getroottree().docinfo.internalDTD
    if declared is not None and any(True for _ in declared.iterentities()):
        raise Unreadable("xml_entities", _ENTITIES)
