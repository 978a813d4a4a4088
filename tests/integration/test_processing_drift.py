"""The door to an update, `onboarding.process`: it compares everything stored with what this cradle would compute, and
writes nothing where one thing differs. Model, database, bucket and pipeline are real."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from servers.cradle import onboarding
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.installations.fingerprint import document
from servers.cradle.installations.service import InstallationService
from servers.cradle.services import Services
from shared.contracts.installation import InstallationParameters, ParameterChoice
from shared.errors import Conflict, ParameterDrift
from tests.processing_rig import Customer, customer, no_progress
from tests.vision_rig import fails, page, says, service_at, vision_server

__all__ = ["customer"]

CHOSEN = frozenset({"chunking.max_tokens", "chunking.overlap_tokens", "ocr.provider", "local_only"})
"""What an operator chooses: it is taken from the stored version, and nothing of this process can differ from it."""
OTHER = {"mean": "cls", "float32": "bfloat16"}


class Probing:
    """The service as it embeds a new version's probes: once for all versions, and where `turn` is not 0 as with other
    weights under the same names."""

    def __init__(self, service: EmbeddingService, turn: float = 0.0) -> None:
        self._service, self._turn = service, turn
        self._known: dict[tuple[str, ...], Any] = {}

    async def embed_vectors(self, texts: list[str], *how: Any) -> Any:
        if tuple(texts) not in self._known:
            vectors = np.array(await self._service.embed_vectors(texts, *how))
            vectors[:, 0] += self._turn
            self._known[tuple(texts)] = vectors
        return self._known[tuple(texts)]


def another(value: Any) -> Any:
    """A value of the same kind that is not this one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return "sha256:" + "c" * 64 if value.startswith("sha256:") else OTHER.get(value, f"{value}-other")


def every_change(parameters: InstallationParameters) -> Iterator[tuple[str, InstallationParameters]]:
    """Each field that is not chosen, and the parameters with that one changed."""
    plain = document(parameters)

    def walk(part: dict[str, Any], prefix: str) -> Iterator[tuple[str, InstallationParameters]]:
        for name, value in part.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{name}.")
            elif prefix + name not in CHOSEN:
                part[name] = another(value)
                yield prefix + name, InstallationParameters.model_validate(copy.deepcopy(plain))
                part[name] = value

    yield from walk(plain, "")


@pytest.fixture
async def held(customer: Customer, service: EmbeddingService, database) -> Services:
    """Cradle's services over the customer, whose one file is recorded as its source."""
    (customer.folder / "blatt.txt").write_text("Die Klemme hält 24 A.")
    await customer.store.put(onboarding.SOURCES, orjson.dumps([customer.folder.as_uri()]))
    made = (await database("servers.cradle.installations")).db
    unused: Any = None
    return Services(customer.settings, service, customer.vision, InstallationService(made), made, unused)


async def process(held: Services, version: int) -> Any:
    return await onboarding.process(held, "acme", version, no_progress)


@pytest.mark.requirement("G-02")
async def test_an_update_with_any_one_thing_changed_is_refused_by_its_name_and_writes_nothing(
    held: Services, customer: Customer
) -> None:
    parameters, probing, asked = customer.version.parameters, Probing(held.embedding), list[str]()
    for field, changed in every_change(parameters):
        stored = await held.installations.save("acme", changed, probing)
        with pytest.raises(ParameterDrift) as refused:
            await process(held, stored.version)
        assert refused.value.field == field
        assert field in refused.value.message
        asked.append(field)
    assert {f"extractors.{name}" for name in parameters.extractors} < set(asked)
    assert {
        "embedding.model", "embedding.revision", "embedding.weights_digest", "embedding.tokenizer_digest",
        "embedding.query_prefix", "embedding.passage_prefix", "chunking.chunker", "chunking.version",
    } < set(asked)  # fmt: skip
    assert await customer.store.list("dataset") == []
    right = await held.installations.save("acme", parameters, probing)
    assert (await process(held, right.version)).counts.processed == 1


@pytest.mark.requirement("G-02")
async def test_an_update_by_weights_that_give_other_vectors_under_the_same_names_is_refused_and_writes_nothing(
    held: Services, customer: Customer
) -> None:
    stored = await held.installations.save("acme", customer.version.parameters, Probing(held.embedding, turn=0.1))
    with pytest.raises(ParameterDrift, match="weights differ") as refused:
        await process(held, stored.version)
    assert refused.value.field == "embedding.weights_digest"
    assert await customer.store.list("dataset") == []


async def test_a_provider_that_turns_the_platform_away_fails_the_job_which_says_what_to_set_and_keeps_what_was(
    held: Services, customer: Customer
) -> None:
    async with vision_server() as server:
        vision = service_at(server.url)
        held = replace(held, vision=vision)
        choice = ParameterChoice.model_validate({"ocr_provider": "openai", "local_only": False})
        parameters = await onboarding.current_choice(held, choice)
        stored = await held.installations.save("acme", parameters, Probing(held.embedding))
        (customer.folder / "scan.png").write_bytes(page())
        assert (await process(held, stored.version)).counts.processed == 2
        before = await customer.ledger()
        (customer.folder / "scan.png").write_bytes(page((700, 300)))
        server.reply = fails(401)
        with pytest.raises(Conflict, match=r"P0711_OPENAI_API_KEY\. Then start the job again"):
            await process(held, stored.version)
        assert await customer.ledger() == before
        server.reply = says("Zeile drei")
        assert (await process(held, stored.version)).counts.unchanged == 1
        await vision.close()
