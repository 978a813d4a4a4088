"""A first deployment for which no port is free leaves nothing on its host: no row would tell an erasure of it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from servers.cradle.deployments.service import Deployments
from servers.cradle.images.containers import Containers
from servers.cradle.images.engine import Engine
from servers.cradle.images.signing import Signer
from shared.errors import Conflict
from shared.settings import Settings
from tests.image_rig import small_image

CUSTOMER = "ohneport"


@pytest.mark.engine
@pytest.mark.requirement("Z-04")
@pytest.mark.parametrize("may_move", [False, True])
async def test_no_volume_and_no_row_are_left_where_no_port_is_free(
    engine_host: str, database, tmp_path: Path, may_move: bool
) -> None:
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path / "bucket", signer, customer=CUSTOMER)
    with socket.socket() as other, Engine.connect(engine_host) as engine:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        settings = Settings(home=tmp_path, docker_host=engine_host, deployment_ports=(taken, taken))
        deployments = Deployments(settings, (await database("servers.cradle.deployments")).db, signer.verifier)
        containers = Containers(engine, signer.verifier, CUSTOMER)
        loaded = await asyncio.to_thread(containers.load, image.tar, image.built)
        row = await deployments._store.reserve(CUSTOMER, "local", [taken])
        try:
            with pytest.raises(Conflict):
                await deployments._cut_over(CUSTOMER, row, containers, loaded, image.built, may_move)
            assert await asyncio.to_thread(containers.remove_volume) is False
            assert await deployments._store.on(CUSTOMER, "local") is None
        finally:
            await asyncio.to_thread(containers.erase)
