"""A reader that a hostile file has taken over reaches no key, no other customer's file, no network and no program."""

from __future__ import annotations

import contextlib
import gzip
import subprocess
import sys
from pathlib import Path

import pytest

from servers.cradle.processing.children import ExtractionPool, Limits
from servers.cradle.processing.confinement import FORBIDDEN_CALLS, landlock, whole
from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extraction import Extraction, joined, parts
from tests.conftest import ROOT

TRIES = """
import os, socket, subprocess, sys
from pathlib import Path
from servers.cradle.processing import child
key, folder = Path(sys.argv[1]), Path(sys.argv[1]).parent
tries = {
    "a key": key.read_bytes,
    "a folder": lambda: os.listdir(folder),
    "the accounts": Path("/etc/passwd").read_bytes,
    "another's environment": Path(f"/proc/{os.getppid()}/environ").read_bytes,
    "a new folder": lambda: (folder / f"new-{sys.argv[2]}").mkdir(),
    "another name": lambda: key.rename(folder / "moved").rename(key),
    "a link": lambda: (folder / sys.argv[2]).symlink_to(key),
    "a signal": lambda: os.kill(os.getppid(), 0),
    "tcp": lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close(),
    "udp": lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM).close(),
    "a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
    "a program": lambda: subprocess.run(["/bin/true"], check=True),
}
def possible():
    found = []
    for name, attempt in tries.items():
        try:
            attempt()
            found.append(name)
        except PermissionError:
            pass
    return found
if sys.argv[2] == "confined":
    assert len(os.listdir("/proc/self/task")) == 1, "a thread that runs already is not confined"
    child.confine(2**32)
print(";".join(possible()))
"""
NEEDS_LANDLOCK = {
    "a key",
    "a folder",
    "the accounts",
    "another's environment",
    "a new folder",
    "another name",
    "a link",
}


def possible(key: Path, how: str) -> set[str]:
    """What a process of the platform can do with a file beside it, with the network and with programs."""
    ended = subprocess.run(
        [sys.executable, "-c", TRIES, str(key), how], cwd=ROOT, text=True, capture_output=True, timeout=240, check=True
    )
    return set(filter(None, ended.stdout.strip().split(";")))


@pytest.mark.requirement("I-07", "S-02")
@pytest.mark.skipif(landlock() < 6, reason="this kernel has no Landlock, or one that knows no signals (Linux 6.12)")
def test_code_in_a_reader_reads_no_key_opens_no_socket_and_starts_nothing(tmp_path: Path) -> None:
    key = tmp_path / "customer.age"
    key.write_text("secret")
    assert whole()
    everything = possible(key, "free")
    assert everything >= NEEDS_LANDLOCK | {"a signal", "tcp", "a local socket", "a program"}
    assert possible(key, "confined") == set()
    assert key.read_text() == "secret"


@pytest.mark.requirement("I-07")
@pytest.mark.skipif(sys.platform != "linux", reason="calls are filtered by Linux")
def test_every_architecture_that_is_delivered_has_its_filter_and_here_sockets_and_programs_are_refused(
    tmp_path: Path,
) -> None:
    assert FORBIDDEN_CALLS.keys() == {"x86_64", "aarch64"}
    (tmp_path / "key").write_text("secret")
    assert not possible(tmp_path / "key", "confined") - NEEDS_LANDLOCK - {"a signal"}


@pytest.mark.parametrize("sample", sorted(path.name for path in (ROOT / "tests/samples").iterdir()))
async def test_a_confined_reader_reads_what_one_reads_that_is_not(sample: str) -> None:
    data, name = (ROOT / "tests/samples" / sample).read_bytes(), sample
    if sample.endswith(".gz"):
        data, name = gzip.decompress(data), sample.removesuffix(".gz")
    async with (
        ExtractionPool(1, Limits(memory=2**30)) as pool,
        contextlib.aclosing(pool.read(data, name)) as reading,
    ):
        await anext(reading)
        confined = joined([part async for part in reading if isinstance(part, Extraction)])
    assert confined == joined(parts(read(*identify(data, name))))
    assert confined.blocks
