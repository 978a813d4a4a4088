"""LanceDB as it is imported here."""

from __future__ import annotations

import subprocess
import sys

STARTS_A_PROGRAM = """
import asyncio, uvloop
from shared.dataset import lance

lance.module()

async def main() -> None:
    await (await asyncio.create_subprocess_exec("/bin/true")).wait()

uvloop.run(main())
"""


def test_a_program_that_is_started_beside_lancedb_writes_no_warning_into_the_log() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARTS_A_PROGRAM], capture_output=True, text=True, timeout=240, check=True
    )
    assert done.stderr == ""
