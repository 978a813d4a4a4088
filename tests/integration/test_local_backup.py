"""A backup restores to an equal platform, on real databases and files; what is damaged or in the way is refused."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from servers.cradle.images.archive import Archive, release
from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.signing import Signer
from servers.cradle.installations.service import InstallationService
from servers.local.backup import _work_name, backup, restore
from servers.local.lock import RESTORING, HomeLock
from servers.local.platform import postgres, prepare
from servers.local.whole import the_whole
from servers.orchestrator.store import JobStore
from shared.errors import Conflict, InvalidInput
from shared.postgres.database import Database
from shared.postgres.dump import dump, fingerprints
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.provision import DATABASES
from shared.postgres.urls import read
from shared.settings import Settings
from tests.images.test_images_archive import file_system_refuses
from tests.integration.test_installations_versions import Embedder, parameters
from tests.orchestrator_rig import free_port, put_onboarded

COMES_BACK = {"logs", "cache", "models", "postgres", "up.lock"}
"""Of a home folder: what is not in a backup."""


def silent(_line: str) -> None:
    """Nobody reads it here."""


async def rows_of(superuser_url: str) -> dict[str, list[str]]:
    """Every row of every table of every database, as text."""
    found = {}
    for database in DATABASES:
        connection = await asyncpg.connect(f"{superuser_url.rpartition('/')[0]}/{database}")
        names = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for (name,) in names:
            rows = await connection.fetch(f"SELECT t::text FROM {name} t")  # noqa: S608  a table's own name
            found[f"{database}: {name}"] = sorted(row[0] for row in rows)
        await connection.close()
    return found


@pytest.fixture(scope="module")
async def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """A platform with a customer, stopped, and its backup."""
    folder = tmp_path_factory.mktemp("backup")
    settings = Settings(home=folder / "home", postgres_port=free_port(), marketplace_port=free_port())
    async with postgres(settings, silent) as superuser_url:
        await prepare(settings, superuser_url, silent)
        urls = read(settings.home)
        async with Database(urls["platform"].app) as jobs, Database(urls["installation_configs"].app) as versions:
            await put_onboarded(JobStore(jobs), "muster")
            await InstallationService(versions).save("muster", parameters(), Embedder())
        (folder / "rows.json").write_text(json.dumps(await rows_of(superuser_url)))
    Signer.open(settings.home / "keys")
    CustomerKey.open(settings.home / "keys" / "customers", "muster", create=True)
    bucket = settings.home / "objects" / "customer-muster"
    bucket.mkdir(mode=0o700, parents=True)
    (bucket / "sources.json").write_bytes(b"[]")
    for day, name in enumerate(("p1-one", "p1-again")):  # the archive's order is that of their times
        archived = settings.home / "archive" / "muster" / name
        archived.mkdir(parents=True)
        (archived / "image.age").write_bytes(b"sealed")
        os.utime(archived, (day * 86400, day * 86400))
    (settings.home / "certificates").mkdir()
    (settings.home / "certificates" / "weg.dsse.json").write_text("{}")
    (settings.home / "logs").mkdir(exist_ok=True)
    (settings.home / "logs" / "cradle.log").write_text("left out")
    made = await backup(settings, folder / "backups", silent)
    return settings, made


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(home=tmp_path / "home", postgres_port=free_port(), marketplace_port=free_port())
    yield settings
    if (settings.home / "postgres").is_dir():
        EmbeddedPostgres(settings.home / "postgres", 0).remove()


@pytest.fixture(scope="module", autouse=True)
def _no_cluster_is_left(saved: tuple[Settings, Path]) -> Iterator[None]:
    yield
    EmbeddedPostgres(saved[0].home / "postgres", 0).remove()


def files_of(home: Path) -> dict[str, tuple[bytes, int]]:
    found = [path for path in home.rglob("*") if path.is_file() and path.relative_to(home).parts[0] not in COMES_BACK]
    return {
        path.relative_to(home).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in found
        if path.name != "databases.json"  # the same passwords at another port
    }


def archived_in(home: Path) -> list[str]:
    return Archive(home / "archive", home / "keys" / "customers", Signer.open(home / "keys").verifier).names("muster")


@pytest.mark.requirement("O-08")
async def test_a_backup_restores_to_an_equal_platform(
    saved: tuple[Settings, Path], elsewhere: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, made = saved
    on_disk = list[set[str]]()
    monkeypatch.setattr(os, "sync", lambda: on_disk.append(set(files_of(elsewhere.home))))
    elsewhere = elsewhere.model_copy(update={"marketplace_port": settings.marketplace_port})
    assert made.stat().st_mode & 0o777 == 0o700
    assert await restore(elsewhere, made, silent) >= 10
    assert files_of(elsewhere.home) == files_of(settings.home)
    assert on_disk == [set(files_of(elsewhere.home)) | {RESTORING}]  # the mark goes after that
    assert archived_in(elsewhere.home) == archived_in(settings.home) == ["p1-one", "p1-again"]
    assert not (elsewhere.home / "logs").exists()
    async with postgres(elsewhere, silent) as superuser_url:
        before, after = json.loads((made.parent.parent / "rows.json").read_bytes()), await rows_of(superuser_url)
        noted = {f"user_registry: public.{name}" for name in ("catalogue_entries", "server_checks")}  # when it started
        assert {name for name in after if after[name] != before[name]} <= noted
        for name in noted:
            assert [row.split(",")[0] for row in after[name]] == [row.split(",")[0] for row in before[name]]
        assert after.keys() == before.keys()
        assert all(any(rows for name, rows in after.items() if name.startswith(each)) for each in DATABASES)
        urls = read(elsewhere.home)
        async with Database(urls["platform"].app) as database:
            customer = await JobStore(database).customer("muster")
            assert customer is not None
            assert customer.state == "active"
            async with database.session("other") as connection:  # row-level security came along
                assert await connection.fetchval("SELECT count(*) FROM customers") == 0


@pytest.mark.requirement("O-08")
async def test_a_row_that_is_another_shows_in_what_two_databases_are_compared_by(database, postgres_server) -> None:
    made = await database("servers.orchestrator")
    await put_onboarded(JobStore(made.db), "muster")
    name, server = made.urls.app.rpartition("/")[2], postgres_server.superuser_url
    before = await fingerprints(server, name)
    async with postgres_server.superuser(made.urls) as admin:
        await admin.execute(f"ALTER DATABASE {name} SET timezone = 'Asia/Kolkata'")
        assert await fingerprints(server, name) == before  # a server elsewhere writes the same times otherwise
        await admin.execute("UPDATE customers SET company_name = 'Andere GmbH'")
    after = await fingerprints(server, name)
    assert {table for table in after if after[table] != before[table]} == {"public.customers"}


def test_what_is_saved_does_not_travel_in_the_clear_where_the_address_forbids_it(
    postgres_server, tmp_path: Path
) -> None:
    with pytest.raises(Conflict, match="encrypted connection"):
        dump(f"{postgres_server.superuser_url}?sslmode=require", "platform", tmp_path / "platform.dump")


async def test_a_damaged_or_incomplete_backup_is_refused_and_leaves_nothing(
    saved: tuple[Settings, Path], elsewhere: Settings, tmp_path: Path
) -> None:
    harmed = tmp_path / "harmed"
    shutil.copytree(saved[1], harmed)
    dumped = harmed / "databases" / "platform.dump"
    data = bytearray(dumped.read_bytes())
    data[len(data) // 2] ^= 1
    dumped.write_bytes(data)
    with pytest.raises(Conflict, match="damaged: 1 files"):
        await restore(elsewhere, harmed, silent)
    dumped.unlink()
    with pytest.raises(Conflict, match="no whole backup"):
        await restore(elsewhere, harmed, silent)
    with pytest.raises(InvalidInput, match=f"The newest of those in it: {saved[1].name}"):
        await restore(elsewhere, saved[1].parent, silent)  # the folder that was given to `0711 backup`
    with pytest.raises(InvalidInput, match=r"no folder that `0711 backup` made\.$"):
        await restore(elsewhere, tmp_path / "mistyped", silent)
    assert not elsewhere.home.exists()


async def test_neither_a_running_platform_nor_one_that_is_in_the_way_is_touched(
    saved: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, made = saved
    before = sorted(os.listdir(settings.home))  # noqa: PTH208
    with pytest.raises(Conflict, match="empty one"):
        await restore(settings, made, silent)
    with HomeLock(settings.home), pytest.raises(Conflict, match="Stop the first"):
        await backup(settings, tmp_path, silent)
    with pytest.raises(InvalidInput, match="another target"):
        await backup(settings, settings.home / "backups", silent)
    assert sorted(os.listdir(settings.home)) == before  # noqa: PTH208
    assert os.listdir(tmp_path) == []  # noqa: PTH208


async def test_a_server_that_holds_a_platform_is_not_restored_onto_and_one_that_it_is_connected_to_not_saved(
    saved: tuple[Settings, Path], tmp_path: Path
) -> None:
    settings, made = saved
    async with postgres(settings, silent) as superuser_url:
        other = Settings(home=tmp_path / "other", postgres_url=superuser_url, marketplace_port=free_port())
        with pytest.raises(Conflict, match="with tables"):
            await restore(other, made, silent)
        database = Database(read(settings.home)["platform"].app)  # with the password that it had
        await database.open()
        assert (await JobStore(database).customer("muster")) is not None
        alone = settings.model_copy(update={"postgres_url": other.postgres_url})
        with pytest.raises(Conflict, match="Stop every server"):
            await backup(alone, tmp_path / "backups", silent)
        await database.close()
        async with the_whole(superuser_url):
            with pytest.raises(Conflict, match="a customer is being erased"):
                await backup(alone, tmp_path / "backups", silent)
        saving = asyncio.Event()

        async def started_meanwhile() -> None:
            await saving.wait()
            await database.open()
            assert await database.healthy()

        server = asyncio.create_task(started_meanwhile())
        with pytest.raises(Conflict, match="Stop every server"):
            await backup(alone, tmp_path / "backups", lambda _line: saving.set())
        await server
        await database.close()
    assert list((tmp_path / "backups").iterdir()) == []


async def test_a_restore_that_fails_leaves_what_was_there_and_nothing_else(
    saved: tuple[Settings, Path], elsewhere: Settings, tmp_path: Path
) -> None:
    harmed = tmp_path / "harmed"
    shutil.copytree(saved[1], harmed)
    manifest = json.loads((harmed / "MANIFEST.json").read_bytes())
    users = manifest["tables"]["user_registry"]["public.users"]
    manifest["tables"]["user_registry"]["public.users"] = f"{users.partition(' ')[0]} 1"  # as many rows, others
    (harmed / "MANIFEST.json").write_text(json.dumps(manifest))
    async with postgres(elsewhere, silent) as superuser_url:
        changes = {"postgres_url": superuser_url, "marketplace_port": free_port(), "archive_immutable": True}
        other = Settings(home=tmp_path / "other", **changes)
        (other.home / "models").mkdir(parents=True)
        (other.home / "models" / "weights").write_text("kept")
        with pytest.raises(Conflict, match="not equal"):
            await restore(other, harmed, silent)
        assert sorted(path.name for path in other.home.iterdir()) == ["models", "up.lock"]
        assert (other.home / "models" / "weights").read_text() == "kept"
        said: list[str] = []
        try:
            assert await restore(other, saved[1], said.append) >= 10  # onto the same server: no database was left there
            assert any("immutable again" in line for line in said) == file_system_refuses(tmp_path)
            if file_system_refuses(tmp_path):
                with pytest.raises(PermissionError):
                    (other.home / "archive" / "muster" / "p1-one" / "image.age").unlink()
        finally:
            release(other.home / "archive")


async def test_what_a_killed_backup_left_is_gone_with_the_next_one_which_is_on_the_disk_when_it_has_its_name(
    saved: tuple[Settings, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, made = saved
    synced = list[set[str]]()
    monkeypatch.setattr(os, "sync", lambda: synced.append({path.name for path in left.iterdir()}))
    left, others = made.parent / _work_name(settings.home), made.parent / ".building-0711-00000000"
    for folder in (left, others):
        (folder / "files" / "keys").mkdir(parents=True)
    again = await backup(settings, made.parent, silent)
    assert synced == [{"databases", "files", "MANIFEST.json"}]
    assert not left.exists()
    assert others.exists()  # another platform may be writing it
    shutil.rmtree(again)
    shutil.rmtree(others)
