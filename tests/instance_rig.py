"""An instance over documents that a test makes, running in the test's own process with the real model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from servers.instance.app import Place, build
from shared.client import Upstream
from shared.contracts.instance import InstanceConfig
from shared.dataset.manifest import DatasetModel
from shared.dataset.rows import DocumentBundle
from shared.dataset.writer import DatasetWriter
from shared.settings import Settings
from tests.image_rig import FINGERPRINT, encoder_of
from tests.serving_rig import free_port, listening

KEY = "access-key-of-the-test"


@asynccontextmanager
async def instance_of(documents: Sequence[DocumentBundle], model: Path, folder: Path) -> AsyncIterator[Upstream]:
    """A client of the instance; `folder` is for its files."""
    card = encoder_of(model).card
    about = DatasetModel(
        model=card.model, revision=card.revision, dimension=card.dimension,
        query_prefix=card.query_prefix, passage_prefix=card.passage_prefix, normalize=card.normalize,
    )  # fmt: skip
    async with DatasetWriter(str(folder / "dataset"), card.dimension) as writer:
        await writer.replace_documents(documents)
        manifest = await writer.commit(parameter_version=1, fingerprint=FINGERPRINT, model=about)
    config = InstanceConfig(
        customer_id="acme", company_name="Müller & Söhne KG", tag="p1", fingerprint=FINGERPRINT,
        dataset_digest=manifest.dataset_digest, parameter_version=1,
    )  # fmt: skip
    (folder / "instance.json").write_text(config.model_dump_json())
    settings = Settings(home=folder, instance_port=free_port())
    place = Place(folder / "dataset", model, folder / "instance.json")
    async with (
        listening(build(settings, place, KEY).asgi(), settings.instance_port, settings),
        Upstream(settings.resource("instance"), key=KEY) as upstream,
    ):
        yield upstream
