"""F-11 for a server that is still starting: what a container's first process does with SIGTERM."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from servers.cradle.images.running import free_port
from shared.contracts.instance import InstanceConfig
from shared.encoder import CARD

ROOT = Path(__file__).parents[2]
CONFIG = InstanceConfig(
    customer_id="acme", company_name="ACME", tag="p1", fingerprint="sha256:" + "a" * 64,
    dataset_digest="sha256:" + "b" * 64, parameter_version=1,
)  # fmt: skip


def unhandled_as_in_a_container() -> None:
    """The kernel ignores what the first process of a container does not handle."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


async def opened(pipe: Path, by: asyncio.subprocess.Process) -> int:
    """The writing end of a pipe, once the process waits at the other one."""
    while by.returncode is None:
        with suppress(OSError):  # nobody reads it yet
            return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
        await asyncio.sleep(0.01)
    raise AssertionError(f"ended by itself with {by.returncode}")


@pytest.mark.requirement("F-11")
@pytest.mark.parametrize("held_up_by", ["its configuration, in the main thread", "its model, in another thread"])
async def test_an_instance_that_is_still_starting_ends_at_once_when_it_is_told_to(
    tmp_path: Path, held_up_by: str
) -> None:
    config, card = tmp_path / "instance.json", tmp_path / "model" / CARD
    card.parent.mkdir()
    config.write_text(CONFIG.model_dump_json())
    slow = config if "configuration" in held_up_by else card
    slow.unlink(missing_ok=True)
    os.mkfifo(slow)  # who reads it waits until there is something to read
    arguments = ["--dataset", str(tmp_path), "--model", str(card.parent), "--config", str(config)]
    instance = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "servers.instance", *arguments, cwd=ROOT, preexec_fn=unhandled_as_in_a_container,
        env={**os.environ, "INSTANCE_HOST": "127.0.0.1", "INSTANCE_PORT": str(free_port())},
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            begun = await opened(slow, instance)
            instance.send_signal(signal.SIGTERM)
            assert await instance.wait() == 0
            os.close(begun)
    finally:
        with suppress(ProcessLookupError):
            instance.kill()
        await instance.wait()
