"""Tool definitions: what a server says of its tools, and whether that is what was approved.

A definition is pinned by the SHA-256 of its canonical JSON, so any changed byte of name, description, schemas or
annotations changes the digest. A tool may be listed and called only while what was seen last is what is pinned.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import orjson

from shared.contracts.catalogue import SCOPE_OF_TOOL
from shared.errors import Unavailable
from shared.ids import Digest, canonical_digest, canonical_json, digest

MAX_TOOLS = 500
MAX_DEFINITION = 32 * 1024
"""Bytes of a tool's definition: who reviews it reads all of it in one answer."""
MAX_LIST = 2 * 2**20
"""Bytes of all definitions of a server: they are held in memory while its customers call it."""
TOOL_NAME = re.compile(r"^[A-Za-z0-9_.-]{1,128}$")

State = Literal["approved", "changed", "new", "gone"]
Era = Literal["modern", "legacy"]


@dataclass(frozen=True, slots=True)
class Definition:
    """One tool as its server defines it: the canonical JSON and its digest."""

    name: str
    text: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class PinnedTool:
    """One tool as stored. `pin` and `pinned` are what was approved, `seen` what the server said last; None: nothing."""

    name: str
    pin: Digest | None
    pinned: str | None
    seen: Digest | None
    seen_definition: str | None

    @property
    def state(self) -> State:
        """Only an `approved` tool is listed and called."""
        if self.seen is None:
            return "gone"
        if self.pin is None:
            return "new"
        return "approved" if self.pin == self.seen and self.pinned is not None else "changed"


def read_definitions(tools: Iterable[Any]) -> tuple[Definition, ...]:
    """What a server's `tools/list` holds.

    Raises:
        Unavailable: it is no list of definitions with names of their own, or over a bound.
    """
    found: dict[str, Definition] = {}
    left = MAX_LIST
    for tool in tools:
        definition = _definition(tool)
        left -= len(definition.text) if definition else 0
        if definition is None or definition.name in found or len(found) >= MAX_TOOLS or left < 0:
            raise Unavailable("The server's list of tools cannot be used: its operator has to look into it.")
        found[definition.name] = definition
    return tuple(found.values())


def _definition(tool: Any) -> Definition | None:
    if not isinstance(tool, Mapping) or not isinstance(tool.get("inputSchema"), Mapping):
        return None
    name = tool.get("name")
    if not isinstance(name, str) or not TOOL_NAME.fullmatch(name):
        return None
    try:
        text = canonical_json(tool)
    except TypeError:  # nested deeper than it can be written again
        return None
    return Definition(name, text.decode(), digest(text)) if len(text) <= MAX_DEFINITION else None


@lru_cache(maxsize=4096)  # the same texts for everyone
def scope_of(definition: str) -> str | None:
    """The scope that a server of the platform says that a tool needs; None: it does not say."""
    said = orjson.loads(definition).get("_meta")
    scope = said.get(SCOPE_OF_TOOL) if isinstance(said, dict) else None
    return scope if isinstance(scope, str) else None


@lru_cache(maxsize=4096)
def only_reads(definition: str) -> bool:
    """Whether a tool says of itself that it changes nothing (MCP's `readOnlyHint`)."""
    said = orjson.loads(definition).get("annotations")
    return isinstance(said, dict) and said.get("readOnlyHint") is True


def schema_of(definition: str) -> Mapping[str, Any]:
    """The JSON Schema of a tool's arguments."""
    return orjson.loads(definition)["inputSchema"]


def digest_of_seen(tools: Iterable[PinnedTool]) -> Digest:
    """One digest over everything that was seen last: what an approval names."""
    return canonical_digest([[tool.name, tool.seen] for tool in sorted(tools, key=lambda each: each.name) if tool.seen])
