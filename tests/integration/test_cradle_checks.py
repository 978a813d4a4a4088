"""What cradle refuses before a job is queued: sources of a customer that nobody has registered, and deployments."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from servers.cradle import delivery, deployment, migration
from servers.cradle.app import build
from servers.cradle.deployments.service import Deployments
from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.images.archive import release
from servers.cradle.images.engine import Engine
from servers.cradle.images.signing import KEY_NAME
from servers.cradle.onboarding import check_choice, checked_sources, current_choice, require_platform
from servers.cradle.services import Services, opened
from servers.cradle.vision.service import VisionService
from shared.auth import acting_as
from shared.contracts.installation import ParameterChoice
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound, Unavailable
from shared.objects import CustomerStore, bucket_name
from shared.postgres.urls import DatabaseUrls, write
from shared.settings import Settings
from tests.image_rig import NO_ENGINE, small_image
from tests.orchestrator_rig import ADMIN


@pytest.fixture
async def held(database: Any, tmp_path: Path) -> Services:
    """Cradle without a container engine, and with a folder that it may read."""
    (tmp_path / "customers" / "berg").mkdir(parents=True)
    settings = Settings(home=tmp_path / "home", source_roots=[tmp_path / "customers"], docker_host=NO_ENGINE)
    rows = (await database("servers.cradle.deployments")).db
    unused: Any = None
    signer = await delivery.signer_of(Services(settings, *[unused] * 5))
    return Services(settings, unused, unused, unused, rows, Deployments(settings, rows, signer.verifier))


def nothing_is_there(held: Services, customer: str) -> bool:
    return not (held.settings.home / "objects" / bucket_name(customer)).exists()


async def test_checking_sources_makes_nothing_whether_they_are_refused_or_not(held: Services) -> None:
    folder = held.settings.source_roots[0] / "berg"
    with acting_as(ADMIN):
        for refused in ("file:///nirgends", folder.as_uri(), "bucket:eingang", "s3://customer-tal/eingang"):
            with pytest.raises(InvalidInput):
                await checked_sources(held, "berg", [refused])
            with pytest.raises(InvalidInput):
                await migration.checked_legacy(held, "berg", refused)
        (folder / "blatt.txt").write_text("Klemme")
        assert (await checked_sources(held, "berg", [folder.as_uri()])).uris == [folder.as_uri()]
        assert await migration.checked_legacy(held, "berg", folder.as_uri()) == folder.as_uri()
    assert nothing_is_there(held, "berg")


async def test_a_place_in_a_bucket_is_looked_into_where_the_customer_has_one(held: Services) -> None:
    await (await CustomerStore.open(held.settings, "berg", create=True)).put("eingang/blatt.txt", b"Klemme")
    with acting_as(ADMIN):
        assert (await checked_sources(held, "berg", ["bucket:eingang"])).uris == ["bucket:eingang"]
        with pytest.raises(InvalidInput, match="no file"):
            await checked_sources(held, "berg", ["bucket:ausgang"])


async def test_a_choice_is_checked_at_once_and_awaits_no_model_that_still_loads(held: Services) -> None:
    loads = EmbeddingService(held.settings)  # not started: nobody would answer who waited for its model
    cradle = replace(held, embedding=loads, vision=VisionService(held.settings))
    await check_choice(cradle, ParameterChoice(chunk_tokens=8000))
    with pytest.raises(InvalidInput, match="P0711_OPENAI_API_KEY"):
        await check_choice(cradle, ParameterChoice(ocr_provider="openai"))


async def test_a_job_waits_for_a_model_that_loads_for_longer_than_a_call_may_take(
    held: Services, model_home: Path
) -> None:
    slow = Settings(home=model_home, call_deadline_s=0.001)
    cradle = replace(held, settings=slow, embedding=EmbeddingService(slow), vision=VisionService(slow))
    await cradle.embedding.start()
    try:
        parameters = await current_choice(cradle, ParameterChoice())
    finally:
        await cradle.embedding.close()
    assert parameters.embedding.dimension == 384
    control, _, _ = build(slow)
    assert control.mcp.specs["save_installation_params"].deadline_s == slow.job_step_deadline_s


@pytest.mark.requirement("T-01")
def test_only_the_platform_asks_about_a_customer_that_its_token_does_not_name() -> None:
    orchestrator = replace(ADMIN, subject="orchestrator", role="service")
    for allowed in (ADMIN, orchestrator):
        with acting_as(allowed):
            require_platform()
    others = [replace(orchestrator, subject="cradle")]
    others += [replace(ADMIN, role=role) for role in ("partner_admin", "customer_admin", "customer_user")]
    others += [replace(each, customer="tal") for each in (ADMIN, orchestrator)]
    for other in others:
        with acting_as(other), pytest.raises(Forbidden):
            require_platform()


async def test_a_deployment_of_an_unknown_image_or_at_another_port_is_refused_before_it_is_ordered(
    held: Services,
) -> None:
    bucket = (await CustomerStore.open(held.settings, "acme", create=True)).local()
    assert bucket is not None
    small_image(bucket, await delivery.signer_of(held), tag="p1-built")

    async def check(tag: str, port: int | None = None) -> str:
        return await deployment.check_deployment(held, "acme", tag, "local", port)

    with pytest.raises(NotFound, match="list_deployments"):
        await check("p1-mistyped")
    with pytest.raises(Unavailable):  # it is there; the engine is not
        await check("p1-built")
    await DeploymentStore(held.database).reserve("acme", "local", [9407])
    with pytest.raises(Conflict, match="9407"):
        await check("p1-built", 9408)
    with pytest.raises(Unavailable):
        await check("p1-built", 9407)


async def test_a_port_that_another_customer_or_another_program_has_is_refused_before_it_is_ordered(
    held: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = DeploymentStore(held.database)
    await store.reserve("berg", "local", [9407])
    with pytest.raises(Conflict, match="Another deployment") as taken:
        await held.deployments.check("acme", "local", 9407)
    assert taken.value.field == "port"
    answers = Engine(cast(Any, SimpleNamespace(api=None, close=lambda: None)), "unix:///none.sock", "0")
    monkeypatch.setattr(Engine, "connect", lambda _: answers)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        assert "container engine" in await held.deployments.check("acme", "local", port)
        assert await store.on("acme", "local") is None  # a check takes nothing
        other.listen()
        with pytest.raises(Conflict, match="Another program"):
            await held.deployments.check("acme", "local", port)
        await store.reserve("acme", "local", [port])  # what listens there now is its own
        assert "container engine" in await held.deployments.check("acme", "local", port)


async def test_a_roll_back_to_an_unknown_image_or_of_nothing_is_refused_before_it_is_ordered(held: Services) -> None:
    bucket = (await CustomerStore.open(held.settings, "acme", create=True)).local()
    assert bucket is not None
    archive = await delivery.archive_of(held)
    image = await asyncio.to_thread(small_image, bucket, await delivery.signer_of(held), tag="p1-kept")
    await archive.keep(bucket, "p1-kept")
    with pytest.raises(NotFound, match="deploy_customer"):
        await deployment.check_rollback(held, "acme", "p1-kept", "local")
    store = DeploymentStore(held.database)
    await store.reserve("acme", "local", [9407])
    await store.serving("acme", "local", image.built)
    with pytest.raises(NotFound, match="list_deployments"):
        await deployment.check_rollback(held, "acme", "p1-mistyped", "local")
    with pytest.raises(Unavailable):
        await deployment.check_rollback(held, "acme", "p1-kept", "local")
    release(archive.folder)


async def test_a_reconciliation_before_the_backup_says_so(held: Services) -> None:
    await CustomerStore.open(held.settings, "berg", create=True)
    with pytest.raises(NotFound, match="back_up_legacy first"):
        await migration.reconcile(held, "berg", "p1-none")


async def test_services_that_cannot_be_opened_to_the_end_leave_nothing_running(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home", docker_host=NO_ENGINE)
    nobody = "postgresql://nobody:secret@127.0.0.1:1/installation_configs"
    write(settings.home, {"installation_configs": DatabaseUrls(nobody, nobody)})
    (settings.home / "keys").mkdir()
    (settings.home / "keys" / KEY_NAME).write_text("damaged")
    before = asyncio.all_tasks()
    with pytest.raises(Conflict, match="is no P-256 key"):
        async with opened(settings):
            pass
    assert asyncio.all_tasks() == before
