"""A server's start: what a container's first process does with SIGTERM (F-11), and the connections that it allows."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from shared.contracts.instance import InstanceConfig
from shared.encoder import CARD
from tests.serving_rig import HANGS_S, free_port

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


async def told_to_end(process: asyncio.subprocess.Process) -> None:
    """SIGTERM until it ends: Python looks at one that comes just before it reads from the pipe only after that read."""
    while process.returncode is None:
        process.send_signal(signal.SIGTERM)
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 1)


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
        async with asyncio.timeout(HANGS_S):
            begun = await opened(slow, instance)
            await told_to_end(instance)
            assert instance.returncode == 0
            os.close(begun)
    finally:
        with suppress(ProcessLookupError):
            instance.kill()
        await instance.wait()


def few_open_files() -> None:
    """As a system has it for a process that asks for no more; here fewer still."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


@pytest.mark.requirement("L-01")
async def test_a_server_has_more_connections_than_a_process_may_that_does_not_ask_for_them(tmp_path: Path) -> None:
    rig = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.serving_rig", "http"), cwd=ROOT, env={**os.environ, "RIG_HOME": str(tmp_path)},
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        preexec_fn=few_open_files,
    )  # fmt: skip
    held = list[asyncio.StreamWriter]()
    try:
        async with asyncio.timeout(HANGS_S):
            assert rig.stdout is not None
            port = json.loads(await rig.stdout.readline())["port"]
            for _ in range(200):
                answers, asks = await asyncio.open_connection("127.0.0.1", port)
                held.append(asks)
                asks.write(b"GET /health HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
                assert (await answers.readline()).startswith(b"HTTP/1.1 200")
    finally:
        for each in held:
            each.close()
        rig.kill()
        await rig.wait()
