"""LanceDB's import without what nothing here reaches: a third of the processor time, at each start of an instance."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_CLIENT = "lance_namespace_urllib3_client"


@contextmanager
def lean_import() -> Iterator[None]:
    """Within it `import lancedb` reads no client of remote catalogues (150 modules), methods that are marked as
    overriding are not looked for in their base classes' source, as LanceDB has it from Python 3.12 on, and LanceDB is
    not told of forks."""
    finder: Any = _StandIn()
    sys.meta_path.insert(0, finder)
    try:
        with _overriding_unchecked(), _forks_untold():
            yield
    finally:
        sys.meta_path.remove(finder)


@contextmanager
def _overriding_unchecked() -> Iterator[None]:
    if sys.version_info >= (3, 12):
        yield
        return
    import overrides

    checked, overrides.override = overrides.override, _marked
    try:
        yield
    finally:
        overrides.override = checked


@contextmanager
def _forks_untold() -> Iterator[None]:
    """What is forked here becomes another program at once. LanceDB would start a thread in it before that, and each
    time warn of deadlocks in its parent's log: uvloop, unlike asyncio, runs what is registered."""
    system: Any = os
    register = system.register_at_fork

    def of_others(**hooks: Any) -> None:
        if not any(str(getattr(hook, "__module__", "")).startswith("lancedb") for hook in hooks.values()):
            register(**hooks)

    system.register_at_fork = of_others
    try:
        yield
    finally:
        system.register_at_fork = register


class _StandIn:
    """Finds and loads the client's modules: whatever is imported from one is a class that has a name and no more."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        loader: Any = self
        return ModuleSpec(name, loader, is_package=True) if name.split(".", 1)[0] == _CLIENT else None

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__getattr__"] = _named


def _named(name: str) -> type:
    if name.startswith("__"):
        raise AttributeError(name)
    return type(name, (), {})


def _marked(method: Any) -> Any:
    with suppress(AttributeError):  # a property has no room for it and needs none
        method.__override__ = True
    return method
