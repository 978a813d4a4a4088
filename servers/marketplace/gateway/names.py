"""Full names of tools where many servers share one list: `io-0711-acme-instance__search`.

Such a name has letters, digits, `_` and `-` only, which every client takes. Two servers never share a name: where two
would, each gets a digest of its server's name, so neither stands in for the other.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence

BETWEEN = "__"
LONGEST = 64
"""Some clients take no longer names."""


def full_names(tools: Sequence[tuple[str, str]]) -> list[str]:
    """The full names of (server's name, tool's name) pairs, in their order; all different."""
    plain = [_plain(server) + BETWEEN + _plain(tool) for server, tool in tools]
    times = Counter(plain)
    return [
        name if times[name] == 1 and len(name) <= LONGEST else _marked(server, tool, name)
        for (server, tool), name in zip(tools, plain, strict=True)
    ]


def is_full(name: str | None) -> bool:
    """Whether a name can be a full one; the marketplace's own tools have none."""
    return name is not None and BETWEEN in name


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", name)


def _marked(server: str, tool: str, name: str) -> str:
    mark = hashlib.sha256(f"{server}\n{tool}".encode()).hexdigest()[:12]
    return f"{name[: LONGEST - len(BETWEEN) - len(mark)]}{BETWEEN}{mark}"
