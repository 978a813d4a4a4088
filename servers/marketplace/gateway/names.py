"""Full names of tools where many servers share one list: `io-0711-acme-instance__search`.

Such a name has letters, digits, `_` and `-` only, which every client takes. Two servers never share a name: where two
would, each gets a digest of its server's name, so neither stands in for the other.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence

BETWEEN = "__"
LONGEST = 64
"""Some clients take no longer names."""


def full_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """The full names of (server's name, tool's name) pairs, in their order; all different, whatever the order is."""
    plain = {(server, tool): _plain(server) + BETWEEN + _plain(tool) for server, tool in tools}
    names, times = dict(plain), 0
    while wrong := _wrong(names):  # again, since somebody may call a tool what another one is called with its digest
        times += 1
        names |= {each: _marked(*each, plain[each], times) for each in wrong}
    return [names[each] for each in tools]


def _wrong(names: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    times = Counter(names.values())
    return [each for each, name in names.items() if times[name] > 1 or len(name) > LONGEST]


def is_full(name: str | None) -> bool:
    """Whether a name can be a full one; the marketplace's own tools have none."""
    return name is not None and BETWEEN in name


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _marked(server: str, tool: str, name: str, times: int) -> str:
    again = f"\n{times}" if times > 1 else ""
    mark = hashlib.sha256(f"{server}\n{tool}{again}".encode()).hexdigest()[:12]
    return f"{name[: LONGEST - len(BETWEEN) - len(mark)]}{BETWEEN}{mark}"
