"""Full names of tools where many servers share one list: `io-0711-acme-instance__search`.

Such a name has letters, digits, `_` and `-` only, which every client takes. Two tools never share a name: where two
would, or a name is too long, the server's part is cut and gets a digest. The tool's part stays whole, for descriptions
name each other's tools and a model chooses by names.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

BETWEEN = "__"
LONGEST = 64
"""Some clients take no longer names."""
KEPT = 24
"""Characters of a server's name that a cut name shows."""
SHORT = 25
"""Characters of tools' names that leave so much room: where one of them needs it, the server's name is cut for all of
its tools, so that they begin alike."""


def full_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """The full names of (server's name, tool's name) pairs, in their order; all different, whatever the order is."""
    plain = {(server, tool): _plain(server) + BETWEEN + _plain(tool) for server, tool in tools}
    cut = {server for (server, tool), name in plain.items() if len(name) > LONGEST and len(tool) <= SHORT}
    names, times = {each: _marked(*each, 1) if each[0] in cut else name for each, name in plain.items()}, 0
    while wrong := _wrong(names):  # again, since somebody may call a tool what another one is called with its digest
        times += 1
        names |= {each: _marked(*each, times) for each in wrong}
    return [names[each] for each in tools]


def _wrong(names: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    times = Counter(names.values())
    return [each for each, name in names.items() if times[name] > 1 or len(name) > LONGEST]


def is_full(name: str | None) -> bool:
    """Whether a name can be a full one; the marketplace's own tools have none."""
    return name is not None and BETWEEN in name


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _marked(server: str, tool: str, times: int) -> str:
    """With a digest of the server, which all its tools share; of the tool too, where that was not enough."""
    told = server if times == 1 else f"{server}\n{tool}\n{times}"
    mark = hashlib.sha256(told.encode()).hexdigest()[:12]
    left, right = _plain(server), BETWEEN + _plain(tool)
    room = LONGEST - len(right) - len(mark) - 1
    if room > 0:
        return f"{left[: min(room, KEPT)]}-{mark}{right}"
    mark = hashlib.sha256(f"{told}\n{tool}".encode()).hexdigest()[:12]
    return f"{(left + right)[: LONGEST - len(BETWEEN) - len(mark)]}{BETWEEN}{mark}"
