"""From settings to a model in memory, stage by stage."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.backends.base import Backend
from servers.cradle.embedding.engine import Engine
from servers.cradle.embedding.export import OFFLINE, exported
from servers.cradle.embedding.models import ModelFiles, resolve
from servers.cradle.embedding.tokenizer import TokenizerPool
from shared.contracts.installation import EmbeddingParameters
from shared.encoder import TOKENIZER, Tokenizer
from shared.errors import Unavailable
from shared.settings import Settings
from shared.telemetry import event

Stage = Literal["waiting", "checking files", "converting once", "loading", "measuring"]
STAGES: tuple[Stage, ...] = ("checking files", "converting once", "loading", "measuring")


@dataclass(frozen=True)
class Loaded:
    """A model that serves.

    Args:
        folder: its exported folder; None where sentence-transformers serves it.
    """

    model: ModelFiles
    backend: str
    folder: Path | None
    tokenizer: Tokenizer
    tokenizers: TokenizerPool
    engine: Engine
    batched_equals_alone: bool

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
            backend=self.backend,
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
        backend = await asyncio.to_thread(_backend, model, folder)
        self.stage = "measuring"
        probe = tokenizer.wrapped([], "passage")
        engine = Engine(backend, model.card.dimension, probe, admission)
        alone = await engine.start()
        event("embedding_model_loaded", model=model.card.model, version=model.card.revision, backend=backend.name)
        return Loaded(
            model, backend.name, folder, tokenizer, TokenizerPool(tokenizer, model.card.max_tokens), engine, alone
        )

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


def _backend(model: ModelFiles, folder: Path | None) -> Backend:
    if folder is not None:
        from servers.cradle.embedding.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(folder)
    import os

    os.environ.update(OFFLINE)
    from servers.cradle.embedding.backends.sentence_transformers import SentenceTransformersBackend

    return SentenceTransformersBackend(model.folder)
