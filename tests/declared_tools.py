"""The SDK's derivation of a tool's schemas from its function, once in a process for each function.

It takes 3 ms, and hundreds of tests make the marketplace's 46 tools anew: nearly half of their processor time.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from mcp.server.mcpserver.tools.base import Tool

OWN = ("name", "title", "description", "annotations")


def remember() -> None:
    """From now on a function that was declared before, with the same annotations, gets a copy of what came of it."""
    plain, known = Tool.from_function, dict[Any, Tool]()

    def declared(fn: Callable[..., Any], **named: Any) -> Tool:
        inner = inspect.unwrap(fn)
        others = any(value is not None for name, value in named.items() if name not in OWN)
        if others or not inspect.isfunction(inner):
            return plain(fn, **named)
        read = repr((inner.__defaults__, inner.__kwdefaults__))
        key = (inner.__code__, inspect.iscoroutinefunction(fn), tuple(inner.__annotations__.items()), read)
        if key not in known:
            known[key] = plain(fn, **named)
        made, own = known[key], {name: named[name] for name in OWN}
        return made.model_copy(update={**own, "fn": fn, "parameters": copy.deepcopy(made.parameters)})

    Tool.from_function = declared  # pyright: ignore[reportAttributeAccessIssue]
