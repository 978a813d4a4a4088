"""Styles of OpenDocument text that say more than how it looks: above the line (`encoding.raised`), or not shown.

Attributes: OpenDocument 1.3, part 3, 19.861 (text:display), 20.412 (style:text-position) and 19.510 (parent).
"""

from __future__ import annotations

import re

from servers.cradle.processing.extract.encoding import raised
from servers.cradle.processing.extract.open_shapes import HEADING, PARAGRAPH, TEXT
from servers.cradle.processing.extract.xml import Element

_STYLE = "{urn:oasis:names:tc:opendocument:xmlns:style:1.0}"
STYLE = f"{_STYLE}style"
_SPAN, _SECTION, _DISPLAY = f"{TEXT}span", f"{TEXT}section", f"{TEXT}display"
_ABOVE = re.compile(r"super\b|[1-9]\d*(?:\.\d+)?%")


class Styles:
    """What the styles that were told say; one is told behind the style that it is based on."""

    def __init__(self) -> None:
        self._above: set[str] = set()
        self._unseen: set[str] = set()

    def learn(self, style: Element) -> None:
        """Notes a style (`STYLE`)."""
        name, parent = style.get(f"{_STYLE}name", ""), style.get(f"{_STYLE}parent-style-name")
        said = next(style.iterchildren(f"{_STYLE}text-properties"), None)
        place = None if said is None else said.get(f"{_STYLE}text-position")
        display = None if said is None else said.get(_DISPLAY)
        if parent in self._above if place is None else _ABOVE.match(place):
            self._above.add(name)
        if parent in self._unseen if display is None else display == "none":
            self._unseen.add(name)

    def shown(self, root: Element) -> Element:
        """A whole part of a file as it shows itself, its own styles noted: a style may stand before the one that it is
        based on."""
        for style in [*root.iter(STYLE)] * 2:
            self.learn(style)
        for each in [each for each in root.iter(_SECTION) if each.get(_DISPLAY) == "none"]:
            each.clear(keep_tail=True)
        self.show(root)
        return root

    def show(self, top: Element) -> bool:
        """Puts raised characters in the place of those above the line, and takes out what is not shown, inside `top`;
        whether that changed anything."""
        found = False
        for each in list(top.iter(_SPAN, PARAGRAPH, HEADING)) if self._above or self._unseen else ():
            style = each.get(f"{TEXT}style-name")
            if style in self._unseen:
                each.clear(keep_tail=True)
                found = True
            elif each.tag == _SPAN and style in self._above:
                for node in each.iter(_SPAN):
                    found |= (up := raised(node.text or "")) != (node.text or "")
                    node.text = up
        return found
