"""Embedding on the CPU: this platform's service, the same graph called by hand, sentence-transformers fp32, and peers.

Everyone embeds the same corpus (mixed lengths, 8–256 tokens, seeded) once a round, in turn and on one thread. Two
figures a round: seconds passed, and processor seconds of all processes that worked on it, which neighbours on the
machine disturb far less. Prints medians and their ratios; `spread` is the largest round over the smallest; `peak` is
the share of what this processor does in matrix products of the model's shapes and of the same dtype, measured in the
same rounds. Where the processor computes bfloat16, platform, OpenVINO by hand and products are measured in it too. Over
HTTP 32 clients in a process of their own share the corpus, and their processor seconds count too.

A peer runs in an environment of its own: PEER_PYTHON=…/bin/python names one that has infinity-emb.
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
import orjson
import psutil

from servers.cradle import embedding_rest
from servers.cradle.embedding import worker
from servers.cradle.embedding.models import resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.auth import Principal
from shared.encoder import Dtype, Encoder
from shared.serving import Server, serve
from shared.settings import Settings, load

TEXTS, ROUNDS, CLIENTS, THREADS = 64, 5, 32, 1
LAYERS, HIDDEN, INNER = 6, 384, 1536
PEAK_ROWS, PEAK_REPEATS, PEER_START_S = 512, 12, 300.0
MODEL = "all-MiniLM-L6-v2"
TORCH, BY_HAND = "sentence-transformers fp32", "OpenVINO by hand, ideal batches"
OURS, PEAK = "platform, OpenVINO", "the matrix products alone"
HALF = ", bfloat16"
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


async def opened(home: Path, backend: str, dtype: Dtype = "float32") -> EmbeddingService:
    """The service, loaded."""
    service = EmbeddingService(
        load(
            home=home,
            embedding_backend=backend,
            embedding_device="cpu",
            embedding_cpu_dtype=dtype,
            embedding_threads=THREADS,
            call_deadline_s=600,  # on a busy machine less would be refused
        )
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


def flops(lengths: list[int]) -> float:
    """Multiplications and additions of the model's matrix products for texts of so many tokens."""
    per_token = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * INNER)
    return LAYERS * sum(length * per_token + 4 * length * length * HIDDEN for length in lengths)


def products(dtype: Dtype) -> float:
    """Does the model's four kinds of matrix product in their proportion; returns how many operations that were."""
    import torch

    kind = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    shapes = [(HIDDEN, 3 * HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, INNER), (INNER, HIDDEN)]
    for into, out in shapes:
        rows, weight = torch.ones(PEAK_ROWS, into, dtype=kind), torch.ones(out, into, dtype=kind)
        for _ in range(PEAK_REPEATS * LAYERS):
            torch.nn.functional.linear(rows, weight)
    return PEAK_REPEATS * LAYERS * sum(2 * PEAK_ROWS * into * out for into, out in shapes)


