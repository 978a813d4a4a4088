"""An erased customer: no row in any database, no object, version or delete marker, no key, and a signed certificate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from servers.cradle import migration
from servers.cradle.deployments.access_keys import access_key, key_file
from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.images.archive import Archive
from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.erasure import erase
from servers.cradle.images.signing import Signer
from servers.cradle.installations.service import InstallationService
from servers.cradle.onboarding import record_sources
from servers.cradle.services import Services
from servers.local.erasure import erase_customer
from servers.local.platform import MIGRATIONS, postgres, prepare
from servers.local.whole import the_whole
from servers.marketplace.catalogue.store import CatalogueStore, Entry
from servers.marketplace.connections.store import ConnectionStore
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.users.store import Customer, User, UserStore
from servers.orchestrator.store import JobStore
from servers.orchestrator.upstreams import Upstreams
from servers.orchestrator.workflows.engine import Engine
from servers.orchestrator.workflows.runner import Runner
from shared.audit import AuditLog
from shared.auth import acting_as
from shared.errors import Conflict, InvalidInput, NotFound
from shared.objects import CustomerStore, s3_client
from shared.postgres.database import Database
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.urls import read
from shared.settings import Settings
from tests import rows_rig
from tests.conftest import s3_settings
from tests.integration.test_installations_versions import Embedder, parameters
from tests.orchestrator_rig import ADMIN, free_port, put_job, put_onboarded

GOING, STAYING = "abschied", "bleibt"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Settings]:
    """A platform's databases with two customers of everything, and their buckets."""
    settings = Settings(home=tmp_path / "home", postgres_port=free_port(), marketplace_port=free_port())
    try:
        async with postgres(settings, lambda _: None) as superuser_url:
            await prepare(settings, superuser_url, lambda _: None)
            for customer in (GOING, STAYING):
                await fill(settings, customer)
            yield settings
    finally:
        EmbeddedPostgres(settings.home / "postgres", 0).remove()


async def fill(settings: Settings, customer: str) -> None:
    databases = {name: Database(urls.app) for name, urls in read(settings.home).items()}
    for database in databases.values():
        await database.open()
    await put_onboarded(JobStore(databases["platform"]), customer)
    await InstallationService(databases["installation_configs"]).save(customer, parameters(), Embedder())
    await DeploymentStore(databases["installation_configs"]).reserve(customer, "gone", [9400, 9401])
    await DeploymentStore(databases["installation_configs"]).release(customer, "gone")
    users = UserStore(databases["user_registry"])
    await users.add_customer(Customer(customer, "Muster GmbH", "a@example.com", None), "usr_" + "a" * 26)
    user = User(
        "usr_" + ("b" if customer == GOING else "c") * 26, f"{customer}@example.com", "customer_user", customer, True
    )
    await users.add_user(user, "hash", "usr_" + "a" * 26)
    for database in databases.values():
        await database.close()
    store = await CustomerStore.open(settings, customer, create=True)
    await store.put("sources.json", b"[]")
    CustomerKey.open(settings.home / "keys" / "customers", customer, create=True)


async def rows_naming(settings: Settings, *words: str) -> dict[str, int]:
    """Table → rows that hold one of the words anywhere, over all databases, as the superuser sees them."""
    found = {}
    superuser_url = EmbeddedPostgres(settings.home / "postgres", settings.postgres_port).superuser_url
    for database in MIGRATIONS:
        connection = await asyncpg.connect(superuser_url.rsplit("/", 1)[0] + f"/{database}")
        places = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS place FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for (place,) in places:
            number = await connection.fetchval(f"SELECT count(*) FROM {place} t WHERE t::text ~ $1", "|".join(words))  # noqa: S608
            if number:
                found[f"{database} {place}"] = number
        await connection.close()
    return found


