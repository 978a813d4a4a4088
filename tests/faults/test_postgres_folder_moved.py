"""A home folder that was moved or copied: its Postgres serves its own databases, or says why it does not."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import Conflict, Unavailable
from shared.postgres.account import REACHABLE
from shared.postgres.launcher import EmbeddedPostgres
from tests.faults.test_postgres_launcher import FAST, ask, cluster

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's databases lie in the home itself")


@pytest.fixture(params=["open", "private"])
def parent(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder for homes: one that the account of Postgres can pass, and one that only root can."""
    with tempfile.TemporaryDirectory(prefix="0711-moved-") as made:
        Path(made).chmod(0o711 if request.param == "open" else 0o700)
        yield Path(made)
        for home in Path(made).iterdir():
            EmbeddedPostgres(home / "postgres", 0).remove()


def made(home: Path) -> EmbeddedPostgres:
    """A stopped server that holds a table."""
    server = EmbeddedPostgres(home / "postgres", 0, FAST)
    server.start()
    ask(server.superuser_url, "CREATE TABLE kept AS SELECT 711 AS number")
    server.stop()
    return server


def told(home: Path) -> object:
    server = EmbeddedPostgres(home / "postgres", 0, FAST)
    server.start()
    try:
        return ask(server.superuser_url, "SELECT number FROM kept")
    finally:
        server.stop()


def test_a_moved_home_finds_its_databases_also_where_an_older_release_linked_to_the_old_place(parent: Path) -> None:
    made(parent / "a")
    link = parent / "a" / "postgres" / "cluster"
    absolute = link.parent / link.readlink()
    link.unlink()
    link.symlink_to(absolute)
    (parent / "a").rename(parent / "b")
    assert told(parent / "b") == 711


def test_a_copied_home_never_opens_the_originals_databases(parent: Path) -> None:
    original = made(parent / "a")
    elsewhere = cluster(parent / "a" / "postgres").is_relative_to(REACHABLE)
    shutil.copytree(parent / "a", parent / "b", symlinks=True)
    for source in (parent / "a").rglob("*"):
        state = source.lstat()
        os.chown(parent / "b" / source.relative_to(parent / "a"), state.st_uid, state.st_gid, follow_symlinks=False)
    original.start()
    try:
        copy = EmbeddedPostgres(parent / "b" / "postgres", 0, FAST)
        if elsewhere:
            with pytest.raises(Conflict, match=r"is a copy of .*/a, .*0711 backup"):
                copy.start()
            copy.remove()
        else:
            copy.start()
            ask(copy.superuser_url, "DROP TABLE kept")
            copy.stop()
        assert ask(original.superuser_url, "SELECT number FROM kept") == 711
    finally:
        original.stop()
    assert told(parent / "a") == 711


def test_a_link_that_leads_nowhere_on_this_machine_is_said(parent: Path) -> None:
    folder = parent / "a" / "postgres"
    folder.mkdir(parents=True)
    (folder / "cluster").symlink_to("/var/lib/0711/cluster-of-another-machine/files/cluster")
    with pytest.raises(Unavailable, match="not on this machine"):
        EmbeddedPostgres(folder, 0, FAST).start()
