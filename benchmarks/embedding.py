"""Embedding on the CPU: this platform's service, the same graph called by hand, and sentence-transformers fp32.

Everyone embeds the same corpus (mixed lengths, 8–256 tokens, seeded) once a round, in turn and on one thread. Two
figures a round: seconds passed, and processor seconds of all processes that worked on it, which neighbours on the
machine disturb far less. Prints medians and their ratios; `spread` is the largest round over the smallest. Over HTTP 32
clients in a process of their own share the corpus, and their processor seconds count too.
"""

from __future__ import annotations

import asyncio
import os
import platform
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import psutil

from servers.cradle import embedding_rest
from servers.cradle.embedding.models import resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.auth import Principal
from shared.encoder import Encoder
from shared.serving import Server, serve
from shared.settings import Settings, load

TEXTS, ROUNDS, CLIENTS, THREADS = 96, 5, 32, 1
MODEL = "all-MiniLM-L6-v2"
WORDS = [
    "Klemme",
    "Leuchte",
    "Netzteil",
    "Schutzart",
    "Montage",
    "rail",
    "power",
    "supply",
    "lamp",
    "torque",
    "ambient",
]


class Anyone:
    """Every token is good."""

    async def verify(self, token: str) -> Principal:
        return Principal("bench", "service", frozenset({"embed"}), token, "bench", time.time() + 3600)


def corpus() -> list[str]:
    """Texts of mixed lengths."""
    dice = random.Random(711)
    return [" ".join(dice.choices(WORDS, k=dice.randint(3, 100))) for _ in range(TEXTS)]


def shares(texts: list[str]) -> list[list[str]]:
    """What each client sends."""
    return [texts[at::CLIENTS] for at in range(CLIENTS)]


async def opened(home: Path, backend: str) -> EmbeddingService:
    """The service, loaded."""
    service = EmbeddingService(
        load(home=home, embedding_backend=backend, embedding_device="cpu", embedding_threads=THREADS)
    )
    await service.start()
    await service.identity(deadline_s=300)
    return service


async def many_callers(service: EmbeddingService, texts: list[str]) -> None:
    """The corpus by as many callers as there are HTTP clients, in this process."""
    calls = [service.vectors(part, "passage", f"t{at}", truncate=True) for at, part in enumerate(shares(texts))]
    await asyncio.gather(*calls)


async def client(base: str) -> None:
    """The child process: a line on standard input starts a round, a line on standard output ends it."""
    import aiohttp

    async def one(session: aiohttp.ClientSession, at: int, texts: list[str]) -> None:
        body = {"model": MODEL, "input": texts, "encoding_format": "base64", "truncate": True}
        async with session.post(f"{base}/v1/embeddings", json=body, headers={"authorization": f"Bearer t{at}"}) as got:
            await got.read()
            got.raise_for_status()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CLIENTS)) as session:
        while await asyncio.to_thread(sys.stdin.readline):
            await asyncio.gather(*(one(session, at, part) for at, part in enumerate(shares(corpus()))))
            print("done", flush=True)


def processor_seconds() -> float:
    """Of this process and its children."""
    here = psutil.Process()
    return sum(sum(each.cpu_times()[:2]) for each in (here, *here.children(recursive=True)))


async def measured(home: Path, texts: list[str]) -> tuple[dict[str, list[tuple[float, float]]], dict[str, float]]:
    """Seconds and processor seconds of each round of each contender, and the smallest cosine of its vectors with the
    reference's."""
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(THREADS)
    service, packed = await opened(home, "openvino"), await opened(home, "packed")
    by_hand = Encoder(await service.exported_model(), THREADS)
    reference = SentenceTransformer(str(resolve(load(home=home)).folder), device="cpu")
    server = Server("cradle", Settings(home=home), mcp=False, verifier=Anyone())
    embedding_rest.register(server, lambda: service)
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(
        serve([(server.asgi(), 0)], Settings(home=home), on_ready=ready.set_result, stop=stop, signals=False)
    )
    base = f"http://127.0.0.1:{(await ready)[0]}"
    child = await asyncio.create_subprocess_exec(
        sys.executable, __file__, base, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )

    async def over_http() -> None:
        assert child.stdin
        assert child.stdout
        child.stdin.write(b"go\n")
        assert await child.stdout.readline() == b"done\n"

    async def encode() -> np.ndarray:
        return np.asarray(await asyncio.to_thread(reference.encode, texts, batch_size=32, normalize_embeddings=True))

    contenders: dict[str, Callable[[], Awaitable[np.ndarray | None]]] = {
        "sentence-transformers fp32": encode,
        "OpenVINO by hand, ideal batches": lambda: asyncio.to_thread(by_hand.encode, texts),
        "platform, openvino": lambda: service.embed_vectors(texts, "passage", "bench", truncate=True),
        "platform, own packed encoder": lambda: packed.embed_vectors(texts, "passage", "bench", truncate=True),
        f"platform, {CLIENTS} callers": lambda: many_callers(service, texts),
        f"platform, {CLIENTS} HTTP clients": over_http,
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    cosines, truth = {}, await encode()
    for round_ in range(ROUNDS + 1):  # the first one warms up
        for name, run in contenders.items():
            started, used = time.perf_counter(), processor_seconds()
            vectors = await run()
            if round_:
                seconds[name].append((time.perf_counter() - started, processor_seconds() - used))
            elif vectors is not None:
                cosines[name] = float((vectors * truth).sum(axis=1).min())
    child.stdin.close() if child.stdin else None
    await child.wait()
    stop.set()
    await serving
    await service.close()
    await packed.close()
    return seconds, cosines


def main() -> None:
    """Prints the table."""
    texts = corpus()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seconds, cosines = asyncio.run(measured(Path(folder), texts))
    print(f"machine: {platform.machine()}, {os.cpu_count()} processors, load {before:.1f} → {os.getloadavg()[0]:.1f}")
    print(f"{TEXTS} texts, {ROUNDS} rounds in turn, all-MiniLM-L6-v2")
    names = ("sentence-transformers fp32", "OpenVINO by hand, ideal batches", "platform, openvino")
    print(
        f"{'':36}{'seconds':>9}{'spread':>8}{'ratio':>7}{'processor s':>13}{'spread':>8}{'ratio':>7}{'min cosine':>12}"
    )
    medians = [{name: statistics.median(each[at] for each in got) for name, got in seconds.items()} for at in (0, 1)]
    for name, got in seconds.items():
        line = f"{name:36}"
        for at, width in ((0, 9), (1, 13)):
            values = [each[at] for each in got]
            ratio = medians[at][names[0]] / medians[at][name]
            line += f"{medians[at][name]:{width}.2f}{max(values) / min(values):8.2f}{ratio:7.2f}"
        print(line + (f"{cosines[name]:12.6f}" if name in cosines else ""))
    for at, kind in enumerate(("seconds", "processor seconds")):
        median = medians[at]
        print(f"{kind}: platform against OpenVINO by hand {median[names[1]] / median[names[2]]:.2f}; over HTTP against")
        http = median[f"platform, {CLIENTS} callers"] / median[f"platform, {CLIENTS} HTTP clients"]
        print(f"  the same callers in the process {http:.2f}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(client(sys.argv[1]))
    else:
        main()
