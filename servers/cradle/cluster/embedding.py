"""A worker of the embedding engine whose model is on another machine of a cluster.

The actor there runs the same child process, with that machine's own copy of the model. Weights and tokenizer have to
have the digests of those served here, or it is refused.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from servers.cradle.cluster.ray import Actor, Cluster, NodeLost
from servers.cradle.embedding.device import Spec
from servers.cradle.embedding.export import Form, exported
from servers.cradle.embedding.models import resolve
from servers.cradle.embedding.worker import LOAD_DEADLINE_S, STUCK_S, BatchFailed, Worker, WorkerLost
from shared.encoder import ModelCard
from shared.errors import PlatformError, Unavailable
from shared.settings import Settings
from shared.telemetry import event

if TYPE_CHECKING:
    from shared.encoder import Vectors

Told = tuple["Vectors | Literal['failed', 'memory', 'lost', 'crashed']", int]


@dataclass(frozen=True)
class Wanted:
    """What another machine is to serve. `spec.folder` is that machine's own."""

    model: str
    revision: str | None
    card: ModelCard
    spec: Spec

    def settings(self) -> Settings:
        """Those of the machine, with this model and no other."""
        update = {
            "embedding_model": self.model,
            "embedding_revision": self.revision,
            "embedding_weights_digest": self.card.weights_digest,
            "embedding_tokenizer_digest": self.card.tokenizer_digest,
        }
        return Settings().model_copy(update=update)  # pyright: ignore[reportCallIssue]


class Model:
    """The actor: one child process with the model, on a machine of the cluster."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    async def start(self, wanted: Wanted) -> dict[str, Any] | str:
        """What `Worker` tells of a loaded model; or why it is not loaded."""
        settings, form = wanted.settings(), wanted.spec.backend
        try:
            model = await asyncio.to_thread(resolve, settings)
            folder = model.folder
            if form in {"openvino", "onnx"}:
                folder = await exported(settings, model, cast(Form, form))
            worker = Worker(replace(wanted.spec, folder=str(folder)))
            await worker.start()
        except PlatformError as error:
            return error.message
        self._worker = worker
        return worker.told

    async def run(self, texts: Sequence[Sequence[int]], units: Sequence[bool]) -> Told:
        """The vectors, or why there are none; and the bytes of memory in use."""
        assert self._worker is not None  # noqa: S101  # started
        try:
            return await self._worker.run(texts, units), self._worker.memory
        except BatchFailed as failed:
            return "memory" if failed.memory else "failed", self._worker.memory
        except WorkerLost as lost:
            return "crashed" if lost.crashed else "lost", 0

    async def lost(self) -> None:
        """Returns when the child process is gone."""
        assert self._worker is not None  # noqa: S101
        await self._worker.lost.wait()


class ClusterWorker(Worker):
    """A worker whose process is on another machine.

    Args:
        gpus: 1: the model is computed on a GPU there; 0: on one of its processors.
    """

    def __init__(self, cluster: Cluster, wanted: Wanted, gpus: int) -> None:
        super().__init__(wanted.spec)
        self._cluster, self._wanted, self._gpus = cluster, wanted, gpus
        self._actor: Actor | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Waits until a machine has room and the model is loaded there.

        Raises:
            Unavailable: it could not be loaded.
        """
        self._actor = await self._cluster.actor(Model, cpus=1 - self._gpus, gpus=self._gpus)
        try:
            async with asyncio.timeout(LOAD_DEADLINE_S):
                told = await self._actor.call("start", self._wanted)
        except (NodeLost, TimeoutError):
            told = "The machine was lost."
        if isinstance(told, str):
            await self.close()
            event("cluster_model_not_loaded", level=logging.ERROR, backend=self.name)
            raise Unavailable(f"A machine of the cluster could not load the embedding model: {told}")
        self.told = told
        self._watching = asyncio.create_task(self._watch())

    async def run(self, texts: Sequence[Sequence[int]], units: Sequence[bool]) -> Vectors:
        if self.lost.is_set() or self._actor is None:
            raise WorkerLost
        try:
            async with asyncio.timeout(STUCK_S):
                vectors, self.memory = await self._actor.call("run", texts, units)
        except (NodeLost, TimeoutError):
            vectors = "lost"
        if isinstance(vectors, str) and vectors in {"lost", "crashed"}:
            self.kill()
            raise WorkerLost(vectors == "crashed")
        if isinstance(vectors, str):
            raise BatchFailed(vectors == "memory")
        return vectors

    def kill(self) -> None:
        self.lost.set()

    async def close(self) -> None:
        self.kill()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._actor is not None:
            await self._actor.kill()

    async def _watch(self) -> None:
        assert self._actor is not None  # noqa: S101  # started
        try:
            await self._actor.call("lost")
        except NodeLost:
            event("cluster_machine_lost", level=logging.WARNING, backend=self.name)
        self.kill()
