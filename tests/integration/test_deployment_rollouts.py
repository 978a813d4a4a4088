"""How a deployment's change ends where its caller goes, or its engine: without a container engine."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from servers.cradle.deployments.access import Access
from servers.cradle.deployments.rollout import Rollout
from servers.cradle.deployments.service import Deployments
from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.images.containers import Containers
from servers.cradle.images.engine import Engine, PortInUse
from servers.cradle.images.signed import signed_image
from servers.cradle.images.signing import Signer
from shared.errors import Conflict, Unavailable
from shared.settings import Settings
from tests.image_rig import small_image


async def test_closing_waits_for_an_exchange_whose_caller_has_gone(database, tmp_path: Path) -> None:
    verifier = Signer.open(tmp_path / "keys").verifier
    deployments = Deployments(Settings(home=tmp_path), (await database("servers.cradle.deployments")).db, verifier)
    ended = []

    async def work(gone: asyncio.Event):
        await gone.wait()
        for _ in range(20):  # turns of the loop, more than the caller's end takes
            await asyncio.sleep(0)
        ended.append("safely")
        raise Conflict("The deployment was cancelled. What served before serves.")

    caller = asyncio.create_task(deployments._to_its_end(work))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await deployments.close()
    assert ended == ["safely"]


async def test_an_exchange_that_fails_and_is_not_taken_back_says_both(
    database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signer = Signer.open(tmp_path / "keys")
    unused = Engine(cast(Any, SimpleNamespace(api=None)), "unix:///none.sock", "0")
    made = small_image(tmp_path / "bucket", signer)
    image = signed_image(made.bucket, made.spec.tag, "acme", signer.verifier)
    held = (await database("servers.cradle.deployments")).db
    containers, store = Containers(unused, signer.verifier, "acme"), DeploymentStore(held)
    ports = range(9400, 9401)
    row = await store.reserve("acme", "local", ports)
    access = Access(Settings(home=tmp_path), signer.verifier, None)
    rollout = Rollout(store, access, containers, "acme", row, ports, ())

    def fails(error: Exception) -> Any:
        def call(*_: object) -> None:
            raise error

        return call

    monkeypatch.setattr(Containers, "load", lambda *_: "loaded")
    monkeypatch.setattr(Containers, "start_candidate", fails(Conflict("The instance did not pass its gate.")))
    monkeypatch.setattr(Containers, "settle", fails(PortInUse("Another program has this port.")))
    with pytest.raises(Unavailable, match=r"did not pass its gate\. What served before may not serve now"):
        await rollout.exchange(image, asyncio.Event())
