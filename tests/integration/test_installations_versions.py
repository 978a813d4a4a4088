"""Installation parameters on a real Postgres: immutable versions, history, drift, one customer's rows only."""

from __future__ import annotations

import asyncio

import asyncpg
import numpy as np
import pytest

from servers.cradle.installations import probes
from servers.cradle.installations.service import InstallationService
from shared.contracts.installation import (
    ChunkingParameters,
    EmbeddingParameters,
    InstallationParameters,
    OcrParameters,
)
from shared.errors import Conflict, Internal, InvalidInput, NotFound, ParameterDrift

ROOM = "servers.cradle.installations"
DIMENSION = 8


class Embedder:
    """A deterministic stand-in for a model: vectors drawn from the text; `noise` turns them, as other weights would."""

    def __init__(self, noise: float = 0.0, dimension: int = DIMENSION) -> None:
        self.noise, self.dimension, self.calls = noise, dimension, 0

    async def embed_vectors(self, texts, input_type, tenant, priority):
        self.calls += 1
        rows = []
        for text in texts:
            seed = int.from_bytes(f"{input_type}{text}".encode()[:8].ljust(8, b"x"), "big") + len(text)
            row = np.random.default_rng(seed).normal(size=self.dimension)
            row[0] += self.noise
            rows.append(row / np.linalg.norm(row))
        return np.asarray(rows, dtype=np.float32)


def parameters(**changes) -> InstallationParameters:
    chunking = {"chunker": "structure", "version": "1", "max_tokens": 220, "overlap_tokens": 24}
    ocr = {"provider": "rapidocr", "version": "3.10", "settings": {"scale": 2.0}}
    embedding = {
        "model": "m", "revision": "r", "weights_digest": "sha256:" + "a" * 64, "tokenizer_digest": "sha256:" + "b" * 64,
        "dimension": DIMENSION, "max_tokens": 256, "pooling": "mean", "query_prefix": "", "passage_prefix": "",
        "normalize": True, "dtype": "float32", "backend": "openvino",
    }  # fmt: skip
    top = {"extractors": {"pdf": "1", "docx": "1"}, "graph_rules": "1", "local_only": True}
    for name, value in changes.items():
        for part in (chunking, ocr, embedding, top):
            if name in part:
                part[name] = value
                break
        else:
            raise AssertionError(name)
    return InstallationParameters(
        embedding=EmbeddingParameters(**embedding),
        chunking=ChunkingParameters(**chunking),
        ocr=OcrParameters(**ocr),
        **top,
    )


@pytest.fixture
async def service(database):
    return InstallationService((await database(ROOM)).db)


async def test_saving_twice_gives_the_same_version_and_embeds_the_probes_once(service) -> None:
    embedder = Embedder()
    first = await service.save("acme", parameters(), embedder)
    calls = embedder.calls
    again = await service.save("acme", parameters(), embedder)
    assert first == again
    assert first.version == 1
    assert embedder.calls == calls


async def test_ten_saves_at_once_make_one_version(service) -> None:
    saved = await asyncio.gather(*(service.save("acme", parameters(), Embedder()) for _ in range(10)))
    assert {version.version for version in saved} == {1}
    assert len(await service.history("acme")) == 1


@pytest.mark.requirement("G-04")
async def test_history_and_difference_can_be_read(service) -> None:
    await service.save("acme", parameters(), Embedder())
    await service.save("acme", parameters(max_tokens=128, extractors={"pdf": "2", "html": "1"}), Embedder())
    await service.save("acme", parameters(), Embedder())
    found = await service.changes("acme", None, 5)
    assert [(each.version, each.current) for each in found.versions] == [(2, False), (1, True)]
    assert {each.field: (each.old, each.new) for each in found.versions[0].differences} == {
        "chunking.max_tokens": (220, 128),
        "extractors.docx": ("1", None),
        "extractors.html": (None, "1"),
        "extractors.pdf": ("1", "2"),
    }
    assert found.versions[1].differences == []
    page = await service.changes("acme", None, 1)
    assert (page.versions, page.next_start) == (found.versions[:1], 1)
    last = await service.changes("acme", page.next_start, 1)
    assert (last.versions, last.next_start) == (found.versions[1:], None)


