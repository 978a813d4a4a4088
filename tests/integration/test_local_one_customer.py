"""One customer comes back from a backup on real databases and files, while the other one stays as it is."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest

from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.images.signing import KEY_NAME, Signer
from servers.local.backup import backup
from servers.local.erasure import erase_customer
from servers.local.one_customer import restore_customer, undo_killed
from servers.local.platform import MIGRATIONS, postgres, prepare
from servers.local.whole import the_whole
from servers.orchestrator.store import JobStore
from shared.errors import Conflict, NotFound
from shared.postgres.database import Database
from shared.postgres.erasure import erase_rows
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.urls import read
from shared.settings import Settings
from tests.integration.test_local_backup import rows_of, silent
from tests.integration.test_local_erasure import GOING, STAYING, connect_to_its_server, fill
from tests.orchestrator_rig import free_port, put_job

FURTHER = """
INSERT INTO installs (customer_id, server_name, installed_by) VALUES ('{customer}', 'io.0711/cradle', 'operator');
INSERT INTO ratings VALUES ('{customer}', 'io.0711/cradle', 4);
INSERT INTO usage (customer_id, day, server_name, tool, calls)
VALUES ('{customer}', '2026-11-01', 'io.0711/cradle', 'embed', 7);
INSERT INTO argument_rules (rule_id, customer_id, server_name, tool, condition, set_by)
VALUES ('rul_' || repeat('{letter}', 26), '{customer}', 'io.0711/cradle', 'embed', 'true', 'operator');
INSERT INTO api_keys (key_id, user_id, customer_id, secret_sha256)
VALUES ('key_{customer}', 'usr_' || repeat('{letter}', 26), '{customer}', sha256('{letter}'));
"""
FAILS_AT_THE_END = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no' USING ERRCODE = 'restrict_violation'; END $$;
CREATE CONSTRAINT TRIGGER fails AFTER INSERT ON installations DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION fail();
"""
"""An insertion succeeds, and its transaction does not."""

KILLED = """
import asyncio, os, signal, sys
from contextlib import asynccontextmanager
from pathlib import Path
from servers.local import one_customer
from shared.settings import Settings

home, port, saved, customer, replace, left = *sys.argv[1:5], sys.argv[5] == "True", int(sys.argv[6])

def passing(work):
    def passed(*arguments):
        global left
        found = work(*arguments)
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return found
    return passed

@asynccontextmanager
async def committed(*arguments):
    async with returned(*arguments) as rows:
        yield rows
    passing(lambda: None)()

one_customer._add_keys, one_customer._add_images = passing(one_customer._add_keys), passing(one_customer._add_images)
Path.rename = passing(Path.rename)
returned, one_customer.returned = one_customer.returned, committed
settings = Settings(home=home, postgres_port=port)
asyncio.run(one_customer.restore_customer(settings, Path(saved), customer, print, replace=replace))
"""
"""A return that is killed once it has passed so many of its steps: each that changes a file, and each commit."""
LOST = {1: "keys", 4: "bucket", 6: "user_registry", 7: "platform"}  # between: an image, images, installation_configs
HERE = {3: "old bucket set aside", 4: "bucket", 6: "user_registry"}  # before: keys, images

BECOMES = {
    "platform: public.jobs": ("queued", "cancelled"),
    "installation_configs: public.deployments": ("serving", "stopped"),
}


