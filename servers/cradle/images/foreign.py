"""The packages of an image for another architecture than this machine's: the same versions, as wheels, by pip.

pip takes them from where it is told to on this machine (PIP_INDEX_URL; PIP_FIND_LINKS and PIP_NO_INDEX for a folder
of wheels where there is no network) and keeps what it fetched in its own cache. Nothing of them runs here: that their
binaries are for the architecture, and that they find every library that they ask for, is read from the files.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from servers.cradle.images.base import MACHINES
from servers.cradle.images.elf import asked_for
from servers.cradle.images.layers import Entry, room_or_clean
from servers.cradle.images.runtime import binaries_of, distributions
from shared.contracts.image import Architecture
from shared.errors import InvalidInput, Unavailable
from shared.stopping import stop_if_told

_OLDEST_GLIBC = 17  # of the manylinux tags that name a version of it (PEP 600)
_NOT_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9._=+-]{1,120})")
_LOADER = re.compile(r"ld-linux-[a-z0-9_-]+\.so\.\d+")


def versions(architecture: Architecture) -> list[str]:
    """What pip is asked for: the versions that are installed here.

    Raises:
        Unavailable: a package that is required there is not installed here; names it.
    """
    return [f"{each.name}=={each.version}" for each in distributions(architecture)]


@contextmanager
def packages_for(architecture: Architecture, cache: Path) -> Iterator[list[metadata.Distribution]]:
    """The packages, in a folder of `cache` that is gone afterwards; blocking.

    Raises:
        Unavailable: pip does not run, or has not all of them for this architecture; says which is missing.
        StorageFull: no room; nothing is left behind.
    """
    folder = cache / f".partial-{architecture}-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        with room_or_clean():
            _install(architecture, folder)
            yield list(metadata.distributions(path=[str(folder)]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def checked(files: list[Entry], provided: set[str], architecture: Architecture) -> list[Entry]:
    """The packages' files, if an image with this base can load them.

    Args:
        provided: names of files that the base has.

    Raises:
        InvalidInput: a library is in neither, or a binary is for another architecture; names it.
    """
    there = provided | {Path(entry.name).name for entry in files}
    for binary in binaries_of(files):
        made_for, libraries = asked_for(binary)
        if made_for != architecture:
            raise InvalidInput(f"{binary.name} of the packages is not for {architecture}. Check pip's wheels.")
        missing = [name for name in libraries if name not in there and not _LOADER.fullmatch(name)]
        if missing:
            raise InvalidInput(
                f"The base image has no {missing[0]} for {architecture}, and {binary.name} needs it. Pin one that has.",
                field="base_image",
            )
    return files


def _install(architecture: Architecture, folder: Path) -> None:
    command = [
        sys.executable, "-m", "pip", "install", "--target", str(folder), "--no-deps", "--no-compile", "--quiet",
        "--disable-pip-version-check", "--no-input", "--only-binary", ":all:", *options(architecture),
        *versions(architecture),
    ]  # fmt: skip
    status, said = _run(command)
    if status == 0:
        return
    if "No space left on device" in said:
        raise OSError(errno.ENOSPC, "no room")
    if (missing := _NOT_FOUND.search(said)) is not None:
        raise Unavailable(
            f"pip finds no wheel of {missing[1]} for {architecture}. Check its index, or name a folder of wheels in"
            " PIP_FIND_LINKS."
        )
    raise Unavailable(f"pip could not bring the packages for {architecture}. Check that `python -m pip` runs here.")


def _run(command: list[str]) -> tuple[int, str]:
    """A program's exit status and what it said of errors; it ends where nobody waits for it any more."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        try:
            while True:
                stop_if_told()
                with suppress(subprocess.TimeoutExpired):
                    _, said = child.communicate(timeout=1)
                    return child.returncode, said
        except BaseException:
            child.kill()
            raise


def options(architecture: Architecture) -> Iterable[str]:
    """What pip is told of wheels that fit: this Python, and a glibc that is not newer than this machine's."""
    newest = int((platform.libc_ver()[1] or f"2.{_OLDEST_GLIBC}").split(".")[1])
    minor = sys.version_info[1]
    yield from ("--implementation", "cp", "--python-version", f"3.{minor}")
    for abi in (f"cp3{minor}", "abi3", "none"):
        yield from ("--abi", abi)
    for glibc in ("2014", *(f"_2_{number}" for number in range(_OLDEST_GLIBC, newest + 1))):
        yield from ("--platform", f"manylinux{glibc}_{MACHINES[architecture]}")