async def test_the_current_version_is_the_one_saved_last_even_when_it_is_an_old_one(service) -> None:
    await service.save("acme", parameters(), Embedder())
    await service.save("acme", parameters(max_tokens=128), Embedder())
    assert (await service.get("acme")).version == 2
    await service.save("acme", parameters(), Embedder())
    assert (await service.get("acme")).version == 1
    assert len(await service.history("acme")) == 2


@pytest.mark.requirement("G-04")
@pytest.mark.parametrize("role", ["app", "owner"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE installations SET version = 9",
        "DELETE FROM installations",
        "UPDATE selections SET version = 1",
        "DELETE FROM selections",
    ],
)
async def test_a_stored_version_cannot_be_changed_or_deleted(database, role, statement) -> None:
    made = await database(ROOM)
    service = InstallationService(made.db)
    await service.save("acme", parameters(), Embedder())
    connection = await asyncpg.connect(getattr(made.urls, role))
    try:
        await connection.execute("SELECT set_config('app.customer', 'acme', false)")
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(statement)
    finally:
        await connection.close()
    assert caught.value.sqlstate == "23001"
    assert (await service.get("acme", 1)).version == 1


@pytest.mark.requirement("G-04")
@pytest.mark.parametrize("table", ["installations", "selections"])
async def test_not_even_the_owner_can_empty_a_table(database, table) -> None:
    made = await database(ROOM)
    connection = await asyncpg.connect(made.urls.owner)
    try:
        await connection.execute("ALTER TABLE selections DROP CONSTRAINT selections_customer_id_version_fkey")
        with pytest.raises(asyncpg.PostgresError) as caught:
            await connection.execute(f"TRUNCATE {table}")
    finally:
        await connection.close()
    assert caught.value.sqlstate == "23001"


async def test_the_store_reports_a_refused_change_as_a_conflict(database) -> None:
    made = await database(ROOM)
    await InstallationService(made.db).save("acme", parameters(), Embedder())
    with pytest.raises(Conflict, match="neither be changed nor deleted"):
        async with made.db.session("acme") as connection:
            await connection.execute("DELETE FROM installations")


async def test_a_fingerprint_that_is_not_of_the_parameters_is_refused(database) -> None:
    made = await database(ROOM)
    with pytest.raises(InvalidInput) as caught:
        async with made.db.session("acme") as connection:
            await connection.execute(
                "INSERT INTO installations VALUES ('acme', 1, $1, '{}', $1, '\\x00000000', 1)", "sha256:" + "0" * 64
            )
    assert caught.value.field == "fingerprint_is_of_parameters"


@pytest.mark.requirement("T-03")
async def test_without_any_where_a_customer_sees_no_foreign_row_and_nobody_sees_none(database) -> None:
    made = await database(ROOM)
    service = InstallationService(made.db)
    await service.save("acme", parameters(), Embedder())
    await service.save("beta", parameters(), Embedder())
    for customer, expected in (("acme", {"acme"}), ("beta", {"beta"}), ("gamma", set()), (None, set())):
        async with made.db.session(customer) as connection:
            for table in ("installations", "selections"):
                rows = await connection.fetch(f"SELECT customer_id FROM {table}")  # noqa: S608
                assert {row["customer_id"] for row in rows} == expected


async def test_a_row_for_another_customer_cannot_be_written(database) -> None:
    made = await database(ROOM)
    async with made.db.session("acme") as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO installations "
                "VALUES ('beta', 1, 'sha256:' || encode(sha256('{}'), 'hex'), '{}', $1, '', 1)",
                "sha256:" + "0" * 64,
            )


async def test_an_unknown_version_and_another_customers_version_look_alike(service) -> None:
    await service.save("acme", parameters(), Embedder())
    await service.save("acme", parameters(max_tokens=128), Embedder())
    await service.save("beta", parameters(), Embedder())
    messages = []
    for version in (2, 7):
        with pytest.raises(NotFound) as caught:
            await service.get("beta", version)
        messages.append(caught.value.message.replace(str(version), "N"))
    assert messages[0] == messages[1]