@dataclass
class Site:
    """A platform with two customers of everything, of which there is a backup; its databases run."""

    settings: Settings
    superuser_url: str
    saved: Path

    @property
    def home(self) -> Path:
        return self.settings.home

    async def execute(self, database: str, *statements: str) -> None:
        """As the superuser, without triggers and foreign keys: a disaster."""
        connection = await asyncpg.connect(f"{self.superuser_url.rpartition('/')[0]}/{database}")
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    async def rows(self) -> dict[str, list[str]]:
        """Rows of customers in all databases; not the audit log, which tells of what is done here."""
        found = await rows_of(self.superuser_url)
        found = {name: rows for name, rows in found.items() if not name.endswith(".audit")}
        selections = "installation_configs: public.selections"  # their numbers are the database's own
        return {**found, selections: sorted(row.partition(",")[2] for row in found[selections])}

    async def audited(self) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(f"{self.superuser_url.rpartition('/')[0]}/user_registry")
        found = await connection.fetch("SELECT * FROM audit ORDER BY number")
        await connection.close()
        return found

    async def lose(self, customer: str) -> None:
        """Everything of a customer, but what the log and a certificate would say of an erasure."""
        for database in MIGRATIONS:
            await erase_rows(self.superuser_url, database, customer)
        shutil.rmtree(self.home / "objects" / f"customer-{customer}")
        shutil.rmtree(self.home / "archive" / customer)
        (self.home / "keys" / "customers" / f"{customer}.age").unlink()

    def files(self) -> dict[str, bytes]:
        """Name → content of every file of customers and of the customers' keys."""
        found = [path for name in ("objects", "archive", "keys") for path in (self.home / name).rglob("*")]
        return {str(path): path.read_bytes() for path in found if path.is_file()}

    async def everything(self) -> tuple[dict[str, list[str]], dict[str, bytes], list[str]]:
        """Rows, files, and the names of databases that do not belong here."""
        connection = await asyncpg.connect(self.superuser_url)
        left = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'restoring%'")
        await connection.close()
        return await self.rows(), self.files(), [name for (name,) in left]


async def work_and_serve(settings: Settings, customer: str) -> None:
    """An open job of the customer, and an instance that serves."""
    urls = read(settings.home)
    async with Database(urls["platform"].app) as jobs:
        await put_job(JobStore(jobs), customer, "build")
    async with Database(urls["installation_configs"].app) as deployments:
        await DeploymentStore(deployments).reserve(customer, "eins", [9500, 9501])
        async with deployments.session(customer) as connection:
            await connection.execute("UPDATE deployments SET state = 'serving'")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = Settings(home=tmp_path / "home", postgres_port=free_port(), marketplace_port=free_port())
    try:
        async with postgres(settings, silent) as superuser_url:
            await prepare(settings, superuser_url, silent)
            for customer in (GOING, STAYING):
                await fill(settings, customer)
                archived = settings.home / "archive" / customer / "p1-a-0123456789ab"
                archived.mkdir(parents=True)
                (archived / "image.tar.age").write_bytes(b"sealed for " + customer.encode())
            await connect_to_its_server(settings)
            connection = await asyncpg.connect(f"{superuser_url.rpartition('/')[0]}/user_registry")
            for customer, letter in ((GOING, "b"), (STAYING, "c")):
                await connection.execute(FURTHER.format(customer=customer, letter=letter))
            await connection.close()
            await work_and_serve(settings, STAYING)
            Signer.open(settings.home / "keys")
        saved = await backup(settings, tmp_path / "backups", silent)
        async with postgres(settings, silent) as superuser_url:
            yield Site(settings, superuser_url, saved)
    finally:
        EmbeddedPostgres(settings.home / "postgres", 0).remove()


@pytest.mark.requirement("O-08")
async def test_a_customer_that_was_lost_comes_back_as_it_was_and_nobody_else_is_touched(site: Site) -> None:
    before, archived = await site.everything(), site.home / "archive" / GOING / "p1-a-0123456789ab"
    made = archived.stat().st_mtime_ns
    assert sum(GOING in row for rows in before[0].values() for row in rows) >= 12
    await site.lose(GOING)
    assert not [row for rows in (await site.rows()).values() for row in rows if GOING in row]
    done = await restore_customer(site.settings, site.saved, GOING, silent)
    assert (done.left_out, done.here) == ({}, 0)
    assert await site.everything() == before
    assert archived.stat().st_mtime_ns == made
    newest = (await site.audited())[-1]
    assert (newest["verb"], newest["customer_id"]) == ("customer.restored", GOING)