async def fill_every_table(settings: Settings) -> tuple[set[str], dict[str, str]]:
    """Rows of both customers in all tables that hold customers' rows, and in the workflow engine's; the tables' names,
    and the job of each customer."""
    places = {"platform dbos.workflow_status", "platform dbos.workflow_input"}
    superuser_url = EmbeddedPostgres(settings.home / "postgres", settings.postgres_port).superuser_url
    for database in MIGRATIONS:
        connection = await asyncpg.connect(superuser_url.rsplit("/", 1)[0] + f"/{database}")
        places |= {f"{database} public.{table}" for table in await rows_rig.fill(connection, GOING, STAYING)}
        if database == "installation_configs":  # whose host would have to be there
            await connection.execute("DELETE FROM deployments")
        await connection.close()
    places.remove("installation_configs public.deployments")
    urls, upstreams = read(settings.home)["platform"], Upstreams.of(settings)
    database = Database(urls.app)
    await database.open()
    store = JobStore(database)
    engine = Engine(urls.dbos or "", Runner(store, upstreams, 60))
    await engine.start()
    jobs = {}
    for customer in (GOING, STAYING):
        async with store.session(customer) as session:
            jobs[customer] = (await session.jobs(customer, 1))[0].job_id
        for round_ in (0, 1):
            await engine.enqueue(jobs[customer], customer, round_)
    await engine.close()
    await upstreams.close()
    await database.close()
    return places, jobs


async def connect_to_its_server(settings: Settings) -> None:
    """A connection of the operator's, who reviewed a server of the customer's own: the row is nobody's."""
    name, url = f"com.{GOING}/orders", f"https://{GOING}.example.com/mcp"
    entry = Entry(name, "Orders", "Orders.", "1", "external", GOING, url, "submitted", ())
    seal = SessionSeal.of_folder(settings.home / "keys")
    async with Database(read(settings.home)["user_registry"].app) as database:
        assert await CatalogueStore(database).put(entry, "usr_" + "a" * 26)
        await ConnectionStore(database, seal).save(None, name, url, "both", ("authorization", "Bearer x"), "operator")


def files_named(settings: Settings, customer: str) -> list[Path]:
    """Files and folders of the platform, the databases' apart, that are called like a customer."""
    postgres = settings.home / "postgres"
    return [place for place in settings.home.rglob(f"*{customer}*") if not place.is_relative_to(postgres)]


@pytest.mark.requirement("Z-04")
async def test_an_erased_customer_leaves_zero_rows_and_objects_and_a_certificate(home: Settings) -> None:
    await connect_to_its_server(home)
    places, jobs = await fill_every_table(home)
    going, staying = [(customer, jobs[customer]) for customer in (GOING, STAYING)]
    before, other = await rows_naming(home, *going), await rows_naming(home, *staying)
    assert before.keys() >= places  # the search finds what is there
    assert before["user_registry public.connections"] == 2
    access_key(home.home, GOING)
    archived = home.home / "archive" / GOING / "p1-a"
    archived.mkdir(parents=True)
    (archived / "image.tar.enc").write_bytes(b"sealed")
    assert len(files_named(home, GOING)) >= 4
    with pytest.raises(InvalidInput, match="confirm"):
        await erase_customer(home, GOING, STAYING, lambda _: None)
    made = await erase_customer(home, GOING, GOING, lambda _: None)
    kept = {place: before[place] for place in before if place.endswith(" public.audit")}
    assert await rows_naming(home, *going) == kept | {
        "user_registry public.audit": before["user_registry public.audit"] + 1
    }
    assert await rows_naming(home, *staying) == other
    assert made.rows >= sum(before.values()) - sum(kept.values())
    assert made.objects == 1
    left = [place for place in files_named(home, GOING) if place.parent.name != "certificates"]
    assert [place.suffix for place in left] == [".erased"], "what says that the key is gone, and is not made again"
    assert made.archive_key is not None
    assert left[0].read_text().strip() == made.archive_key
    assert (home.home / "objects" / f"customer-{STAYING}" / "sources.json").exists()
    signed = await asyncio.to_thread(Path(made.location).read_bytes)
    predicate = Signer.open(home.home / "keys").verifier.statement(signed)["predicate"]
    assert (predicate["customer_id"], predicate["rows"], predicate["objects"]) == (GOING, made.rows, 1)
    assert (await erase_customer(home, GOING, GOING, lambda _: None)).rows == 0


