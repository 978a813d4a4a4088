"""From settings to a model in memory, stage by stage."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.device import Spec
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.export import exported
from servers.cradle.embedding.models import ModelFiles, resolve
from servers.cradle.embedding.tokenizer import TokenizerPool
from servers.cradle.embedding.worker import Worker
from shared.contracts.installation import EmbeddingParameters
from shared.encoder import TOKENIZER, Tokenizer
from shared.errors import Unavailable
from shared.settings import Settings
from shared.telemetry import event

Stage = Literal["waiting", "checking files", "converting once", "loading"]
STAGES: tuple[Stage, ...] = ("checking files", "converting once", "loading")


@dataclass(frozen=True)
class Loaded:
    """A model that serves.

    Args:
        folder: its exported folder; None where sentence-transformers serves it.
    """

    model: ModelFiles
    folder: Path | None
    tokenizer: Tokenizer
    tokenizers: TokenizerPool
    engine: Engine

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
            dtype="float32",
            backend=self.engine.backend,
        )


class Loader:
    """Loads the model that the settings name; `stage` says how far it is."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.stage: Stage = "waiting"

    async def load(self, admission: Admission) -> Loaded:
        """The model, serving.

        Raises:
            InvalidInput, Unavailable, StorageFull: see `models.resolve` and `export.export_model`.
        """
        self.stage = "checking files"
        model = await asyncio.to_thread(resolve, self._settings)
        folder = await self._exported(model)
        self.stage = "loading"
        tokenizer = await asyncio.to_thread(Tokenizer, model.folder / TOKENIZER, model.card)
        places = self._settings.embedding_workers
        specs = _specs(model, folder, places)
        engine = Engine(
            lambda place: Worker(specs[place]),
            model.card.dimension,
            tokenizer.wrapped([], "passage"),
            admission,
            places=places,
        )
        await engine.start()
        event("embedding_model_loaded", model=model.card.model, version=model.card.revision, backend=engine.backend)
        return Loaded(model, folder, tokenizer, TokenizerPool(tokenizer, model.card.max_tokens), engine)

    async def _exported(self, model: ModelFiles) -> Path | None:
        wanted = self._settings.embedding_backend
        if wanted == "sentence-transformers" or (wanted == "auto" and not model.exportable):
            return None
        if not model.exportable:
            raise Unavailable(
                f"The model {model.card.model} cannot be converted for OpenVINO. "
                "Set P0711_EMBEDDING_BACKEND=auto to serve it with sentence-transformers."
            )
        self.stage = "converting once"
        try:
            return await exported(self._settings, model)
        except Unavailable:
            if wanted == "openvino":
                raise
            event("embedding_not_converted", level=logging.WARNING, model=model.card.model)
            return None


def _specs(model: ModelFiles, folder: Path | None, places: int) -> list[Spec]:
    """What the worker of each place loads; they share the processors."""
    threads = max(1, (os.cpu_count() or 1) // places) if places > 1 else 0
    if folder is not None:
        return [Spec("openvino", str(folder), threads=threads)] * places
    return [Spec("sentence-transformers", str(model.folder), threads=threads)] * places
