"""What an engine may not do, and what it does for a caller who has gone: limits of processors, a stop to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.cradle.deployments.service import Deployments
from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.images.containers import Containers
from servers.cradle.images.engine import Engine
from servers.cradle.images.signed import SignedImage
from servers.cradle.images.signing import Signer
from shared.settings import Settings
from tests.faults.test_cancelled_work import Gate
from tests.image_rig import CustomerImage, small_image
from tests.images.test_deployments import docker

pytestmark = pytest.mark.engine
CUSTOMER = "grenze"


@pytest.fixture
def image(tmp_path: Path) -> CustomerImage:
    return small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys"), customer=CUSTOMER)


@pytest.fixture
def containers(image: CustomerImage, engine_host: str) -> Iterator[Containers]:
    """The customer's container, made and not started."""
    with Engine.connect(engine_host) as engine:
        made = Containers(engine, image.signer.verifier, CUSTOMER)
        loaded = made.load(image.tar, image.built)
        made._create(made._name, loaded, image.built, {}, None, volume=True)
        try:
            yield made
        finally:
            made.erase()


@pytest.mark.parametrize(
    ("engine", "limit"),
    [
        ({"NCPU": 1, "CpuCfsQuota": True}, 10**9),
        ({"NCPU": 8, "CpuCfsQuota": True}, 2 * 10**9),
        ({"NCPU": 8, "CpuCfsQuota": False}, 0),
    ],
)
def test_processors_are_limited_as_far_as_the_engine_has_them_and_may(
    containers: Containers, image: CustomerImage, monkeypatch: pytest.MonkeyPatch, engine: dict[str, object], limit: int
) -> None:
    monkeypatch.setattr(containers._api, "info", lambda: engine)
    containers._create(containers._name, image.spec.reference, image.built, {}, None, volume=True)
    assert json.loads(docker("inspect", containers._name))[0]["HostConfig"]["NanoCpus"] == limit


@pytest.fixture
async def serving(
    image: CustomerImage, engine_host: str, database, tmp_path: Path
) -> tuple[Deployments, DeploymentStore]:
    """The customer's deployments, as after its image began to serve."""
    held = (await database("servers.cradle.deployments")).db
    store = DeploymentStore(held)
    await store.reserve(CUSTOMER, "local", [9499])
    await store.serving(CUSTOMER, "local", image.built)
    return Deployments(Settings(home=tmp_path, docker_host=engine_host), held, image.signer.verifier), store


@pytest.mark.requirement("M-05")
async def test_what_was_cancelled_before_its_turn_came_does_not_begin(
    containers: Containers, image: CustomerImage, serving: tuple[Deployments, DeploymentStore]
) -> None:
    (deployments, store), pushed = serving, []
    row = await store.on(CUSTOMER, "local")
    assert row is not None

    async def push(_: object) -> None:
        pushed.append("anyway")

    async with deployments._turn(CUSTOMER, "local"):
        signed = SignedImage(image.tar, image.built)
        waiting = [
            asyncio.create_task(work)
            for work in (
                deployments.stop(CUSTOMER, "local", release=True),
                deployments.update(CUSTOMER, row, image.built, push, ()),
                deployments.deploy(CUSTOMER, signed, "local", None, ()),
            )
        ]
        async with asyncio.timeout(60):
            while len(deployments._exchanges) < len(waiting):  # noqa: ASYNC110
                await asyncio.sleep(0.05)  # the interval of a poll
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    await deployments.close()
    assert await store.on(CUSTOMER, "local") == row
    assert docker("ps", "-aq", "--filter", f"name={containers._name}") != ""
    assert pushed == []


@pytest.mark.requirement("M-05")
async def test_a_stop_whose_caller_has_gone_comes_to_its_end_and_the_row_says_so(
    containers: Containers, serving: tuple[Deployments, DeploymentStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployments, store = serving
    gate = Gate(monkeypatch, Containers, "stop")
    await gate.cancel(asyncio.create_task(deployments.stop(CUSTOMER, "local", release=True)))
    await deployments.close()
    assert await store.on(CUSTOMER, "local") is None
    assert docker("volume", "ls", "-q", "--filter", f"name={containers._name}-state") == ""
    assert docker("ps", "-aq", "--filter", f"name={containers._name}") == ""