async def test_a_customer_that_is_here_is_replaced_only_when_asked_and_nothing_that_was_revoked_since_is_undone(
    site: Site,
) -> None:
    before = await site.everything()
    bucket, since = site.home / "objects" / f"customer-{GOING}", site.home / "archive" / GOING / "p1-b-0123456789ab"
    (bucket / "sources.json").write_bytes(b"ruined")
    (bucket / "more").write_bytes(b"done since")
    since.mkdir()
    (since / "image.tar.age").write_bytes(b"archived since")
    await site.execute(
        "user_registry",
        "DELETE FROM installs WHERE customer_id = 'abschied'",
        "UPDATE api_keys SET revoked_at = '2026-11-28' WHERE customer_id = 'abschied'",
        "UPDATE usage SET calls = 9 WHERE customer_id = 'abschied'",
    )
    ruined = await site.everything()
    with pytest.raises(Conflict, match=f"{GOING} is here. With --replace"):
        await restore_customer(site.settings, site.saved, GOING, silent)
    await work_and_serve(site.settings, GOING)
    with pytest.raises(Conflict, match="cancel_job"):
        await restore_customer(site.settings, site.saved, GOING, silent, replace=True)
    await site.execute("platform", "DELETE FROM jobs WHERE customer_id = 'abschied' AND state = 'queued'")
    await site.execute("installation_configs", "DELETE FROM deployments WHERE customer_id = 'abschied'")
    assert await site.everything() == ruined
    done = await restore_customer(site.settings, site.saved, GOING, silent, replace=True)
    assert (done.added, done.left_out) == (1, {})
    rows, files, left = await site.everything()
    installs, kept = "user_registry: public.installs", ruined[0]
    assert rows == {**kept, installs: before[0][installs]}
    assert files == before[1] | {str(since / "image.tar.age"): b"archived since"}
    assert left == []


async def test_who_was_erased_does_not_come_back_from_a_backup_of_before(site: Site) -> None:
    await erase_customer(site.settings, GOING, GOING, silent)
    gone = await site.everything()
    for removed in (None, site.home / "keys" / "customers" / f"{GOING}.erased"):
        if removed is not None:  # the operator lets the name be taken again: the certificate still holds
            removed.unlink()
            gone = await site.everything()
        for replace in (False, True):
            with pytest.raises(Conflict, match=f"{GOING} was erased on .*, with a certificate"):
                await restore_customer(site.settings, site.saved, GOING, silent, replace=replace)
    assert await site.everything() == gone
    with pytest.raises(NotFound, match="no customer nobody"):
        await restore_customer(site.settings, site.saved, "nobody", silent)


async def test_what_has_become_anothers_since_is_left_out_or_refused_and_a_failure_undoes_all(site: Site) -> None:
    await site.lose(GOING)
    email = "UPDATE users SET email = 'abschied@example.com' WHERE customer_id = 'bleibt'"
    await site.execute("user_registry", email)
    lost = await site.everything()
    await site.execute("installation_configs", FAILS_AT_THE_END)
    with pytest.raises(Conflict, match="kept as it is"):
        await restore_customer(site.settings, site.saved, GOING, silent)
    await site.execute("installation_configs", "DROP FUNCTION fail CASCADE")
    assert await site.everything() == lost
    told = list[str]()
    done = await restore_customer(site.settings, site.saved, GOING, told.append)
    assert done.left_out == {"users": 1, "api_keys": 1}
    assert any(line.startswith("left out       1 of users") for line in told)
    await site.lose(GOING)
    await site.execute(
        "user_registry",
        "INSERT INTO catalogue_entries (server_name, title, description, version, kind, customer_id, approval,"
        " registered_by) VALUES ('com.abschied/orders', 'x', 'x', '1', 'external', 'bleibt', 'submitted', 'x')",
    )
    lost = await site.everything()
    with pytest.raises(Conflict, match="another's since"):
        await restore_customer(site.settings, site.saved, GOING, silent)
    assert await site.everything() == lost


