"""The packages that an instance needs, taken from the running environment, without what it never loads.

The list is walked from `ROOTS` through each package's requirements, so that it cannot fall behind. torch, the
extractors and everything that only the platform uses stay out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path, PurePosixPath

from servers.cradle.images.base import MACHINES, shared_libraries
from servers.cradle.images.elf import is_elf
from servers.cradle.images.layers import Entry
from servers.cradle.images.pycs import with_byte_code
from servers.cradle.images.spec import APP, SITE
from servers.cradle.images.trim import NOT_REACHED, PACKAGES, left_out
from shared.contracts.image import Architecture
from shared.errors import Unavailable

ROOTS = (
    "mcp", "uvicorn", "uvloop", "httptools", "orjson", "prometheus-client",
    "pydantic", "pydantic-settings", "jinja2", "pyjwt", "cryptography",
    "lancedb", "pyarrow", "deltalake", "ladybug", "openvino", "tokenizers", "numpy", "sqlglot", "neo4j",
)  # fmt: skip

_OWN = ("servers/__init__.py", "servers/instance", "shared", "templates")
_OWN_SKIPPED = re.compile(r"(^|/)(__pycache__|\.[^/]*)(/|$)|^templates/(image|compose|delivery|helm|report)/|\.pyc$")


def distributions(architecture: Architecture | None = None) -> list[metadata.Distribution]:
    """The installed packages that the image gets, by name.

    Args:
        architecture: what the packages are required for; None: this machine.

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
        required = _requirements(distribution, extras, architecture)
        waiting += [each for each in required if each[0] not in found or each[1]]
    return [found[name] for name in sorted(found)]


def _requirements(
    distribution: metadata.Distribution, extras: frozenset[str], architecture: Architecture | None
) -> Iterator[tuple[str, frozenset[str]]]:
    from packaging.requirements import Requirement

    there = {"platform_machine": MACHINES[architecture]} if architecture else {}
    for line in distribution.requires or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra, **there}) for extra in (extras or {""})):
            yield re.sub(r"[-_.]+", "-", requirement.name).lower(), frozenset(requirement.extras)


def package_files(packages: Iterable[metadata.Distribution]) -> list[Entry]:
    """The files of these packages that an image keeps, without byte code and system libraries."""
    found: dict[str, Entry] = {}
    for distribution in packages:
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
    there = provided | {Path(entry.name).name for entry in files}
    libraries = [each for each in shared_libraries(binaries_of(files)) if Path(each.name).name not in there]
    return with_byte_code(files) + libraries


def binaries_of(files: Iterable[Entry]) -> list[Path]:
    """The programs and libraries among the packages' files."""
    return [entry.source for entry in files if isinstance(entry.source, Path) and entry.slim and is_elf(entry.source)]


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
