"""The packages that an instance needs, taken from the running environment, without what it never loads.

The list is walked from `ROOTS` through each package's requirements, so that it cannot fall behind. torch, the
extractors and everything that only the platform uses stay out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath

from servers.cradle.images.base import shared_libraries
from servers.cradle.images.elf import is_elf
from servers.cradle.images.layers import Entry
from servers.cradle.images.pycs import with_byte_code
from servers.cradle.images.spec import APP, SITE
from servers.cradle.images.trim import NOT_REACHED, PACKAGES, left_out
from shared.errors import Unavailable

ROOTS = (
    "mcp", "uvicorn", "uvloop", "httptools", "orjson", "prometheus-client",
    "pydantic", "pydantic-settings", "jinja2", "pyjwt", "cryptography",
    "lancedb", "pyarrow", "deltalake", "ladybug", "openvino", "tokenizers", "numpy", "sqlglot", "neo4j",
)  # fmt: skip

_OWN = ("servers/__init__.py", "servers/instance", "shared", "templates")
_OWN_SKIPPED = re.compile(r"(^|/)(__pycache__|\.[^/]*)(/|$)|^templates/(image|compose|delivery|helm|report)/|\.pyc$")


def distributions() -> list[metadata.Distribution]:
    """The installed packages that the image gets, by name.

    Raises:
        Unavailable: one is not installed; names it.
    """
    found: dict[str, metadata.Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in ROOTS]
    while waiting:
        name, extras = waiting.pop()
        if name in NOT_REACHED or (name in found and not extras):
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            raise Unavailable(
                f"The package {name} is not installed. Run `make` to install the platform again."
            ) from None
        found[name] = distribution
        waiting += [each for each in _requirements(distribution, extras) if each[0] not in found or each[1]]
    return [found[name] for name in sorted(found)]


def _requirements(distribution: metadata.Distribution, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement

    for line in distribution.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""})):
            yield re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)


def package_files() -> list[Entry]:
    """The files of `distributions()` that an image keeps, without byte code and system libraries."""
    found: dict[str, Entry] = {}
    for distribution in distributions():
        for file in distribution.files or []:
            name = PurePosixPath(file).as_posix()
            if name.startswith(("..", "/")) or left_out(PACKAGES, name):
                continue
            path = Path(str(distribution.locate_file(file)))
            if path.is_file():
                binary = ".so" in path.name
                mode = 0o755 if binary else 0o644
                found[name] = Entry(f"{SITE.lstrip('/')}/{name}", path.resolve(), mode, slim=binary)
    return list(found.values())


def complete(files: list[Entry], provided: set[str]) -> list[Entry]:
    """The runtime layer: the packages' files, their byte code, and the system's libraries that they load.

    Args:
        provided: names of files that the base has: a library among them is not brought along.
    """
    binaries = [
        entry.source for entry in files if isinstance(entry.source, Path) and entry.slim and is_elf(entry.source)
    ]
    there = provided | {Path(entry.name).name for entry in files}
    libraries = [each for each in shared_libraries(binaries) if Path(each.name).name not in there]
    return with_byte_code(files) + libraries


@cache
def _own_root() -> Path:
    import shared

    return Path(shared.__file__).resolve().parents[1]


def app_files() -> list[Entry]:
    """The app layer without byte code: the platform's own code that runs in an instance."""
    root = _own_root()
    found = []
    for start in _OWN:
        paths = [root / start] if (root / start).is_file() else sorted((root / start).rglob("*"))
        for path in paths:
            name = path.relative_to(root).as_posix()
            if path.is_file() and not _OWN_SKIPPED.search(name):
                found.append(Entry(f"{APP.lstrip('/')}/{name}", path))
    return found
