"""A restore of the whole platform that kill -9 ends: nothing starts on half of it, and the same command ends well."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers.cradle.images.signing import Signer
from servers.local.backup import backup, restore
from servers.local.lock import RESTORING
from servers.local.platform import postgres, prepare, running
from shared.errors import Conflict
from shared.postgres.launcher import EmbeddedPostgres
from shared.settings import Settings
from tests.integration.test_local_backup import files_of, rows_of, silent
from tests.integration.test_local_erasure import fill
from tests.orchestrator_rig import free_port

KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from servers.local import backup
from shared.settings import Settings

home, port, saved, after = sys.argv[1:]
step = getattr(backup, after)

def passing(*arguments):
    step(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(backup, after, passing)
asyncio.run(backup.restore(Settings(home=home, postgres_port=port), Path(saved), print))
"""


@pytest.fixture
def homes(tmp_path: Path) -> Iterator[tuple[Settings, Settings]]:
    """A platform's settings, and those of a home that is to become its equal."""
    made = [Settings(home=tmp_path / name, postgres_port=free_port(), marketplace_port=free_port()) for name in "ab"]
    yield made[0], made[1]
    for each in made:
        if (each.home / "postgres").is_dir():
            EmbeddedPostgres(each.home / "postgres", 0).remove()


@pytest.mark.requirement("O-08")
async def test_nothing_starts_on_what_a_killed_restore_left_and_the_same_command_ends_well(
    homes: tuple[Settings, Settings], tmp_path: Path
) -> None:
    site, elsewhere = homes
    async with postgres(site, silent) as superuser_url:
        await prepare(site, superuser_url, silent)
        await fill(site, "muster")
        before = await rows_of(superuser_url)
    Signer.open(site.home / "keys")
    saved = await backup(site, tmp_path / "backups", silent)
    (elsewhere.home / "models").mkdir(parents=True)
    (elsewhere.home / "models" / "weights").write_text("kept")
    for step in ("copy_back", "restore_database"):
        given = [elsewhere.home, elsewhere.postgres_port, saved, step]
        killed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", KILLED, *map(str, given)], capture_output=True, check=False
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        with pytest.raises(Conflict, match="half a platform"):
            async with running(elsewhere, silent):
                pass
        with pytest.raises(Conflict, match="half a platform"):
            await backup(elsewhere, tmp_path / "backups", silent)
    assert await restore(elsewhere, saved, silent) >= 10
    assert files_of(elsewhere.home) == files_of(site.home)
    assert not (elsewhere.home / RESTORING).exists()
    assert (elsewhere.home / "models" / "weights").read_text() == "kept"
    async with postgres(elsewhere, silent) as superuser_url:
        assert (await rows_of(superuser_url)).keys() == before.keys()
    with pytest.raises(Conflict, match="empty one"):
        await restore(elsewhere, saved, silent)
