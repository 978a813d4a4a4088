"""One customer comes back from a backup where buckets lie on an S3 server, which keeps them itself."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servers.cradle.images.signing import Signer
from servers.local.backup import backup
from servers.local.one_customer import restore_customer
from servers.local.platform import MIGRATIONS, postgres, prepare
from shared.errors import Conflict, NotFound
from shared.objects import CustomerStore
from shared.postgres.erasure import erase_rows
from shared.postgres.launcher import EmbeddedPostgres
from tests.conftest import s3_settings
from tests.integration.test_local_backup import silent
from tests.integration.test_local_erasure import fill
from tests.integration.test_local_one_customer import Site
from tests.orchestrator_rig import free_port

CUSTOMER = "heimkehr"


class SiteOnS3(Site):
    """A platform with one customer whose bucket is on S3."""

    async def lose(self, customer: str) -> None:
        """All that the platform has of a customer; the bucket is the server's."""
        for database in MIGRATIONS:
            await erase_rows(self.superuser_url, database, customer)
        shutil.rmtree(self.home / "archive" / customer)
        (self.home / "keys" / "customers" / f"{customer}.age").unlink()

    async def objects(self) -> dict[str, bytes]:
        store = await CustomerStore.open(self.settings, CUSTOMER)
        return {key: await store.get(key) for key, _ in await store.list()}


@pytest.fixture
async def site(tmp_path: Path, s3_url: str) -> AsyncIterator[SiteOnS3]:
    ports = {"postgres_port": free_port(), "marketplace_port": free_port()}
    settings = s3_settings(tmp_path / "home", s3_url).model_copy(update=ports)
    try:
        async with postgres(settings, silent) as superuser_url:
            await prepare(settings, superuser_url, silent)
            await fill(settings, CUSTOMER)
        archived = settings.home / "archive" / CUSTOMER / "p1-a-0123456789ab"
        archived.mkdir(parents=True)
        (archived / "image.tar.age").write_bytes(b"sealed")
        Signer.open(settings.home / "keys")
        saved = await backup(settings, tmp_path / "backups", silent)
        async with postgres(settings, silent) as superuser_url:
            yield SiteOnS3(settings, superuser_url, saved)
    finally:
        await (await CustomerStore.open(settings, CUSTOMER, create=True)).remove()
        EmbeddedPostgres(settings.home / "postgres", 0).remove()


@pytest.mark.requirement("O-08")
async def test_a_customer_comes_back_and_its_bucket_stays_as_the_server_has_it(site: SiteOnS3) -> None:
    before, told = await site.everything(), list[str]()
    store = await CustomerStore.open(site.settings, CUSTOMER)
    await store.put("more", b"done since")
    await site.lose(CUSTOMER)
    done = await restore_customer(site.settings, site.saved, CUSTOMER, told.append)
    assert (done.here, done.left_out) == (0, {})
    assert await site.everything() == before
    assert await site.objects() == {"sources.json": b"[]", "more": b"done since"}
    assert "bucket         as it is: the backup holds none" in told
    folders = site.settings.model_copy(update={"s3_endpoint": None})
    with pytest.raises(Conflict, match="folders in one"):
        await restore_customer(folders, site.saved, CUSTOMER, silent, replace=True)
    with pytest.raises(Conflict, match=f"{CUSTOMER} is here. With --replace"):
        await restore_customer(site.settings, site.saved, CUSTOMER, silent)
    (site.home / "keys" / "customers" / f"{CUSTOMER}.age").unlink()
    await restore_customer(site.settings, site.saved, CUSTOMER, silent, replace=True)
    assert await site.everything() == before
    assert await site.objects() == {"sources.json": b"[]", "more": b"done since"}


@pytest.mark.requirement("O-08")
async def test_without_its_bucket_nothing_of_a_customer_is_brought_back_and_with_it_the_same_call_works(
    site: SiteOnS3,
) -> None:
    before = await site.everything()
    await (await CustomerStore.open(site.settings, CUSTOMER)).remove()
    await site.lose(CUSTOMER)
    lost = await site.everything()
    with pytest.raises(NotFound, match=f"no bucket customer-{CUSTOMER}, .* bring it back there"):
        await restore_customer(site.settings, site.saved, CUSTOMER, silent)
    assert await site.everything() == lost
    await (await CustomerStore.open(site.settings, CUSTOMER, create=True)).put("sources.json", b"[]")
    await restore_customer(site.settings, site.saved, CUSTOMER, silent)
    assert await site.everything() == before
