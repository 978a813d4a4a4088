"""Callers of the embedding port that hang up while the model loads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import orjson
import pytest

from servers.cradle import embedding_rest
from servers.cradle.embedding.service import EmbeddingService
from shared.auth import GivenKeys, TokenVerifier
from shared.serving import Server
from shared.settings import Settings
from tests.serving_rig import HANGS_S, Issuer, running


class Counted(asyncio.Event):
    """Knows how many wait for it."""

    waiting = 0

    async def wait(self) -> Literal[True]:
        self.waiting += 1
        try:
            return await super().wait()
        finally:
            self.waiting -= 1


@pytest.mark.requirement("F-08")
@pytest.mark.parametrize("head", ["POST /v1/embeddings", "POST /embed", "GET /info"])
async def test_a_caller_that_hangs_up_while_the_model_loads_is_waited_for_no_longer(tmp_path: Path, head: str) -> None:
    settings, issuer, loaded = Settings(home=tmp_path), Issuer(), Counted()
    loading = EmbeddingService(settings)
    loading._changed, loading._keeper = loaded, asyncio.create_task(asyncio.sleep(10 * HANGS_S))  # it loads for long
    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(issuer.jwks))
    server = Server("cradle", settings, mcp=False, verifier=verifier)
    embedding_rest.register(server, lambda: loading, lambda *_: None)

    async def until(waiting: int) -> None:
        async with asyncio.timeout(HANGS_S):
            while loaded.waiting != waiting:  # noqa: ASYNC110  # only the service tells of its callers
                await asyncio.sleep(0.01)

    async with running(server, settings) as base:
        body = orjson.dumps({"model": "a/b", "input": "x"} if "v1" in head else {"inputs": "x"})
        _, writer = await asyncio.open_connection("127.0.0.1", int(base.rsplit(":", 1)[1]))
        lines = f"{head} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {issuer.token(settings, scope='embed')}"
        writer.write(f"{lines}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await until(1)
        writer.close()
        await until(0)
    await loading.close()
