"""The command by which an engine asks an image whether it is healthy, as it runs in a container that has a proxy."""

from __future__ import annotations

import asyncio
import sys

import pytest

from servers.cradle.images.spec import PYTHON, ImageSpec


@pytest.mark.parametrize(("status", "healthy"), [(b"200 OK", True), (b"503 Service Unavailable", False)])
async def test_the_instance_is_asked_without_the_proxy_that_docker_gives_every_container(status, healthy) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    program, *arguments = ImageSpec.model_construct(port=port).health_command
    assert program == PYTHON
    environment = {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    asked = await asyncio.create_subprocess_exec(sys.executable, *arguments, env=environment)
    assert (await asked.wait() == 0) is healthy
    server.close()