@pytest.mark.requirement("G-02")
@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"weights_digest": "sha256:" + "c" * 64}, "embedding.weights_digest"),
        ({"tokenizer_digest": "sha256:" + "c" * 64}, "embedding.tokenizer_digest"),
        ({"passage_prefix": "passage: "}, "embedding.passage_prefix"),
        ({"max_tokens": 200}, "chunking.max_tokens"),
        ({"chunker": "other"}, "chunking.chunker"),
        ({"extractors": {"pdf": "2", "docx": "1"}}, "extractors.pdf"),
        ({"settings": {"scale": 3.0}}, "ocr.settings.scale"),
        ({"graph_rules": "2"}, "graph_rules"),
    ],
)
async def test_drift_of_a_parameter_is_refused_by_name(service, change, field) -> None:
    await service.save("acme", parameters(), Embedder())
    await service.check_drift("acme", 1, parameters(), Embedder())
    with pytest.raises(ParameterDrift, match="process_new_documents with parameter_version='newest'") as caught:
        await service.check_drift("acme", 1, parameters(**change), Embedder())
    assert caught.value.field == field
    assert field in caught.value.message


@pytest.mark.requirement("G-02")
async def test_moved_probe_vectors_are_named_as_drift_of_the_weights(service) -> None:
    await service.save("acme", parameters(), Embedder())
    await service.check_drift("acme", 1, parameters(), Embedder(noise=1e-4))
    with pytest.raises(ParameterDrift, match="weights differ"):
        await service.check_drift("acme", 1, parameters(), Embedder(noise=0.3))
    with pytest.raises(ParameterDrift) as caught:
        await service.check_drift("acme", 1, parameters(), Embedder(dimension=4))
    assert caught.value.field == "embedding.dimension"


@pytest.mark.requirement("G-02", "I-03")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
async def test_a_model_that_gives_no_finite_numbers_is_neither_stored_nor_taken_for_the_installed_one(
    service, value
) -> None:
    class Broken(Embedder):
        async def embed_vectors(self, *asked):
            vectors = await super().embed_vectors(*asked)
            vectors[-1, -1] = value
            return vectors

    with pytest.raises(Internal, match="not finite"):
        await service.save("beta", parameters(), Broken())
    with pytest.raises(NotFound):
        await service.get("beta")
    await service.save("acme", parameters(), Embedder())
    with pytest.raises(Internal, match="not finite"):
        await service.check_drift("acme", 1, parameters(), Broken())


@pytest.mark.requirement("G-02")
@pytest.mark.parametrize("row", [np.zeros(DIMENSION), np.full(DIMENSION, np.nan)])
def test_one_probe_without_a_direction_is_drift(row) -> None:
    stored = np.eye(DIMENSION, dtype=np.float32)
    moved = stored.copy()
    moved[3] = row
    for one, other in ((stored, moved), (moved, stored)):
        with pytest.raises(ParameterDrift, match="probe 4 has cosine"):
            probes.require_same(one, other)


@pytest.mark.requirement("G-02")
async def test_vectors_of_other_probe_texts_are_compared_with_nothing(service, monkeypatch) -> None:
    await service.save("acme", parameters(), Embedder())
    kind, text = probes.PROBES[-1]
    for others in (((kind, text + "x"),), (("passage", text),)):
        monkeypatch.setattr(probes, "PROBES", (*probes.PROBES[:-1], *others))
        with pytest.raises(Conflict, match="Version 1 has other probe texts"):
            await service.check_drift("acme", 1, parameters(), Embedder())


async def test_an_overlap_of_exactly_half_a_passage_is_taken(service) -> None:
    assert (await service.save("acme", parameters(overlap_tokens=110), Embedder())).version == 1


async def test_the_stored_probes_are_the_vectors_that_the_model_gave(service) -> None:
    await service.save("acme", parameters(), Embedder())
    stored = await service.probes("acme", 1)
    assert len(stored.texts) == len(probes.PROBES) == 16
    np.testing.assert_array_equal(stored.vectors, await probes.embed(Embedder()))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"max_tokens": 512}, "chunk_tokens"),
        ({"overlap_tokens": 111}, "chunk_overlap"),
        ({"provider": "openai"}, "ocr_provider"),
    ],
)
async def test_parameters_that_contradict_themselves_are_refused(service, change, field) -> None:
    if "max_tokens" in change:  # both the chunker and the model have a field of this name
        broken = parameters().model_copy(update={"chunking": parameters().chunking.model_copy(update=change)})
    else:
        broken = parameters(**change)
    with pytest.raises(InvalidInput) as caught:
        await service.save("acme", broken, Embedder())
    assert caught.value.field == field
    with pytest.raises(NotFound):
        await service.get("acme")