@pytest.mark.requirement("Z-04")
async def test_no_certificate_is_signed_for_an_id_that_nobody_has(home: Settings) -> None:
    async with Database(read(home.home)["platform"].app) as database:
        await AuditLog(database).append("usr_a", "stop_deployment.called", "", "abschiet")  # mistyped there before
    with pytest.raises(NotFound, match="no customer abschiet here: nothing was erased"):
        await erase_customer(home, "abschiet", "abschiet", lambda _: None)
    assert not (home.home / "certificates").exists()
    assert not list((home.home / "keys").rglob("abschiet*"))  # a customer of that id can still come
    assert await rows_naming(home, "abschiet") == {"platform public.audit": 1}


async def test_an_erased_customer_that_comes_back_is_told_before_any_work_and_comes_once_the_operator_lets_it(
    home: Settings, tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "sheet.txt").write_text("Klemme")
    unused: Any = None
    cradle = Services(home.model_copy(update={"source_roots": [tmp_path]}), *[unused] * 5)
    new = (tmp_path / "new").as_uri()
    await erase_customer(home, GOING, GOING, lambda _: None)
    with acting_as(ADMIN):
        for begun in (record_sources(cradle, GOING, [new]), migration.prepare(cradle, GOING, new)):
            with pytest.raises(Conflict, match=f"was erased here.* removes {GOING}.erased from HOME/keys/customers"):
                await begun
        assert not (home.home / "objects" / f"customer-{GOING}").exists()
        (home.home / "keys" / "customers" / f"{GOING}.erased").unlink()
        await record_sources(cradle, GOING, [new])
    assert CustomerKey.open(home.home / "keys" / "customers", GOING, create=True).fingerprint


async def test_a_customer_with_an_open_job_is_not_erased(home: Settings) -> None:
    async with Database(read(home.home)["platform"].app) as database:
        await put_job(JobStore(database), GOING, "build")
    access_key(home.home, GOING)
    with pytest.raises(Conflict, match="cancel_job"):
        await erase_customer(home, GOING, GOING, lambda _: None)
    assert (home.home / "objects" / f"customer-{GOING}" / "sources.json").exists()
    assert key_file(home.home, GOING).exists()  # its instances go on
    assert len(await rows_naming(home, GOING)) >= 6


async def test_no_customer_goes_while_a_backup_is_made_which_would_keep_half_of_it(home: Settings) -> None:
    superuser_url = EmbeddedPostgres(home.home / "postgres", home.postgres_port).superuser_url
    before = await rows_naming(home, GOING)
    async with the_whole(superuser_url):
        with pytest.raises(Conflict, match="backup is being made"):
            await erase_customer(home, GOING, GOING, lambda _: None)
    assert await rows_naming(home, GOING) == before
    told = list[str]()
    await erase_customer(home, GOING, GOING, told.append)
    assert told[-1].startswith("backups        those made before now hold the customer still")


@pytest.mark.requirement("Z-04")
async def test_on_s3_no_version_and_no_delete_marker_is_left(s3_url: str, tmp_path: Path) -> None:
    from minio.commonconfig import ENABLED
    from minio.versioningconfig import VersioningConfig

    settings, signer = s3_settings(tmp_path, s3_url), Signer.open(tmp_path / "keys")
    store = await CustomerStore.open(settings, GOING, create=True)
    client = s3_client(settings)
    client.set_bucket_versioning(store.bucket, VersioningConfig(ENABLED))
    for body in (b"one", b"two"):
        await store.put("dataset/part", body)
    await store.delete("dataset/part")
    entries = list(client.list_objects(store.bucket, recursive=True, include_version=True))
    assert sorted(entry.is_delete_marker for entry in entries) == [False, False, True]
    archive = Archive(tmp_path / "archive", tmp_path / "keys" / "customers", signer.verifier)
    made = await erase(store, GOING, archive, signer, tmp_path / "certificates")
    assert not client.bucket_exists(store.bucket)
    assert made.objects == 0  # none was visible any more; its versions are gone all the same
