"""Linux binaries: what they need to load, and what they carry that a running process never reads.

Field positions follow the ELF-64 specification (little endian), https://refspecs.linuxfoundation.org/elf/gabi4+/.
"""

from __future__ import annotations

import io
import re
import shutil
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path

from shared.contracts.image import Architecture
from shared.errors import InvalidInput, Unavailable

_HEADER = 64
_FOUND = re.compile(r"(?:=>\s+|^\s+)(/\S+) \(0x", re.MULTILINE)
_GLIBC = re.compile(r"GLIBC_2\.(\d+)(?:\.\d+)?")
_MACHINES: dict[str, Architecture] = {"x64": "amd64", "AArch64": "arm64"}


def is_elf(path: Path) -> bool:
    """Whether the file is an ELF-64 binary in little endian."""
    with path.open("rb") as file:
        return file.read(6) == b"\x7fELF\x02\x01"


def asked_for(path: Path) -> tuple[Architecture | None, list[str]]:
    """The architecture that a binary is for, and the names of the libraries that it asks the loader for.

    Raises:
        InvalidInput: it is damaged.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.dynamic import DynamicSegment
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            binary = ELFFile(file)
            tags = [
                tag.needed  # pyright: ignore[reportAttributeAccessIssue]
                for segment in binary.iter_segments("PT_DYNAMIC")
                if isinstance(segment, DynamicSegment)
                for tag in segment.iter_tags("DT_NEEDED")
            ]
            return _MACHINES.get(binary.get_machine_arch()), tags
    except ELFError:
        raise InvalidInput(f"{path.name} of the packages is damaged. Check pip's wheels.") from None


def newest_glibc(library: bytes) -> int:
    """The second number of the newest version of glibc that a `libc.so.6` names (36 for GLIBC_2.36); 0: none."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile
    from elftools.elf.gnuversions import GNUVerDefSection

    try:
        found = ELFFile(io.BytesIO(library)).get_section_by_name(".gnu.version_d")
    except ELFError:
        return 0
    if not isinstance(found, GNUVerDefSection):
        return 0
    names = [each.name for _, version in found.iter_versions() for each in version]
    return max((int(number[1]) for name in names if (number := _GLIBC.fullmatch(name))), default=0)


def loaded_size(path: Path) -> int:
    """Bytes of the file, from its start, that loading it uses.

    Symbol tables for linkers and debuggers, and the section table, lie behind the last segment. Cutting them off
    changes nothing at run time: the loader reads program headers only. Returns the whole size where that does not hold.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    size = path.stat().st_size
    with path.open("rb") as file:
        try:
            binary = ELFFile(file)
            ends = [each["p_offset"] + each["p_filesz"] for each in binary.iter_segments()]
        except ELFError:
            return size
        header = max(_HEADER, binary["e_phoff"] + binary["e_phentsize"] * binary["e_phnum"])
    return min(max(header, *ends), size) if ends else size


def slim(path: Path) -> bytes:
    """The binary's bytes up to `loaded_size`, with the section table's fields cleared to match."""
    keep = loaded_size(path)
    with path.open("rb") as file:
        data = bytearray(file.read(keep))
    struct.pack_into("<Q", data, 40, 0)  # e_shoff
    struct.pack_into("<HHH", data, 58, 0, 0, 0)  # e_shentsize, e_shnum, e_shstrndx
    return bytes(data)


def needed(paths: Iterable[Path]) -> set[Path]:
    """The shared libraries that the loader of this machine finds for the binaries.

    Raises:
        Unavailable: there is no `ldd`, or it does not answer.
    """
    ldd = shutil.which("ldd")
    if ldd is None:
        raise Unavailable("No `ldd` on this machine. Set P0711_BASE_IMAGE to a root file system tar with Python 3.11.")
    found: set[Path] = set()
    waiting = sorted(paths)
    for start in range(0, len(waiting), 100):
        batch = [str(path) for path in waiting[start : start + 100]]
        try:
            answer = subprocess.run([ldd, *batch], capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            raise Unavailable("`ldd` did not answer within two minutes. Try again.") from None
        found |= {Path(each) for each in _FOUND.findall(answer.stdout)}
    return found
