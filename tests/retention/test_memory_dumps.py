"""A crash with content in memory leaves none of it on disk."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.canaries import forms_of, found_in, new_mark

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


def crash(folder: Path, mark: str, start: str) -> subprocess.CompletedProcess[str]:
    """A process that holds the mark, may leave cores of any size in `folder`, and aborts."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return subprocess.run(
        [sys.executable, "-c", CRASHES.format(start=start)],
        cwd=folder, input=mark, text=True, capture_output=True, timeout=120, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CORE, (hard, hard)),
    )  # fmt: skip


def cores_lie_here() -> bool:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    return not pattern.startswith(("|", "/")) and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


@pytest.mark.requirement("Z-02")
def test_a_server_that_crashes_leaves_no_core_and_says_nothing_of_what_it_held(tmp_path: Path) -> None:
    mark = new_mark()
    ended = crash(tmp_path, mark, OURS)
    assert ended.returncode < 0
    assert not found_in([tmp_path], forms_of(mark))
    assert mark not in ended.stdout + ended.stderr


@pytest.mark.skipif(not cores_lie_here(), reason="this machine gives its cores to a collector, or allows none")
def test_the_same_crash_without_that_leaves_one(tmp_path: Path) -> None:
    mark = new_mark()
    assert crash(tmp_path, mark, PLAIN).returncode < 0
    assert found_in([tmp_path], forms_of(mark))


@pytest.mark.requirement("Z-02")
def test_neither_the_limit_nor_the_kernel_lets_a_server_be_dumped(tmp_path: Path) -> None:
    asks = (
        "import ctypes, resource, asyncio\nfrom shared.serving import run_loop\n"
        "async def main():\n print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3))\n"
        "run_loop(main())"
    )
    said = subprocess.run(
        [sys.executable, "-c", asks], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["(0,", "0)", "0"]
