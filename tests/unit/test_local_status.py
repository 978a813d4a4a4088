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


async def test_a_server_that_serves_without_a_part_of_it_is_not_called_healthy(tmp_path: Path) -> None:
    told = {"status": "healthy", "service": "orchestrator", "dependencies": {"postgres": "healthy", "jobs": "starting"}}
    whole, loading = {"status": "healthy"}, {"status": "healthy", "embedding": {"status": "loading"}}
    servers = [await _serving(each) for each in (told, whole, loading)]
    ports = [each.sockets[0].getsockname()[1] for each in servers]
    names = ("orchestrator_port", "marketplace_port", "cradle_port")
    settings = Settings(home=tmp_path, **dict(zip(names, ports, strict=True)))
    with HomeLock(tmp_path):
        lines, healthy = await status(settings)
    assert not healthy
    said = {line.split()[0]: line for line in lines if not line.startswith(" ")}
    assert said["orchestrator"].endswith("serves, but jobs starting")
    assert said["marketplace"].endswith("healthy")
    assert said["cradle"].endswith("healthy")  # a model that still loads is no fault
    for each in servers:
        each.close()