async def test_a_job_and_an_instance_of_the_backups_time_come_back_cancelled_and_stopped(site: Site) -> None:
    before = await site.rows()
    await site.execute("platform", "DELETE FROM jobs WHERE state = 'queued'")
    await site.execute("installation_configs", "DELETE FROM deployments")
    assert (await restore_customer(site.settings, site.saved, STAYING, silent, replace=True)).added == 2
    after = await site.rows()
    assert {name for name in after if after[name] != before[name]} == set(BECOMES)
    for name, (was, becomes) in BECOMES.items():
        assert after[name] == sorted(row.replace(f",{was},", f",{becomes},") for row in before[name])


async def test_only_a_whole_backup_of_this_platform_is_taken_and_what_a_killed_return_left_is_put_right(
    site: Site,
) -> None:
    before, objects = await site.everything(), site.home / "objects"
    (site.saved / "files" / "objects" / f"customer-{STAYING}" / "sources.json").write_bytes(b"damaged")
    with pytest.raises(Conflict, match="damaged: 1 files"):
        await restore_customer(site.settings, site.saved, STAYING, silent, replace=True)
    (objects / ".restoring" / "old").mkdir(parents=True)
    (objects / f"customer-{GOING}").rename(objects / ".restoring" / "old" / f"customer-{GOING}")
    await site.execute("platform", 'CREATE DATABASE "restoring_platform"')
    await restore_customer(site.settings, site.saved, GOING, silent, replace=True)  # the damage is another's
    assert await site.everything() == before
    assert not (objects / ".restoring").exists()
    (site.home / "keys" / KEY_NAME).write_bytes(b"another platform's")
    with pytest.raises(Conflict, match=f"another {KEY_NAME}"):
        await restore_customer(site.settings, site.saved, GOING, silent, replace=True)


async def test_a_bucket_that_a_killed_return_had_set_aside_is_put_back_before_the_servers_start(site: Site) -> None:
    before, objects, told = await site.everything(), site.home / "objects", list[str]()
    bucket, staged = f"customer-{GOING}", objects / ".restoring"
    for name in ("old", "new"):
        (staged / name).mkdir(parents=True)
    (objects / bucket).rename(staged / "old" / bucket)
    (staged / "new" / bucket).mkdir()
    async with the_whole(site.superuser_url):
        await undo_killed(site.settings, site.superuser_url, told.append)
    assert (staged / "old" / bucket).exists()  # whoever holds the platform goes on with it
    (objects / bucket).mkdir()  # a job looked for it meanwhile
    await undo_killed(site.settings, site.superuser_url, told.append)
    assert await site.everything() == before
    assert len(told) == 1
    (staged / "old" / bucket).mkdir(parents=True)  # killed after the exchange
    await undo_killed(site.settings, site.superuser_url, told.append)
    assert await site.everything() == before
    assert not list(staged.glob("*/*"))


def killed(site: Site, steps: int, *, replace: bool) -> None:
    """A return of the customer that kill -9 ends after so many steps."""
    settings = site.settings
    given = [settings.home, settings.postgres_port, site.saved, GOING, replace, steps]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, given)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.slow
@pytest.mark.requirement("O-08")
async def test_a_return_that_is_killed_at_any_step_ends_well_when_the_same_command_is_repeated(site: Site) -> None:
    before = await site.everything()
    for steps, last in LOST.items():
        await site.lose(GOING)
        killed(site, steps, replace=False)
        with pytest.raises(Conflict, match=f"{GOING} is here") if last == "platform" else nullcontext():
            await restore_customer(site.settings, site.saved, GOING, silent)
        assert await site.everything() == before
    assert not (site.home / "objects" / ".restoring").exists()


@pytest.mark.slow
@pytest.mark.requirement("O-08")
async def test_a_replacement_that_is_killed_at_any_step_ends_well_when_the_same_command_is_repeated(site: Site) -> None:
    before = await site.everything()
    for steps in HERE:
        (site.home / "objects" / f"customer-{GOING}" / "sources.json").write_bytes(b"spoilt")
        killed(site, steps, replace=True)
        await restore_customer(site.settings, site.saved, GOING, silent, replace=True)
        assert await site.everything() == before
