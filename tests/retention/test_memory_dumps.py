"""A crash with content in memory leaves none of it on disk."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.canaries import forms_of, found_in, new_mark
from tests.conftest import ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cores and their limits are asked of Linux")

CRASHES = """
import os, sys
held = sys.stdin.read() * 100
async def main():
    os.abort()
{start}
"""
PLAIN = "import asyncio; asyncio.run(main())"
OURS = "from shared.serving import run_loop; run_loop(main())"
READER = "from servers.cradle.processing.confinement import confine; confine(2**40); os.abort()"


def crash(folder: Path, mark: str, start: str) -> subprocess.CompletedProcess[str]:
    """A process that holds the mark, may leave cores of any size in `folder`, and aborts."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return subprocess.run(
        [sys.executable, "-c", CRASHES.format(start=start)],
        cwd=folder, input=mark, text=True, capture_output=True, timeout=240, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )  # fmt: skip


def cores_lie_here() -> bool:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    return not pattern.startswith(("|", "/")) and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


@pytest.mark.requirement("Z-02")
@pytest.mark.parametrize("start", [OURS, READER])
def test_a_program_that_crashes_leaves_no_core_and_says_nothing_of_what_it_held(tmp_path: Path, start: str) -> None:
    mark = new_mark()
    ended = crash(tmp_path, mark, start)
    assert ended.returncode < 0
    assert not found_in([tmp_path], forms_of(mark))
    assert mark not in ended.stdout + ended.stderr


@pytest.mark.skipif(not cores_lie_here(), reason="this machine gives its cores to a collector, or allows none")
def test_the_same_crash_without_that_leaves_one(tmp_path: Path) -> None:
    mark = new_mark()
    assert crash(tmp_path, mark, PLAIN).returncode < 0
    assert found_in([tmp_path], forms_of(mark))


@pytest.mark.requirement("Z-02")
def test_neither_the_limit_nor_the_kernel_lets_a_server_be_dumped_or_the_memory_of_what_it_starts(
    tmp_path: Path,
) -> None:
    asks = (
        "import ctypes, resource, asyncio, subprocess\nfrom shared.serving import run_loop\n"
        "async def main():\n print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3), flush=True)\n"
        " subprocess.run(['sh', '-c', 'ulimit -Hc; cat /proc/self/coredump_filter'], check=True)\n"
        "run_loop(main())"
    )
    said = subprocess.run(
        [sys.executable, "-c", asks], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["(0,", "0)", "0", "0", "00000000"]


WITHOUT_CONTENT = {"servers/cradle/embedding/export.py", "servers/marketplace/runners/guard.py"}
"""What converts a model, and what starts a package of someone else's within limits of its own."""


@pytest.mark.requirement("Z-02")
def test_every_program_of_the_product_that_holds_content_forbids_dumps() -> None:
    programs = {
        path.relative_to(ROOT).as_posix(): text
        for room in ("servers", "shared")
        for path in (ROOT / room).rglob("*.py")
        if 'if __name__ == "__main__":' in (text := path.read_text())
    }
    assert len(programs) >= 9
    assert programs.keys() >= WITHOUT_CONTENT
    for name, text in programs.items():
        assert name in WITHOUT_CONTENT or re.search(r"^ +(forbid_dumps|run_loop|confine)\(", text, re.MULTILINE), name
