"""A first deployment for which no port is free leaves nothing on its host: no row would tell an erasure of it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from servers.cradle.deployments.access import Access
from servers.cradle.deployments.rollout import Rollout
from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.images.containers import Containers
from servers.cradle.images.engine import Engine
from servers.cradle.images.signing import Signer
from shared.errors import Conflict
from shared.settings import Settings
from tests.image_rig import small_image

CUSTOMER = "ohneport"


@pytest.mark.engine
@pytest.mark.requirement("Z-04")
@pytest.mark.parametrize("further", [0, 1])
async def test_no_volume_and_no_row_are_left_where_no_port_is_free(
    engine_host: str, database, tmp_path: Path, further: int
) -> None:
    """`further` ports than the one that another program has are another customer's."""
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path / "bucket", signer, customer=CUSTOMER)
    with socket.socket() as other, Engine.connect(engine_host) as engine:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        store = DeploymentStore((await database("servers.cradle.deployments")).db)
        containers = Containers(engine, signer.verifier, CUSTOMER)
        loaded = await asyncio.to_thread(containers.load, image.tar, image.built)
        row = await store.reserve(CUSTOMER, "local", [taken])
        for port in range(taken + 1, taken + 1 + further):
            await store.reserve("nachbar", "local", [port])
        access = Access(Settings(home=tmp_path, docker_host=engine_host), signer.verifier, None)
        ports = range(taken, taken + 1 + further)
        rollout = Rollout(store, access, containers, CUSTOMER, row, ports, ())
        try:
            with pytest.raises(Conflict):
                await rollout._cut_over(loaded, image.built)
            assert await asyncio.to_thread(containers.remove_volume) is False
            assert await store.on(CUSTOMER, "local") is None
        finally:
            await asyncio.to_thread(containers.erase)
