"""The packages of an image for another architecture than this machine's: the same versions, as wheels, by pip.

pip takes them from where it is told to on this machine (PIP_INDEX_URL; PIP_FIND_LINKS and PIP_NO_INDEX for a folder
of wheels where there is no network) and keeps what it fetched in its own cache. A version is what is asked for, and an
index may give another wheel of it tomorrow: then the layer is another one too, and its digest says so. Nothing of the
packages runs here: that their binaries are for the architecture, and that they find every library that they ask for, is
read from the files.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

from servers.cradle.images.base import MACHINES
from servers.cradle.images.elf import asked_for, newest_glibc
from servers.cradle.images.files import work_name
from servers.cradle.images.layers import Entry, Layer, room_or_clean, tarfile_bytes
from servers.cradle.images.runtime import binaries_of, distributions
from shared.contracts.image import Architecture
from shared.errors import InvalidInput, Unavailable
from shared.settings import PREFIX
from shared.stopping import stop_if_told

_PIP_S = 1800.0
_OLDEST_GLIBC = 17  # of the manylinux tags that name a version of it (PEP 600)
_GLIBC = re.compile(r"(^|/)libc(\.so\.6|-2\.\d+\.so)$")
_NOT_FOUND = re.compile(r"No matching distribution found for ([A-Za-z0-9._=+-]{1,120})")
_LOADER = re.compile(r"ld-linux-[a-z0-9_-]+\.so\.\d+")


def versions(architecture: Architecture) -> list[str]:
    """What pip is asked for: the versions that are installed here.

    Raises:
        Unavailable: a package that is required there is not installed here; names it.
    """
    return [f"{each.name}=={each.version}" for each in distributions(architecture)]


@contextmanager
def packages_for(architecture: Architecture, glibc: int, cache: Path) -> Iterator[list[metadata.Distribution]]:
    """The packages, in a folder of `cache` that is gone afterwards, with all that pip unpacked; blocking.

    Args:
        glibc: the second number of the base's version of it: wheels for a newer one do not load there.

    Raises:
        Unavailable: pip does not run, or has not all of them for this architecture; says which is missing.
        StorageFull: no room; nothing is left behind.
    """
    folder = cache / work_name(f".partial-{architecture}")
    try:
        with room_or_clean(at=cache):
            (folder / "tmp").mkdir(parents=True)
            _install(architecture, glibc, folder)
            yield list(metadata.distributions(path=[str(folder / "site")]))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def glibc_of(layers: Iterable[Layer]) -> int:
    """The second number of the version of glibc that a base has: 36 for 2.36; blocking.

    Raises:
        InvalidInput: it has none, so that wheels of PyPI do not load there.
    """
    found = 0
    for layer in layers:
        with tarfile_bytes(layer.path) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            for member in tar:
                if member.isreg() and _GLIBC.search(member.name) and (file := tar.extractfile(member)) is not None:
                    found = newest_glibc(file.read()) or found
    if not found:
        raise InvalidInput(
            "The base image has no glibc. Give one on Debian, such as python:slim's.", field="base_image"
        )
    return found


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


def _install(architecture: Architecture, glibc: int, folder: Path) -> None:
    command = [
        sys.executable, "-I", "-m", "pip", "install", "--target", str(folder / "site"), "--no-deps", "--no-compile",
        "--quiet", "--disable-pip-version-check", "--no-input", "--only-binary", ":all:",
        *options(architecture, glibc), *versions(architecture),
    ]  # fmt: skip
    status, said = _run(command, folder / "tmp")
    if status == 0:
        return
    if "No space left on device" in said:
        raise OSError(errno.ENOSPC, "no room")
    if (missing := _NOT_FOUND.search(said)) is not None:
        raise Unavailable(
            f"pip finds no wheel of {missing[1]} for {architecture} and glibc 2.{glibc}. Check its index, or name a"
            " folder of wheels in PIP_FIND_LINKS."
        )
    raise Unavailable(f"pip could not bring the packages for {architecture}. Check that `python -m pip` runs here.")


def _run(command: list[str], temporary: Path) -> tuple[int, str]:
    """A program's exit status and what it said of errors; it ends where nobody waits for it any more.

    It knows nothing of the platform's settings, and unpacks to `temporary`.
    """
    own = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    until = time.monotonic() + _PIP_S
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**own, "TMPDIR": str(temporary)}
    ) as child:
        try:
            while time.monotonic() < until:
                stop_if_told()
                with suppress(subprocess.TimeoutExpired):
                    _, said = child.communicate(timeout=1)
                    return child.returncode, said.decode(errors="replace")
        except BaseException:
            child.kill()
            raise
        child.kill()
    raise Unavailable("pip did not bring the packages in half an hour. Try again: what it has fetched it keeps.")


def options(architecture: Architecture, glibc: int) -> Iterable[str]:
    """What pip is told of wheels that fit: this Python, and a glibc that is not newer than 2.`glibc`."""
    minor = sys.version_info[1]
    yield from ("--implementation", "cp", "--python-version", f"3.{minor}")
    for abi in (f"cp3{minor}", "abi3", "none"):
        yield from ("--abi", abi)
    for oldest in ("2014", *(f"_2_{number}" for number in range(_OLDEST_GLIBC, glibc + 1))):
        yield from ("--platform", f"manylinux{oldest}_{MACHINES[architecture]}")
