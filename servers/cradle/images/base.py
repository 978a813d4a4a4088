"""The base of an image out of the running Python: interpreter, standard library, the C libraries, certificates, a user.

Used where no registry can be reached. It needs Linux, since the image runs on Linux; elsewhere, or to build on a
distribution, P0711_BASE_IMAGE names a root file system tar.
"""

from __future__ import annotations

import os
import platform
import ssl
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from servers.cradle.images.elf import is_elf, needed
from servers.cradle.images.layers import Entry
from servers.cradle.images.spec import CERTIFICATES, USER
from servers.cradle.images.trim import STANDARD_LIBRARY, left_out
from shared.contracts.image import Architecture
from shared.errors import Unavailable

_NAME_SERVICE = ("libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2")
MACHINES: dict[Architecture, str] = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures in an image's words, and in those of Linux and of Python's packages."""


def architecture() -> Architecture:
    """This machine's architecture in an image's words.

    Raises:
        Unavailable: not Linux on amd64 or arm64; says what is needed there.
    """
    for found, machine in MACHINES.items():
        if sys.platform.startswith("linux") and machine == platform.machine():
            return found
    raise Unavailable(
        "An image can be made of the running Python on Linux only (amd64 or arm64). Run the platform in a Linux"
        " container or virtual machine."
    )


def base_files() -> list[Entry]:
    """Everything of the running Python that an image needs, except installed packages and byte code.

    Raises:
        Unavailable: the machine cannot give a base; says what to do.
    """
    architecture()
    python = list(_interpreter()) + list(_standard_library())
    binaries = [entry.source for entry in python if isinstance(entry.source, Path) and is_elf(entry.source)]
    found = {entry.name: entry for entry in python}
    for entry in [*shared_libraries(binaries), *_name_service(), *_system_files()]:
        found.setdefault(entry.name, entry)
    return list(found.values())


def shared_libraries(binaries: Iterable[Path]) -> Iterator[Entry]:
    """The system's libraries that the binaries load, at the places where the image's loader finds them.

    Libraries among the installed packages are left out, they travel with the packages that bundle them; and Python's
    own, which travels with it. A distribution's Python has its prefix in common with all libraries of the system.
    """
    packages = {Path(sysconfig.get_path(kind)).resolve() for kind in ("purelib", "platlib")}
    for library in sorted(needed(binaries)):
        resolved = library.resolve()
        if packages & set(resolved.parents) or library.name == sysconfig.get_config_var("INSTSONAME"):
            continue
        if library.name.startswith("ld-linux"):
            yield Entry(str(library).lstrip("/"), resolved, 0o755)
        else:
            yield Entry(f"{_library_folder()}/{library.name}", resolved, 0o755, slim=True)


def _library_folder() -> str:
    return f"usr/lib/{platform.machine()}-linux-gnu"


def _interpreter() -> Iterator[Entry]:
    base = Path(sys.base_prefix)
    executable = Path(os.path.realpath(sys.executable))
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    yield Entry(f"usr/local/bin/{name}", executable, 0o755, slim=True)
    yield Entry("usr/local/bin/python3", link=name)
    soname = sysconfig.get_config_var("INSTSONAME")
    if soname and ".so" in soname:
        folders = (base / "lib", Path(sysconfig.get_config_var("LIBDIR") or base / "lib"))
        library = next((folder / soname for folder in folders if (folder / soname).is_file()), None)
        if library is not None:
            yield Entry(f"usr/local/lib/{soname}", library.resolve(), 0o755, slim=True)


def _standard_library() -> Iterator[Entry]:
    root = Path(sysconfig.get_path("stdlib"))
    target = f"usr/local/lib/python{sys.version_info[0]}.{sys.version_info[1]}"
    for folder, folders, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        folders[:] = sorted(each for each in folders if not left_out(STANDARD_LIBRARY, f"{inside / each}/"))
        for name in sorted(files):
            relative, path = (inside / name).as_posix(), Path(folder) / name
            if left_out(STANDARD_LIBRARY, relative) or not path.is_file():
                continue
            binary = path.suffix == ".so"
            yield Entry(f"{target}/{relative}", path.resolve(), 0o755 if binary else 0o644, slim=binary)


def _name_service() -> Iterator[Entry]:
    for name in _NAME_SERVICE:
        for folder in (
            f"/usr/lib/{platform.machine()}-linux-gnu",
            f"/lib/{platform.machine()}-linux-gnu",
            "/usr/lib64",
        ):
            library = Path(folder) / name
            if library.is_file():
                yield Entry(f"{_library_folder()}/{name}", library.resolve(), 0o755)
                break


def _system_files() -> Iterator[Entry]:
    yield Entry("tmp", mode=0o1777)
    passwd = f"root:x:0:0:root:/:/sbin/nologin\napp:x:{USER}:{USER}:app:/:/sbin/nologin\n"
    yield Entry("etc/passwd", passwd.encode())
    yield Entry("etc/group", f"root:x:0:\napp:x:{USER}:\n".encode())
    yield Entry("etc/nsswitch.conf", b"passwd: files\ngroup: files\nhosts: files dns\n")
    certificates = _certificates()
    if certificates is not None:
        yield Entry(CERTIFICATES.lstrip("/"), certificates)


def _certificates() -> Path | None:
    for candidate in (ssl.get_default_verify_paths().cafile, CERTIFICATES, "/etc/pki/tls/certs/ca-bundle.crt"):
        if candidate and Path(candidate).is_file():
            return Path(candidate).resolve()
    return None
