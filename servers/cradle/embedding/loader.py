"""From settings to a model in memory, stage by stage."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Literal

from servers.cradle.cluster.embedding import ClusterWorker, Wanted
from servers.cradle.cluster.ray import Cluster
from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.base import CUDA_SIZES
from servers.cradle.embedding.device import Spec
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.export import Form, exported
from servers.cradle.embedding.models import ModelFiles, resolve
from servers.cradle.embedding.pieces import open_tokenizer
from servers.cradle.embedding.tokenizer import TokenizerPool
from servers.cradle.embedding.worker import Worker
from shared.contracts.installation import EmbeddingParameters
from shared.encoder import Dtype, Tokenizer
from shared.errors import Unavailable
from shared.settings import Settings
from shared.telemetry import event

Served = Literal["openvino", "onnx", "packed", "sentence-transformers"]
FORMS: tuple[Form, ...] = ("openvino", "onnx")
"""Backends that need an exported model and no torch; the first whose package is there is chosen."""
PACKAGES: dict[Form, str] = {"openvino": "openvino", "onnx": "onnxruntime"}
Stage = Literal["waiting", "checking files", "converting once", "loading"]
NVIDIA_GPUS = Path("/proc/driver/nvidia/gpus")
VISIBLE = re.compile(r"\s*(\d+|(GPU|MIG)-.+)\s*")
"""What CUDA takes for a device in `CUDA_VISIBLE_DEVICES`; it ends at anything else, such as -1, which means: none."""
STAGES: tuple[Stage, ...] = ("checking files", "converting once", "loading")


@dataclass(frozen=True)
class Loaded:
    """A model that serves.

    Args:
        folder: exported for OpenVINO, as images carry it; None where something else serves it.
        dtype: of weights and matrix products.
    """

    model: ModelFiles
    folder: Path | None
    tokenizer: Tokenizer
    tokenizers: TokenizerPool
    engine: Engine
    dtype: Dtype

    def parameters(self) -> EmbeddingParameters:
        """Everything about it that decides a vector."""
        card = self.model.card
        return EmbeddingParameters(
            model=card.model,
            revision=card.revision,
            weights_digest=card.weights_digest,
            tokenizer_digest=card.tokenizer_digest,
            dimension=card.dimension,
            max_tokens=card.max_tokens,
            pooling=card.pooling,
            query_prefix=card.query_prefix,
            passage_prefix=card.passage_prefix,
            normalize=card.normalize,
            dtype=self.dtype,
            backend=self.engine.backend,
        )


class Loader:
    """Loads the model that the settings name; `stage` says how far it is.

    Args:
        cluster: further machines that hold it too.
    """

    def __init__(self, settings: Settings, cluster: Cluster | None = None) -> None:
        self._settings = settings
        self._cluster = cluster
        self.stage: Stage = "waiting"

    async def load(self, admission: Admission) -> Loaded:
        """The model, serving.

        Raises:
            InvalidInput, Unavailable, StorageFull: see `models.resolve` and `export.export_model`.
        """
        self.stage = "checking files"
        model = await asyncio.to_thread(resolve, self._settings)
        backend, folder = await self._prepared(model, self._backend(model))
        self.stage = "loading"
        tokenizer = await asyncio.to_thread(open_tokenizer, model.folder, model.card)
        specs = self._specs(model, backend, folder)
        elsewhere = await self._elsewhere(model, specs[0])
        launches = [partial(Worker, spec) for spec in specs] + elsewhere
        engine = Engine(
            lambda place: launches[place](),
            model.card.dimension,
            tokenizer.wrapped([], "passage"),
            admission,
            places=len(specs),
            later=len(elsewhere),
            sizes=CUDA_SIZES if specs[0].device != "cpu" else (),
        )
        await engine.start()
        event("embedding_model_loaded", model=model.card.model, version=model.card.revision, backend=engine.backend)
        pool = TokenizerPool(tokenizer, model.card.max_tokens)
        return Loaded(model, folder if backend == "openvino" else None, tokenizer, pool, engine, specs[0].dtype)

    def _backend(self, model: ModelFiles) -> Served:
        """What the settings and the machine make of a model.

        Raises:
            Unavailable: the settings name a backend that cannot compute it.
        """
        wanted, gpus = self._settings.embedding_backend, self._gpus()
        able = {"openvino": model.exportable, "onnx": model.packable, "packed": model.packable}
        if wanted != "auto":
            if not able.get(wanted, True):
                raise Unavailable(
                    f"The model {model.card.model} is none that P0711_EMBEDDING_BACKEND={wanted} computes. "
                    "Set it to auto to serve the model with sentence-transformers."
                )
            return wanted
        if gpus:
            return "packed" if model.packable else "sentence-transformers"
        for form in FORMS:
            if able[form] and importlib.util.find_spec(PACKAGES[form]) is not None:
                return form
        return "sentence-transformers"

    async def _prepared(self, model: ModelFiles, backend: Served) -> tuple[Served, Path]:
        """The backend, and the folder that it opens; another one where `auto` chose one that cannot convert it."""
        if backend not in FORMS:
            return backend, model.folder
        self.stage = "converting once"
        try:
            return backend, await exported(self._settings, model, backend)
        except Unavailable:
            if self._settings.embedding_backend != "auto":
                raise
            event("embedding_not_converted", level=logging.WARNING, model=model.card.model, backend=backend)
            return "sentence-transformers", model.folder

    def _specs(self, model: ModelFiles, backend: Served, folder: Path) -> list[Spec]:
        """What the worker of each place loads. Workers of a CPU share its processors, those of GPUs go round."""
        spec, gpus = Spec(backend, str(folder), pooling=model.card.pooling), self._gpus()
        if not gpus or backend in FORMS:
            return self._on_cpu(spec)
        alike = replace(spec, dtype="bfloat16" if backend == "packed" else "float32")
        return [replace(alike, device=f"cuda:{at % gpus}") for at in range(self._settings.embedding_workers or gpus)]

    async def _elsewhere(self, model: ModelFiles, spec: Spec) -> list[Callable[[], Worker]]:
        """What makes the workers on the machines of the cluster: one for each of its GPUs, or as many as are set.

        They compute as this machine does, on GPUs where it does: another backend would give other vectors.
        """
        if self._cluster is None:
            return []
        gpu = spec.device != "cpu"
        found = int((await self._cluster.resources()).get("GPU", 0)) if gpu else 0
        alike = replace(spec, device="cuda:0") if gpu else spec  # Ray shows an actor its own GPU alone
        wanted = Wanted(self._settings.embedding_model, self._settings.embedding_revision, model.card, alike)
        return [partial(ClusterWorker, self._cluster, wanted, int(gpu))] * (self._settings.cluster_models or found)

    def _on_cpu(self, spec: Spec) -> list[Spec]:
        dtype = self._settings.embedding_cpu_dtype
        if dtype == "bfloat16" and spec.backend != "openvino":
            raise Unavailable(
                f"P0711_EMBEDDING_CPU_DTYPE=bfloat16 is for OpenVINO; this model is served by {spec.backend}."
            )
        places = self._settings.embedding_workers or 1
        share = max(1, (os.cpu_count() or 1) // places) if places > 1 else 0
        threads = self._settings.embedding_threads or share
        return [replace(spec, threads=threads, dtype=dtype)] * places

    def _gpus(self) -> int:
        """How many GPUs are to be used, asked without loading torch."""
        if self._settings.embedding_device == "cpu":
            return 0
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is not None:
            found = sum(1 for _ in takewhile(VISIBLE.fullmatch, named.split(",")))
        else:
            found = len(list(NVIDIA_GPUS.iterdir())) if NVIDIA_GPUS.is_dir() else 0
        if not found and self._settings.embedding_device == "cuda":
            raise Unavailable("There is no GPU. Set P0711_EMBEDDING_DEVICE=cpu or auto.")
        return found
