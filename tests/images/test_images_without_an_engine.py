"""An image that is started without an engine by root who may mount nothing: in a container, or in a chroot."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image_rig import CustomerImage

STARTS = """
import asyncio, sys
from pathlib import Path
from servers.cradle.images.running import running_instance
from shared.client import StaticKey, Upstream
from shared.contracts.instance import TableAnswer
async def start():
    async with running_instance(Path(sys.argv[1]), Path(sys.argv[2]), docker_host="unix:///none.sock") as instance:
        async with Upstream(instance.url, StaticKey(instance.access_key)) as upstream:
            answer = await upstream.call("query_table", {"sql": "SELECT count(*) AS n FROM documents"}, TableAnswer)
        print(len(answer.rows), instance.how)
asyncio.run(start())
"""
MOUNTS_NOTHING = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="others start an image by its own loader")
def test_an_image_answers_for_root_who_may_mount_nothing(customer_image: CustomerImage, tmp_path: Path) -> None:
    done = subprocess.run(
        [*MOUNTS_NOTHING, sys.executable, "-c", STARTS, str(customer_image.tar), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "1 unpacked, chroot, user 65532\n", done.stderr[-2000:]
