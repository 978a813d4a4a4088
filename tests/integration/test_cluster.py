"""A Ray cluster of two further machines, each a node of its own on this one: read there, embedded there, and lost.

Needs Ray: pip install -e '.[scale]' (240 MB; its nodes take half a minute to start).
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

import numpy as np
import psutil
import pytest

from examples.corpus import write
from servers.cradle.cluster.ray import Cluster
from servers.cradle.cluster.reading import ClusterReaders
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.processing import pipeline
from servers.cradle.processing.children import ExtractionPool
from servers.cradle.processing.extract import Unreadable
from servers.cradle.processing.stages import Readers
from servers.cradle.processing.wire import Identified
from shared.errors import NotFound, Unavailable
from shared.settings import Settings
from tests.conftest import ROOT
from tests.orchestrator_rig import free_port
from tests.processing_rig import Customer, customer, no_progress, other

__all__ = ["customer", "other"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not here: pip install -e '.[scale]'"),
]
START_S = 240.0


class Nodes:
    """Nodes as the operator starts them, in the order of their start."""

    def __init__(self, home: Path) -> None:
        self.home, self.port = home, free_port()
        self.work = Path(tempfile.mkdtemp(prefix="ray-"))  # short: Ray puts sockets below it
        self.running: list[subprocess.Popen[bytes]] = []

    @property
    def settings(self) -> Settings:
        return Settings(home=self.home, cluster_address=f"127.0.0.1:{self.port}")  # pyright: ignore[reportCallIssue]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "servers", "cluster", *arguments]
        command += ["--ip", "127.0.0.1", "--gpus", "0", "--home", str(self.home)]
        environment = os.environ | {
            "P0711_HOME": str(self.home), "P0711_MODEL_CACHE": str(self.home / "models"), "RAY_TMPDIR": str(self.work),
        }  # fmt: skip
        with (self.home / f"node-{len(self.running)}.log").open("wb") as said:
            node = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        self.running.append(node)
        return node

    def head(self) -> None:
        self.start("head", "--port", str(self.port), "--cpus", "0")
        wait_for_port(self.port)

    def join(self) -> subprocess.Popen[bytes]:
        return self.start("join", f"127.0.0.1:{self.port}", "--cpus", "2")

    def stop(self) -> None:
        for node in self.running:
            node.send_signal(signal.SIGTERM)
        for node in self.running:
            node.wait(180)
        shutil.rmtree(self.work)


def wait_for_port(port: int) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise TimeoutError


@pytest.fixture(scope="module")
def nodes(model_home: Path) -> Iterator[Nodes]:
    made = Nodes(model_home)
    made.head()
    yield made
    groups = [psutil.Process(node.pid).children(recursive=True) for node in made.running if node.poll() is None]
    made.stop()
    assert not [each for group in groups for each in psutil.wait_procs(group, 120)[1]]


@pytest.fixture(scope="module")
async def cluster(nodes: Nodes) -> AsyncIterator[Cluster]:
    joined = Cluster(nodes.settings)
    for processors in (2, 4):  # one by one: two that start on one machine at the same time can wait for each other
        nodes.join()
        await until_offered(joined, processors)
    yield joined
    await joined.close()


async def until_offered(cluster: Cluster, processors: int) -> None:
    async with asyncio.timeout(START_S):
        while True:
            try:
                if (await cluster.resources()).get("CPU", 0) == processors:
                    return
            except (Unavailable, NotFound):  # the head is on its way
                pass
            await asyncio.sleep(0.5)


class ReadyReaders(ClusterReaders):
    """Begins once all of them are there: a small corpus would be read before."""

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        await until_ready(self, self.size - 1)
        return self


async def processed(customer: Customer, cluster: Cluster | None) -> tuple[Any, ClusterReaders | None]:
    made: list[ClusterReaders] = []

    def readers(here: ExtractionPool) -> Any:
        if cluster is None:
            return here
        made.append(ReadyReaders(here, cluster))
        return made[0]

    report = await pipeline.process(
        customer.store, await customer.files(), customer.version, customer.embedder, customer.ocr, no_progress,
        workers=1, readers=readers,
    )  # fmt: skip
    return report, made[0] if made else None


async def test_a_corpus_gives_the_same_dataset_on_a_cluster_and_the_ledger_goes_on_from_there(
    customer: Customer, other: Customer, cluster: Cluster
) -> None:
    write(customer.folder)
    shutil.copytree(customer.folder, other.folder, dirs_exist_ok=True)
    there, readers = await processed(customer, cluster)
    here, _ = await processed(other, None)
    assert readers is not None
    assert readers.size == 1 + 4
    assert readers._elsewhere > 0
    assert there.dataset_digest == here.dataset_digest
    assert (there.counts, there.failures_by_code) == (here.counts, here.failures_by_code)
    again, _ = await processed(customer, None)
    assert again.counts.unchanged == there.counts.processed


async def test_a_reader_that_dies_with_a_file_gives_it_to_another(cluster: Cluster, monkeypatch: Any) -> None:
    rows = "\n".join(f"A-{number};Teil {number};{number},50" for number in range(60_000))
    data = f"Artikelnummer;Bezeichnung;Preis EUR\n{rows}\n".encode()
    async with ClusterReaders(ExtractionPool(1), cluster, readers=2) as pool:
        await until_ready(pool, 2)
        first = None
        parts = []
        async with aclosing(pool.read(data, "teile.csv")) as answers:
            async for answer in answers:
                if isinstance(answer, Identified):
                    first = answer
                    continue
                parts.append(answer)
                if len(parts) == 2:
                    for actor in pool._actors:
                        await actor.kill()
        assert first is not None
        assert first.extractor
        products = [product.article_number for part in parts for product in part.products]
        assert products == [f"A-{number}" for number in range(60_000)]
        await until_ready(pool, 2)  # the lost one was replaced


async def test_a_reading_that_nobody_wants_any_more_ends_and_its_reader_reads_the_next_file(cluster: Cluster) -> None:
    rows = "\n".join(f"A-{number};Teil {number}" for number in range(200_000))
    async with ClusterReaders(ExtractionPool(1), cluster, readers=1) as pool:
        await until_ready(pool, 1)
        async with aclosing(pool.read(f"Artikelnummer;Bezeichnung\n{rows}\n".encode(), "teile.csv")) as answers:
            await anext(answers)
            await anext(answers)
        assert pool._idle.qsize() == 1
        assert len(await asyncio.wait_for(read_all(pool, b"Eine Notiz.", "notiz.txt"), 60)) > 1
        assert pool._elsewhere == 2


async def test_what_a_reader_finds_out_about_a_file_comes_back_as_from_here(cluster: Cluster) -> None:
    async with ClusterReaders(ExtractionPool(1), cluster, readers=1) as pool:
        await until_ready(pool, 1)
        for name, data in (("leer.pdf", b""), ("kaputt.pdf", b"%PDF-1.7 nothing else"), ("x.bin", bytes(range(256)))):
            told = []
            for readers in (pool, ExtractionPool(1)):
                with pytest.raises(Unreadable) as caught:
                    await read_all(readers, data, name)
                told.append((caught.value.code, caught.value.reason))
            assert told[0] == told[1]
        assert pool._elsewhere == 3


async def read_all(readers: Readers, data: bytes, name: str) -> list[Any]:
    async with aclosing(readers.read(data, name)) as answers:
        return [answer async for answer in answers]


async def test_ray_keeps_nothing_of_a_file(nodes: Nodes, cluster: Cluster) -> None:
    canary = "Kanarienvogel-4711"
    async with ClusterReaders(ExtractionPool(1), cluster, readers=1) as pool:
        await until_ready(pool, 1)
        assert await read_all(pool, f"{canary} ".encode() * 200_000, f"{canary}.txt")
        assert pool._elsewhere == 1
    logs = [file for file in nodes.work.rglob("*") if file.is_file()]
    assert any("raylet" in file.name for file in logs)
    assert not [file for file in logs if canary.encode() in file.read_bytes()]


async def until_ready(pool: ClusterReaders, readers: int) -> None:
    async with asyncio.timeout(START_S):
        while pool._idle.qsize() < readers:  # noqa: ASYNC110  Ray starts them
            await asyncio.sleep(0.1)


@pytest.mark.requirement("Z-02")
@pytest.mark.skipif(sys.platform != "linux", reason="limits of processes are asked of Linux")
async def test_no_process_of_a_node_that_crashes_leaves_its_memory_on_disk(nodes: Nodes, cluster: Cluster) -> None:
    async with ClusterReaders(ExtractionPool(1), cluster, readers=1) as pool:
        await until_ready(pool, 1)
        found = [each for node in nodes.running for each in psutil.Process(node.pid).children(recursive=True)]
        of_ray = [each for each in found if each.name().startswith(("raylet", "ray::"))]
        dumped = {what_is_dumped(each) for each in of_ray}
        names = [each.cmdline()[0] for each in of_ray]
    assert any("ray::Reader" in name for name in names)
    assert dumped == {((0, 0), "00000000")}


def what_is_dumped(process: psutil.Process) -> tuple[tuple[int, int], str]:
    """How large a core of it may be, and which of its memory one that is piped to a collector would hold."""
    return process.rlimit(psutil.RLIMIT_CORE), Path(f"/proc/{process.pid}/coredump_filter").read_text().strip()


async def test_texts_are_embedded_on_other_machines_and_one_that_is_lost_is_replaced(
    nodes: Nodes, cluster: Cluster, service: EmbeddingService, model_home: Path
) -> None:
    settings = nodes.settings.model_copy(update={"cluster_models": 2, "model_cache": model_home / "models"})
    serving = EmbeddingService(settings, cluster)
    await serving.start()
    try:
        await serving.identity()
        assert serving._loaded is not None
        engine = serving._loaded.engine
        async with asyncio.timeout(START_S):
            while len(engine.workers) < 3:  # noqa: ASYNC110  they join when they have the model
                await asyncio.sleep(0.1)
        texts = [f"Sechskantschraube M{number} aus Edelstahl" for number in range(600)]
        vectors = await serving.embed_vectors(texts, "passage", "acme", "bulk")
        alone = await service.embed_vectors(texts, "passage", "acme", "bulk")
        assert np.abs(vectors - alone).max() < 1e-5
        there = [worker for worker in engine.workers.values() if worker.pid is None]
        assert len(there) == 2
        assert all(worker.memory > 0 for worker in there)  # each has computed something
        await there[0]._actor.kill()
        async with asyncio.timeout(START_S):
            while there[0] in engine.workers.values() or len(engine.workers) < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        again = await serving.embed_vectors(texts, "passage", "acme", "bulk")
        assert np.abs(again - alone).max() < 1e-5
    finally:
        await serving.close()


async def test_a_machine_with_another_model_is_refused_by_name(nodes: Nodes, cluster: Cluster) -> None:
    from servers.cradle.cluster.embedding import ClusterWorker, Wanted
    from servers.cradle.embedding.device import Spec
    from servers.cradle.embedding.models import resolve

    card = resolve(nodes.settings).card.model_copy(update={"weights_digest": "sha256:" + "0" * 64})
    worker = ClusterWorker(cluster, Wanted("bundled", None, card, Spec("openvino", "")), 0)
    with pytest.raises(Unavailable, match="WEIGHTS"):
        await worker.start()


async def test_a_whole_machine_is_lost_in_the_middle_and_nothing_of_the_dataset_is(
    customer: Customer, other: Customer, nodes: Nodes, cluster: Cluster
) -> None:
    for number in range(200):
        (customer.folder / f"n{number:03d}.txt").write_text(f"Notiz Nummer {number}. " * 40)
    shutil.copytree(customer.folder, other.folder, dirs_exist_ok=True)
    running = asyncio.create_task(processed(customer, cluster))
    async with asyncio.timeout(START_S), customer.embedder.changed:
        await customer.embedder.changed.wait_for(lambda: len(customer.embedder.texts) > 20)
    lost = nodes.running.pop()
    lost.send_signal(signal.SIGTERM)
    there, _ = await running
    here, _ = await processed(other, None)
    assert there.dataset_digest == here.dataset_digest
    assert there.counts.processed == 200
    lost.wait(180)


async def test_without_a_cluster_or_its_token_one_sentence_says_what_to_do(tmp_path: Path) -> None:
    nowhere = Settings(home=tmp_path, cluster_address=f"127.0.0.1:{free_port()}")  # pyright: ignore[reportCallIssue]
    with pytest.raises(NotFound, match="cluster-token"):
        await Cluster(nowhere).resources()


def test_a_node_without_the_token_does_not_start(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "servers", "cluster", "join", "127.0.0.1:9", "--home", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert ended.returncode == 2
    assert "cluster-token" in ended.stderr
    assert "Traceback" not in ended.stderr


TOLD_AT_ONCE = """
import os, pathlib, signal, subprocess, sys
from servers.cradle.cluster import ray
from shared.settings import Settings
class Told(subprocess.Popen):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        print(self.pid, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
subprocess.Popen = Told
sys.exit(ray.start_node(Settings(home=pathlib.Path(sys.argv[1])), None, "127.0.0.1", int(sys.argv[2]), 0, 0))
"""


def in_group(pid: int, group: int) -> bool:
    try:
        return os.getpgid(pid) == group
    except ProcessLookupError:
        return False


def test_a_node_that_is_told_to_end_while_it_starts_ends_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOLD_AT_ONCE, str(tmp_path), str(free_port())]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, cwd=ROOT)
    assert ended.returncode == 0, ended.stderr
    node = int(ended.stdout.split()[0])
    left = [each for each in psutil.process_iter(["status"]) if in_group(each.pid, node)]
    assert not [each for each in left if each.info["status"] != psutil.STATUS_ZOMBIE]


def test_a_stranger_without_the_token_does_not_get_into_the_cluster(nodes: Nodes, cluster: Cluster) -> None:
    code = f"import ray; ray.init('127.0.0.1:{nodes.port}', log_to_driver=False); print(ray.cluster_resources())"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["HOME"] = "/nonexistent"
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert ended.returncode != 0
    assert "CPU" not in ended.stdout
