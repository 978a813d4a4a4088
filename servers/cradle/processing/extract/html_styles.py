"""Which elements of an HTML page its own style sheets hide: classes and ids with `display: none`; no more of CSS."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

MAX_CSS = 2**20
_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_BRACE = re.compile(r"([{}])")
_DISPLAY = re.compile(r"(?:^|[;\s])(?:display\s*:\s*([\w-]+)|(mso-hide)\s*:\s*all)", re.IGNORECASE)
_SIMPLE = re.compile(r"([a-z][a-z0-9]*)?([.#])(-?[_a-z][\w-]*)", re.IGNORECASE)
_SCREEN = ("all", "screen", "")
_NAME = re.compile(r"[.#]-?[_a-z][\w-]*", re.IGNORECASE)


class Hidden(NamedTuple):
    """A tag, '' for any, and the class (`.x`) or id (`#x`) by which a sheet hides it."""

    tag: str
    name: str


class Sheets:
    """The style sheets of a page. What one of them shows again, for a medium or when it is pointed at, is not hidden.

    Args:
        soup: the page, its scripts and styles still in it.
    """

    def __init__(self, soup) -> None:
        sheets = (each for each in soup.find_all("style") if str(each.get("media") or "all").lower() in _SCREEN)
        css = _COMMENT.sub(" ", "\n".join(each.get_text() for each in sheets)[:MAX_CSS])
        hidden, opened = set[Hidden](), set[str]()
        for selectors, body, nested in _rules(css):
            for display, _ in _DISPLAY.findall(body)[-1:]:
                gone = display.lower() in ("none", "")
                for selector in map(str.strip, selectors.split(",")):
                    if not gone:
                        opened.update(_NAME.findall(selector))
                    elif not nested and (simple := _SIMPLE.fullmatch(selector)):
                        hidden.add(Hidden((simple[1] or "").lower(), simple[2] + simple[3]))
        self._hidden = {each for each in hidden if each.name not in opened}

    def hide(self, tag) -> bool:
        """Whether they hide an element of the page that does not say itself how it is displayed."""
        if not self._hidden or _DISPLAY.search(str(tag.get("style") or "")):
            return False
        names = [f".{each}" for each in tag.get("class") or ()]
        names += [f"#{tag['id']}"] if tag.get("id") else []
        return any(Hidden("", name) in self._hidden or Hidden(tag.name, name) in self._hidden for name in names)


def _rules(css: str) -> Iterator[tuple[str, str, bool]]:
    """Selectors and declarations of each rule, and whether it stands in another one, such as that of a medium."""
    heads, before = list[str](), ""
    for part in _BRACE.split(css):
        if part == "{":
            heads.append(before.rpartition(";")[2].strip())
        elif part == "}":
            if heads:
                yield heads.pop(), before, bool(heads)
        else:
            before = part
