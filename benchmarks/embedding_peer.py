"""Another project's embedding engine, in an environment of its own: `python embedding_peer.py NAME MODEL_FOLDER`.

Reads the texts as one line of JSON, then embeds them once for each further line, and answers each with the vectors of
the first texts, so that they can be compared. Imports nothing of the platform.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

COMPARED = 8


async def infinity(folder: str) -> Callable[[list[str]], Awaitable[Any]]:
    """infinity-emb on torch, as its documentation starts it."""
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs

    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(model_name_or_path=folder, engine="torch", device="cpu", bettertransformer=False, compile=False)
    )
    await engine.astart()

    async def embed(texts: list[str]) -> Any:
        return (await engine.embed(sentences=texts))[0]

    return embed


async def main() -> None:
    os.environ.update(HF_HUB_OFFLINE="1", DO_NOT_TRACK="1", INFINITY_ANONYMOUS_USAGE_STATS="0")
    replies, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no reply
    embed = await {"infinity": infinity}[sys.argv[1]](sys.argv[2])
    texts = json.loads(sys.stdin.readline())
    while await asyncio.to_thread(sys.stdin.readline):
        vectors = await embed(texts)
        print(json.dumps([[float(value) for value in each] for each in vectors[:COMPARED]]), file=replies, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
