"""`0711` on one machine: servers as child processes, and a command line whose errors are one sentence."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from servers.local.children import Child

FALLS_ONCE = """
import os, pathlib, time
marker = pathlib.Path(os.environ["MARKER"])
if marker.exists():
    time.sleep(1000)
marker.touch()
os._exit(1)
"""


async def test_a_server_stopped_while_it_waits_to_be_started_again_stays_stopped(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FALLS_ONCE)
    fallen = asyncio.Event()
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "MARKER": str(tmp_path / "marker")}
    child = Child("marketplace", env, tmp_path / "log", lambda _: fallen.set())
    await child.start()
    async with asyncio.timeout(120):
        await fallen.wait()
        await child.stop()
    assert child.pid is None


async def test_a_child_is_not_in_the_terminals_process_group(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import time\ntime.sleep(1000)")
    child = Child("marketplace", {**os.environ, "PYTHONPATH": str(tmp_path)}, tmp_path / "log", print)
    await child.start()
    assert child.pid is not None
    assert os.getpgid(child.pid) != os.getpgrp()  # else Ctrl-C would reach it before `up` lets it drain
    await child.stop()


def command(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "servers", *words], cwd=cwd, capture_output=True, text=True, timeout=240, check=False
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("up", "--home", "/proc/none"), "/proc/none"),
        (("connect", "--write"), "not a JSON object"),
        (("demo", "nirgends.pdf", "--company", "Muster GmbH"), "There is no file or folder"),
        (("demo", "."), "Say whose files these are"),
    ],
)
def test_a_command_that_cannot_run_says_so_in_one_sentence(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    (tmp_path / ".mcp.json").write_text("[]")
    ended = command(*words, cwd=tmp_path)
    assert ended.returncode == 2
    assert says in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
