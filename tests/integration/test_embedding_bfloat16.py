"""The bundled model in bfloat16 on a CPU."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from servers.cradle.embedding import worker
from servers.cradle.embedding.models import resolve
from servers.cradle.embedding.service import EmbeddingService
from shared.encoder import Encoder
from shared.errors import Unavailable
from shared.settings import Settings

TEXTS = [
    *("Leitungsschutzschalter B16, 1-polig, 6 kA", "断路器的额定电流是多少？", "Größe: 80 × 18 mm, 49,90 €", "x", " "),
    *("The quick brown fox jumps over the lazy dog.", "Ein Satz über Klemmen und Schaltschränke. " * 12),
]
able = pytest.mark.skipif(
    worker.BFLOAT16.isdisjoint(worker.CPUINFO.read_text().split()), reason="this processor does not compute bfloat16"
)


async def opened(home: Path, **more: str) -> EmbeddingService:
    service = EmbeddingService(Settings(home=home, embedding_cpu_dtype="bfloat16", **more))  # type: ignore[arg-type]
    await service.start()
    return service


@pytest.fixture
async def service(model_home: Path) -> AsyncIterator[EmbeddingService]:
    found = await opened(model_home)
    yield found
    await found.close()


@able
async def test_vectors_in_bfloat16_are_close_to_those_of_sentence_transformers_and_the_identity_says_so(
    service: EmbeddingService, model_home: Path, model_folder: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    vectors = await service.embed_vectors(TEXTS, "passage", "a")
    reference = SentenceTransformer(str(resolve(Settings(home=model_home)).folder), device="cpu").encode(TEXTS)
    assert (np.asarray(reference) * vectors).sum(1).min() >= 0.9995
    assert np.abs(vectors - Encoder(model_folder).encode(TEXTS)).max() > 1e-5, "float32 was computed"
    identity = await service.identity()
    assert (identity.dtype, identity.backend) == ("bfloat16", "openvino")


@able
async def test_a_vector_in_bfloat16_does_not_depend_on_other_texts_or_callers_bit_for_bit(
    service: EmbeddingService,
) -> None:
    alone = np.concatenate([await service.embed_vectors([text], "passage", "a") for text in TEXTS])
    crowds = await asyncio.gather(
        *(service.embed_vectors(TEXTS[at:] + TEXTS[:at], "passage", f"t{at}") for at in range(len(TEXTS)))
    )
    for at, crowd in enumerate(crowds):
        assert np.array_equal(np.roll(crowd, at, axis=0), alone)


async def test_a_processor_without_bfloat16_is_refused_by_the_setting_s_name(
    model_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "cpuinfo"
    other.write_text("model name\t: Another\nflags\t\t: fpu sse2 avx2 avx512f avx512_vnni\n")
    monkeypatch.setattr(worker, "CPUINFO", other)
    await refused(model_home, "P0711_EMBEDDING_CPU_DTYPE=float32")


async def test_bfloat16_on_a_cpu_is_refused_of_a_backend_that_has_float32_only(model_home: Path) -> None:
    await refused(model_home, "served by packed", embedding_backend="packed")


async def refused(home: Path, why: str, **more: str) -> None:
    service = await opened(home, **more)
    try:
        with pytest.raises(Unavailable, match=why):
            await service.embed_vectors(["Klemme"], "passage", "a")
    finally:
        await service.close()