class Peer:
    """A child in another environment."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def started(cls, name: str, folder: Path, texts: list[str]) -> Peer | str:
        """The peer, or why there is none."""
        python = os.environ.get("PEER_PYTHON")
        if not python:
            return "PEER_PYTHON names no environment that has it"
        peer = cls(
            await asyncio.create_subprocess_exec(
                *(python, str(Path(__file__).with_name("embedding_peer.py")), name, str(folder)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                limit=2**24,
                env=os.environ | {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS), "PYTHONPATH": ""},
            )
        )
        try:
            peer._write(orjson.dumps(texts) + b"\n")
            await asyncio.wait_for(peer.embed(), PEER_START_S)
        except (TimeoutError, OSError, ValueError) as error:
            await peer.close()
            return f"it did not start there ({type(error).__name__})"
        return peer

    def _write(self, line: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(line)

    async def embed(self) -> np.ndarray:
        """The vectors of the first texts; it has computed all."""
        assert self._process.stdout
        self._write(b"go\n")
        return np.array(orjson.loads(await self._process.stdout.readline()), np.float32)

    async def close(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


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
    service, packed, onnx = [await opened(home, backend) for backend in ("openvino", "packed", "onnx")]
    services = [service, packed, onnx]
    by_hand = Encoder(await service.exported_model(), THREADS)
    model = resolve(load(home=home)).folder
    reference = SentenceTransformer(str(model), device="cpu")
    peer = await Peer.started("infinity", model, texts)
    server = Server("cradle", Settings(home=home), mcp=False, verifier=Anyone())
    embedding_rest.register(server, lambda: service, lambda _, __: None)
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
        TORCH: encode,
        BY_HAND: lambda: asyncio.to_thread(by_hand.encode, texts),
        OURS: lambda: service.embed_vectors(texts, "passage", "bench", truncate=True),
        "platform, own packed encoder": lambda: packed.embed_vectors(texts, "passage", "bench", truncate=True),
        "platform, ONNX Runtime": lambda: onnx.embed_vectors(texts, "passage", "bench", truncate=True),
        f"platform, {CLIENTS} callers": lambda: many_callers(service, texts),
        f"platform, {CLIENTS} HTTP clients": over_http,
    }
    peaks: dict[str, Dtype] = {PEAK: "float32"}
    if not worker.BFLOAT16.isdisjoint(worker.CPUINFO.read_text().split()):
        half = await opened(home, "openvino", "bfloat16")
        half_by_hand = Encoder(await service.exported_model(), THREADS, "bfloat16")
        services.append(half)
        contenders[BY_HAND + HALF] = lambda: asyncio.to_thread(half_by_hand.encode, texts)
        contenders[OURS + HALF] = lambda: half.embed_vectors(texts, "passage", "bench", truncate=True)
        peaks[PEAK + HALF] = "bfloat16"
    if isinstance(peer, Peer):
        contenders["infinity-emb, torch"] = peer.embed
    else:
        print(f"infinity-emb is skipped: {peer}")
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in (*contenders, *peaks)}
    cosines, truth = {}, await encode()
    whole = flops([min(len(ids), by_hand.card.max_tokens) for ids in by_hand.tokenizer.inputs(texts, "passage")])
    for round_ in range(ROUNDS + 1):  # the first one warms up
        for name, run in contenders.items():
            started, used = time.perf_counter(), processor_seconds()
            vectors = await run()
            if round_:
                seconds[name].append((time.perf_counter() - started, processor_seconds() - used))
            elif vectors is not None:
                cosines[name] = float((vectors * truth[: len(vectors)]).sum(axis=1).min())
        for name, dtype in peaks.items() if round_ else ():
            started, used = time.perf_counter(), time.thread_time()
            share = whole / products(dtype)  # of the corpus
            seconds[name].append(((time.perf_counter() - started) * share, (time.thread_time() - used) * share))
    child.stdin.close() if child.stdin else None
    await child.wait()
    stop.set()
    await serving
    for each in services:
        await each.close()
    if isinstance(peer, Peer):
        await peer.close()
    return seconds, cosines


def main() -> None:
    """Prints the table."""
    texts = corpus()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        seconds, cosines = asyncio.run(measured(Path(folder), texts))
    wide = [each for each in ("avx512f", "avx512_bf16", "amx_bf16") if each in Path("/proc/cpuinfo").read_text()]
    print(f"machine: {platform.machine()}, {os.cpu_count()} processors, {', '.join(wide) or 'no AVX-512, no AMX'}")
    print(f"{TEXTS} texts, {ROUNDS} rounds in turn, {MODEL}; load {before:.1f} → {os.getloadavg()[0]:.1f}")
    print(
        f"{'':42}{'seconds':>9}{'spread':>8}{'ratio':>7}{'processor s':>13}{'spread':>8}{'ratio':>7}{'peak':>6}"
        f"{'min cosine':>12}"
    )
    medians = [{name: statistics.median(each[at] for each in got) for name, got in seconds.items()} for at in (0, 1)]
    for name, got in seconds.items():
        line = f"{name:42}"
        for at, width in ((0, 9), (1, 13)):
            values = [each[at] for each in got]
            ratio = medians[at][TORCH] / medians[at][name]
            line += f"{medians[at][name]:{width}.2f}{max(values) / min(values):8.2f}{ratio:7.2f}"
        line += f"{medians[1][PEAK + HALF * name.endswith(HALF)] / medians[1][name]:6.0%}"
        print(line + (f"{cosines[name]:12.6f}" if name in cosines else ""))
    kinds = ("", HALF) if OURS + HALF in seconds else ("",)
    for median, kind in zip(medians, ("seconds", "processor seconds"), strict=True):
        http = median[f"platform, {CLIENTS} callers"] / median[f"platform, {CLIENTS} HTTP clients"]
        print(f"{kind}: over HTTP against the same callers in the process {http:.2f} (goal 0.85)")
        for half in kinds:
            most, reached = (median[TORCH] / median[name + half] for name in (PEAK, OURS))
            by_hand = median[BY_HAND + half] / median[OURS + half]
            print(f"  platform{half} against OpenVINO by hand{half} {by_hand:.2f} (goal 1.0)")
            print(
                f"  against sentence-transformers {reached:.2f} (goal 2); nothing but the products would be {most:.2f}"
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(client(sys.argv[1]))
    else:
        main()
