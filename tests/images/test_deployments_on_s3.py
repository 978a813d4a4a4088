"""Deployments of a customer whose bucket is on S3, in a real container engine."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from servers.cradle import delivery, deployment
from servers.cradle.deployments.service import Deployments
from servers.cradle.images.updates import ledger_key
from servers.cradle.workplace import work_folder
from shared.contracts.deployment import Question
from shared.dataset.delta import ledger
from shared.dataset.places import Place
from shared.errors import Conflict, NotFound
from shared.ids import canonical_json
from shared.objects import CustomerStore
from tests.conftest import s3_settings
from tests.image_rig import CustomerImage
from tests.images.test_deployments import NEW_ANSWER, NEW_QUESTION, PLANTED, second_image
from tests.serving_rig import free_port

__all__ = ["second_image"]
pytestmark = pytest.mark.slow


async def upload(store: CustomerStore, image: CustomerImage, *folders: str) -> None:
    """Put these folders of an image's bucket in place of what the store has there."""
    for folder in folders:
        await store.delete_all(folder)
        for path in sorted((image.bucket / folder).rglob("*")):
            if path.is_file():
                await store.put(path.relative_to(image.bucket).as_posix(), path)


@pytest.fixture
async def held(
    customer_image: CustomerImage, engine_host: str, tmp_path: Path, database, s3_url: str
) -> AsyncIterator[Any]:
    """What cradle's deployments need of its services, with the keys that signed the images."""
    first = free_port()
    changes = {"docker_host": engine_host, "deployment_ports": (first, first + 50), "work_folder": tmp_path}
    settings = s3_settings(tmp_path / "home", s3_url).model_copy(update=changes)
    shutil.copytree(customer_image.bucket.with_name(customer_image.bucket.name + "-keys"), settings.home / "keys")
    held_database = await database("servers.cradle.deployments")
    deployments = Deployments(settings, held_database.db, customer_image.signer.verifier)
    store = await CustomerStore.open(settings, "acme", create=True)
    try:
        yield SimpleNamespace(settings=settings, deployments=deployments)
    finally:
        await deployments.erase("acme")
        await store.remove()


@pytest.mark.engine
@pytest.mark.requirement("O-06", "S-01")
async def test_an_image_in_a_bucket_on_s3_is_deployed_updated_in_place_and_rolled_back(
    held: Any, customer_image: CustomerImage, second_image: CustomerImage
) -> None:
    store = await CustomerStore.open(held.settings, "acme")
    await upload(store, customer_image, "images", "dataset")
    await store.put(
        ledger_key(customer_image.built.dataset_digest),
        canonical_json(ledger(Place(str(customer_image.bucket / "dataset")))),
    )
    await deployment.keep_questions(held, "acme", PLANTED)
    made = await deployment.deploy(held, "acme", "p1-one", "local", None)
    assert (made.how, made.deployment.image_digest) == ("deployed", customer_image.built.manifest_digest)
    await upload(store, second_image, "dataset", "images")
    await deployment.keep_questions(held, "acme", [*PLANTED, Question(question=NEW_QUESTION, expected=NEW_ANSWER)])
    (updated,) = (await deployment.update_instances(held, "acme", "p1-two")).made
    assert (updated.how, updated.deployment.tag) == ("updated in place", "p1-two")
    assert [key.split("/")[0] for key, _ in await store.list("updates")] == ["updates"]
    # the first image is no more in the bucket: the archive's is restored, in the work folder alone
    with pytest.raises(NotFound):
        await deployment.roll_back(held, "acme", "p1-one", "local")
    await (await delivery.archive_of(held)).keep(customer_image.bucket, "p1-one")
    back = await deployment.roll_back(held, "acme", "p1-one", "local")
    assert back.how == "version switched"
    await deployment.keep_questions(held, "acme", PLANTED)
    assert (await deployment.deploy(held, "acme", "p1-one", "local", None)).how == "unchanged"
    # what was altered in the bucket never reaches the engine
    data = bytearray(second_image.tar.read_bytes())
    data[len(data) // 2] ^= 1
    await store.put("images/p1-two/image.tar", bytes(data))
    with pytest.raises(Conflict, match="altered after it was signed"):
        await deployment.deploy(held, "acme", "p1-two", "local", None)
    assert list(work_folder(held.settings).iterdir()) == []
    assert not [key for key, _ in await store.list() if key.startswith(("scratch", "restored"))]
