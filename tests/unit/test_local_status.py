"""`0711 status` on servers that answer: what each says of itself and of what it depends on."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import orjson

from servers.local.lock import HomeLock
from servers.local.status import status
from shared.settings import Settings


async def _serving(told: Mapping[str, object]) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = orjson.dumps(told)
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


WELL = {"status": "healthy"}


async def _status(home: Path, *told: Mapping[str, object]) -> tuple[dict[str, str], bool]:
    """The line of each server of which these are the answers to `/health`; whether all are healthy."""
    servers = [await _serving(each) for each in told]
    ports = [each.sockets[0].getsockname()[1] for each in servers]
    names = ("orchestrator_port", "marketplace_port", "cradle_port")
    settings = Settings(home=home, **dict(zip(names, ports, strict=True)))
    with HomeLock(home):
        lines, healthy = await status(settings)
    for each in servers:
        each.close()
    return {line.split()[0]: line for line in lines if not line.startswith(" ")}, healthy


async def test_a_server_that_serves_without_a_part_of_it_is_not_called_healthy(tmp_path: Path) -> None:
    starting = {"postgres": "healthy", "jobs": "starting"}
    told = {"status": "healthy", "service": "orchestrator", "dependencies": starting}
    loading = {"status": "healthy", "embedding": {"status": "loading"}}
    said, healthy = await _status(tmp_path, told, WELL, loading)
    assert not healthy
    assert said["orchestrator"].endswith("serves, but jobs starting")
    assert said["marketplace"].endswith("healthy")
    assert said["cradle"].endswith("healthy")  # a model that still loads is no fault


async def test_how_many_workers_serve_is_said_and_one_that_is_missing_is_no_health(tmp_path: Path) -> None:
    whole = {**WELL, "workers": {"serving": 4, "wanted": 4}, "dependencies": {"workers": "healthy"}}
    said, healthy = await _status(tmp_path, WELL, whole, WELL)
    assert (said["marketplace"].partition("healthy")[2], healthy) == (", 4 of 4 workers", True)
    less = {**WELL, "workers": {"serving": 3, "wanted": 4}, "dependencies": {"workers": "3 of 4"}}
    said, healthy = await _status(tmp_path, WELL, less, WELL)
    assert said["marketplace"].endswith(" serves, but workers 3 of 4")
    assert not healthy
