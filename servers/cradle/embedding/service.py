"""The embedding service: what cradle's tools, routes and processing call."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from servers.cradle.cluster.ray import Cluster
from servers.cradle.embedding import metrics
from servers.cradle.embedding.admission import Admission
from servers.cradle.embedding.engine import too_late
from servers.cradle.embedding.export import exported
from servers.cradle.embedding.loader import STAGES, Loaded, Loader
from servers.cradle.embedding.scheduler import Priority
from servers.cradle.embedding.tokenizer import THREADS as TOKENIZER_THREADS
from servers.cradle.embedding.wire import shortened
from shared.contracts.embedding import MAX_TEXT_CHARS, EmbeddingRequest, EmbeddingResult, InputType
from shared.contracts.installation import EmbeddingParameters
from shared.encoder import Tokenizer, over_limit
from shared.errors import DeadlineExceeded, Internal, InvalidInput, Overloaded, PlatformError, TooLarge, Unavailable
from shared.settings import Settings
from shared.telemetry import event, span

if TYPE_CHECKING:
    from pathlib import Path

    from shared.encoder import Vectors

Status = Literal["loading", "ready", "failed", "stopped"]
WINDOW = 256
"""Texts of one `embed_vectors` that are in the queue at once."""
RETRY_LOAD_S = 30.0
LONGEST_WAIT_S = 5.0
"""Of work in this process for room in the queue."""
CHARS_OF_A_TOKEN = 4
DESCRIBED_CHARS = 8 * MAX_TEXT_CHARS
"""Of one call that asks for tokens: each may be one, and takes 300 bytes of memory until the answer is written."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """Vectors [n, dimension] of n texts, in order.

    Args:
        tokens: that were computed: the unit that is metered.
        truncated: positions of the texts that were cut.
    """

    vectors: Vectors
    model: str
    revision: str
    tokens: int
    truncated: list[int]


class EmbeddingService:
    """One model for every customer. Loads in the background; the first calls wait for it within their deadlines."""

    def __init__(self, settings: Settings, cluster: Cluster | None = None) -> None:
        self._settings = settings
        self._admission = Admission(settings.embedding_queue_tokens)
        self._loader = Loader(settings, cluster)
        self._loaded: Loaded | None = None
        self._failure: PlatformError | None = None
        self._changed = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begins to load the model and returns at once. Where it cannot be loaded, that is tried again and again."""
        self._failure = None
        self._changed.clear()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Stops; what still waits gets `Unavailable`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
            self._changed.set()

    @property
    def status(self) -> Status:
        """`loading` until the model is in memory, and again while a broken one is replaced."""
        if self._loaded is not None:
            return "ready" if self._loaded.engine.ready else "loading"
        if self._failure is not None:
            return "failed"
        return "loading" if self._keeper is not None else "stopped"

    def health(self) -> dict[str, object]:
        """What `GET /health` answers: the state, the model, and what waits."""
        told: dict[str, object] = {"status": self.status, "service": "embeddings"}
        if self._loaded is not None and self._loaded.engine.ready:
            card = self._loaded.model.card
            return told | {
                "status": "healthy",
                "model": card.model,
                "revision": card.revision,
                "dimension": card.dimension,
                "backend": self._loaded.engine.backend,
                "workers": len(self._loaded.engine.workers),
                "batched_equals_alone": self._loaded.engine.alone,
                "waiting_tokens": self._admission.waiting,
                "tokens_per_second": round(self._admission.rate),
            }
        if self._failure is not None:
            return told | {"reason": self._failure.message}
        return told | {"stage": self._loader.stage, "stages": list(STAGES)}

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer, for cutting text into passages; there once `identity` has answered.

        Raises:
            Unavailable: the model is still loading.
        """
        if self._loaded is None:
            if self._failure is not None:
                raise copy(self._failure)
            raise Unavailable("The embedding model is loading. Try again shortly.", retry_after=5)
        return self._loaded.tokenizer

    async def identity(self, deadline_s: float | None = None) -> EmbeddingParameters:
        """The model, exactly: what an installation fixes. Waits until it is loaded."""
        loaded = await self._ready(time.monotonic() + (deadline_s or self._settings.call_deadline_s))
        return loaded.parameters()

    async def exported_model(self) -> Path:
        """The folder that `shared.encoder.Encoder` opens: the same graph and tokenizer, to bake into an image.

        Raises:
            Unavailable: the model is one that only sentence-transformers can compute.
        """
        loaded = await self._ready(time.monotonic() + self._settings.call_deadline_s)
        if loaded.folder is None:
            if loaded.model.exportable:
                return await exported(self._settings, loaded.model)
            raise Unavailable(f"The model {loaded.model.card.model} cannot run without torch: choose another one.")
        return loaded.folder

    async def embed(
        self,
        request: EmbeddingRequest,
        tenant: str,
        priority: Priority = "interactive",
    ) -> EmbeddingResult:
        """The vectors of a request, in its order.

        Raises:
            InvalidInput: a text is longer than the model reads and may not be cut, or cannot be embedded; names it.
            Overloaded: too much waits; says when to come again.
            DeadlineExceeded: not done within the deadline of a call.
            Unavailable: the model cannot be loaded.
        """
        result = await self.vectors(
            request.texts,
            request.input_type,
            tenant,
            normalize=request.normalize,
            truncate=request.truncate,
            priority=priority,
        )
        as_text = request.encoding == "base64"
        return EmbeddingResult(
            model=result.model,
            revision=result.revision,
            dimension=result.vectors.shape[1],
            count=len(result.vectors),
            encoding=request.encoding,
            data=base64.b64encode(result.vectors.astype("<f4").tobytes()).decode() if as_text else None,
            vectors=None if as_text else result.vectors.tolist(),
            tokens=result.tokens,
            truncated=result.truncated,
        )

    async def vectors(
        self,
        texts: Sequence[str],
        input_type: InputType,
        tenant: str,
        *,
        normalize: bool = True,
        truncate: bool = False,
        priority: Priority = "interactive",
        dimensions: int | None = None,
    ) -> Embedded:
        """The vectors of texts as an array; otherwise as `embed`.

        Args:
            dimensions: only the first so many values of each.
        """
        started = time.monotonic()
        deadline = started + self._settings.call_deadline_s
        try:
            self._require_few(texts)
            loaded = await self._ready(deadline)
            card = loaded.model.card
            if dimensions is not None and dimensions > card.dimension:
                raise InvalidInput(f"This model has {card.dimension} dimensions: ask for no more.", field="dimensions")
            guessed = _guessed_tokens(texts, card.max_tokens)
            with span("embedding.call", count=len(texts), priority=priority, queue=self._admission.waiting) as running:
                with self._admission.held((priority, tenant), guessed, now := time.monotonic(), deadline - now):
                    inputs = await loaded.tokenizers.inputs(texts, input_type, truncate)
                running.set_attribute("tokens", inputs.tokens)
                vectors = await loaded.engine.compute(inputs.ids, tenant, priority, deadline, normalize)
        except PlatformError as error:
            metrics.REFUSED.labels(error.code).inc()
            raise
        metrics.LATENCY.labels(priority).observe(time.monotonic() - started)
        short = shortened(vectors, dimensions, unit=normalize)
        return Embedded(short, card.model, card.revision, inputs.tokens, inputs.cut)

    async def tokens(
        self, texts: Sequence[str], input_type: InputType | None, special: bool, tenant: str
    ) -> list[list[dict[str, object]]]:
        """What the tokenizer makes of each text; see `Tokenizer.described`.

        Raises:
            TooLarge: of the texts together an answer would be too large.
            Overloaded: too much waits; says when to come again.
        """
        self._require_few(texts)
        if sum(map(len, texts)) > DESCRIBED_CHARS:
            raise TooLarge(
                f"Texts to tokenize have {DESCRIBED_CHARS} characters together at most: send fewer.", field="inputs"
            )
        deadline = time.monotonic() + self._settings.call_deadline_s
        loaded = await self._ready(deadline)
        guessed = _guessed_tokens(texts, DESCRIBED_CHARS)
        with self._admission.held(("interactive", tenant), guessed, now := time.monotonic(), deadline - now):
            return await loaded.tokenizers.described(texts, input_type, special)

    async def info(self) -> dict[str, object]:
        """The model and the limits, as text-embeddings-inference tells them."""
        loaded = await self._ready(time.monotonic() + self._settings.call_deadline_s)
        found = loaded.parameters()
        return {
            "model_id": found.model,
            "model_sha": found.revision,
            "model_dtype": found.dtype,
            "model_type": {"embedding": {"pooling": found.pooling}},
            "max_input_length": found.max_tokens,
            "max_client_batch_size": self._settings.embedding_max_texts,
            "max_queue_tokens": self._admission.limit,
            "max_batch_tokens": loaded.engine.batch_tokens,
            "auto_truncate": False,
            "tokenization_workers": TOKENIZER_THREADS,
        }

    def _require_few(self, texts: Sequence[str]) -> None:
        most = self._settings.embedding_max_texts
        if len(texts) > most:
            raise TooLarge(f"A call takes {most} texts at most: send the {len(texts)} in parts.", field="texts")

    async def embed_vectors(
        self,
        texts: Sequence[str],
        input_type: InputType,
        tenant: str,
        priority: Priority = "bulk",
        *,
        truncate: bool = False,
        inputs: Sequence[list[int]] | None = None,
    ) -> Vectors:
        """Vectors for a caller in this process: float32 [n, dimension], at length 1 where the model normalises.

        Waits for room in the queue instead of being refused, up to the deadline of a job's step.

        Args:
            texts: any number.
            inputs: what `tokenizer.inputs` gave for each text, where that is known already.

        Raises:
            InvalidInput: a text is longer than the model reads and may not be cut.
        """
        import numpy as np

        deadline = time.monotonic() + self._settings.job_step_deadline_s
        loaded = await self._ready(deadline)
        parts: list[Vectors] = [np.empty((0, loaded.model.card.dimension), np.float32)]
        for at in range(0, len(texts), WINDOW):
            if inputs is None:
                ids = (await loaded.tokenizers.inputs(texts[at : at + WINDOW], input_type, truncate)).ids
            else:
                ids = _within(inputs[at : at + WINDOW], loaded.model.card.max_tokens)
            parts.append(await self._patiently(loaded, ids, tenant, priority, deadline))
        return np.concatenate(parts)

    async def _patiently(
        self, loaded: Loaded, ids: list[list[int]], tenant: str, priority: Priority, deadline: float
    ) -> Vectors:
        """Where there is no room for all of them, half as many are tried: many who ask for little may never leave room
        for much."""
        import numpy as np

        left: list[list[list[int]]] = [ids]
        found: list[Vectors] = []
        while left:
            part = left.pop()
            try:
                found.append(await loaded.engine.compute(part, tenant, priority, deadline, loaded.model.card.normalize))
            except Overloaded as full:
                wait = min(full.retry_after or 0.1, LONGEST_WAIT_S)
                if time.monotonic() + wait >= deadline:
                    raise too_late() from None
                await asyncio.sleep(wait)
                half = (len(part) + 1) // 2
                left += [each for each in (part[half:], part[:half]) if each]
        return np.concatenate(found)

    async def _ready(self, deadline: float) -> Loaded:
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                while self._loaded is None:
                    if self._failure is not None:
                        raise copy(self._failure)  # an error that is raised holds what it was raised through
                    if self._keeper is None:
                        raise Unavailable("The embedding service is stopped.")
                    await self._changed.wait()
        except TimeoutError:
            raise DeadlineExceeded("The embedding model is still loading. Try again shortly.") from None
        return self._loaded

    async def _keep(self) -> None:
        """Loads the model and holds it until it is told to stop. No call is needed for another try: a balancer sends
        none while the last one has failed."""
        while (loaded := await self._load()) is None:  # noqa: ASYNC110  # nothing tells when it may succeed
            await asyncio.sleep(RETRY_LOAD_S)
        try:
            await asyncio.Event().wait()
        finally:
            self._changed.clear()  # or a call that comes meanwhile would turn in `_ready` and stop the loop
            self._loaded = None
            loaded.tokenizers.close()
            await loaded.engine.close()

    async def _load(self) -> Loaded | None:
        try:
            self._loaded, self._failure = await self._loader.load(self._admission), None
        except PlatformError as error:
            self._failure = error
        except Exception as error:  # noqa: BLE001  # whatever a library raises while loading: the callers must be told
            event("embedding_load_failed", error=error)
            self._failure = Internal("The embedding model could not be loaded. Cradle's log has the details.")
        metrics.LOADS.labels("ready" if self._loaded else "failed").inc()
        self._changed.set()
        return self._loaded


def _within(inputs: Sequence[list[int]], limit: int) -> list[list[int]]:
    for at, ids in enumerate(inputs):
        if len(ids) > limit:
            raise over_limit(at, limit)
    return list(inputs)


def _guessed_tokens(texts: Sequence[str], most: int) -> int:
    """About how many tokens texts have, before the tokenizer has said: a refusal must not wait for it."""
    return sum(min(len(text) // CHARS_OF_A_TOKEN + 2, most) for text in texts)
