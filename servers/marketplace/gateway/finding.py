"""Finding tools by words, for callers whose list would be too long to read. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import orjson

ALWAYS_LISTED = frozenset({"search_tools", "search_mcps", "install_mcp", "explain_access", "whoami"})
"""Own tools of the marketplace that a list which leaves the finding to `search_tools` still has."""
IN_NAME, IN_TEXT = 3.0, 1.0
ENOUGH, ENOUGH_OF_TOOL = 3, 4
"""Letters of a word of the query, and of a tool's word, that stand for longer ones: `a` for none."""
_WORD = re.compile(r"[a-z0-9äöüß]+")


def found_tools(definitions: Sequence[str], query: str, limit: int) -> list[dict[str, Any]]:
    """The tools that fit a query best, best first; none that no word of it fits, and none that every list has.

    A word counts more in a name than in a description, and more the fewer tools have it (as in BM25). A tool's word
    counts where one begins with the other: `prod` and `products` both fit `product`.

    Args:
        definitions: each tool's JSON.
    """
    wanted = set(_words(query))
    tools = [tool for tool in map(orjson.loads, definitions) if tool["name"] not in ALWAYS_LISTED]
    scores = [_hits(tool, wanted) for tool in tools]
    having = Counter(word for hits in scores for word in hits)
    ranked = [
        (sum(weight * math.log(1 + len(tools) / having[word]) for word, weight in hits.items()), -place)
        for place, hits in enumerate(scores)
    ]
    best = sorted((each for each in ranked if each[0] > 0), reverse=True)[:limit]
    return [tools[-place] for _, place in best]


def _hits(tool: dict[str, Any], wanted: set[str]) -> dict[str, float]:
    name, text = _words(tool["name"]), _words(f"{tool.get('title', '')} {tool.get('description', '')}")
    hits: dict[str, float] = {}
    for word in wanted:
        if any(_fits(word, each) for each in name):
            hits[word] = IN_NAME
        elif any(_fits(word, each) for each in text):
            hits[word] = IN_TEXT
    return hits


def _fits(word: str, of_tool: str) -> bool:
    """Whether a word of a query means one of a tool: equal, or one begins with the other and says enough by itself."""
    longer, shorter = (of_tool, word) if len(of_tool) >= len(word) else (word, of_tool)
    enough = ENOUGH if shorter is word else ENOUGH_OF_TOOL
    return longer == shorter or (len(shorter) >= enough and longer.startswith(shorter))


def _words(text: object) -> list[str]:
    return _WORD.findall(str(text).lower())
