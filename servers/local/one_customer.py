"""`0711 restore --customer`: one customer out of a backup, while the platform and its other customers go on.

Rows that are missing here are added; those that are here stay as they are, so that nothing which was revoked, paid or
decided since is undone. The bucket becomes that of the backup. Archived images and keys that are missing are put back.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

from servers.cradle.deployments.access_keys import key_file
from servers.cradle.images.archive import make_immutable, release
from servers.cradle.images.customer_keys import key_folder, was_erased
from servers.cradle.images.erasure import last_erasure
from servers.cradle.images.files import sweep, work_name
from servers.cradle.images.signing import KEY_NAME
from servers.local.backup import Manifest, checked, copy_back, full
from servers.local.platform import MIGRATIONS, Notify
from servers.local.whole import superuser_of, the_whole
from shared.audit import AuditLog
from shared.durable import sync_folder
from shared.errors import Conflict, NotFound
from shared.ids import digest_file
from shared.objects import CustomerStore, bucket_name
from shared.postgres.database import Database
from shared.postgres.erasure import names_customer
from shared.postgres.returning import Returned, beside, drop_saved, returned, saved_database
from shared.postgres.urls import database_urls
from shared.secret_files import make_secret
from shared.settings import Settings

_STAGED = ".restoring"
_CHANGES = {
    # the workflow engine does not know an open job any more
    "public.jobs": """
UPDATE back SET state = 'cancelled', progress = '{}',
    steps = (SELECT coalesce(jsonb_agg(CASE WHEN step ->> 'state' = 'running'
                                            THEN jsonb_set(step, '{state}', '"pending"') ELSE step END
                                       ORDER BY position), '[]')
             FROM jsonb_array_elements(steps) WITH ORDINALITY AS each (step, position))
WHERE state IN ('queued', 'running', 'waiting')
""",
    # no container is in a backup; a stopped deployment keeps its port
    "public.deployments": "UPDATE back SET state = 'stopped' WHERE state = 'serving'",
}


async def restore_customer(
    settings: Settings, source: Path, customer: str, notify: Notify, *, replace: bool = False
) -> Returned:
    """Bring one customer back from a backup of this platform. The databases have to run. May be repeated.

    Args:
        replace: the customer is here: its bucket becomes that of the backup, and what is missing of its rows, archived
            images and keys is added.

    Raises:
        InvalidInput: `source` is no backup, or `customer` no id.
        NotFound: the backup does not hold the customer; or its bucket, on S3, is not there.
        Conflict: the customer was erased after the backup was made, or is here and `replace` is false; a job of it is
            open; the backup is damaged or another platform's; or something of the customer is another's now.
        StorageFull: no room.
        Unavailable: a database or the object store does not answer. In each case nothing was changed.
    """
    bucket = bucket_name(customer)
    superuser_url = superuser_of(settings)
    folders = ("databases/", f"files/objects/{bucket}/", f"files/archive/{customer}/")
    keys = {f"files/keys/{name}" for name in (KEY_NAME, f"customers/{customer}.age", f"instances/{customer}")}
    manifest = await asyncio.to_thread(checked, source, lambda name: name.startswith(folders) or name in keys)
    async with the_whole(superuser_url):
        await asyncio.to_thread(_require_allowed, settings, manifest, customer)
        try:
            await _remove_work(settings, superuser_url)
            if not replace:
                await _require_absent(settings, superuser_url, customer)
            await _read_databases(settings, superuser_url, source, manifest, customer)
            await _audited(settings, customer, manifest.made_at)
            return await _restored(settings, superuser_url, source / "files", manifest, customer, notify)
        except OSError as error:
            raise full(error, settings.home) from None
        finally:
            await remove_left(settings, superuser_url)


async def remove_left(settings: Settings, superuser_url: str) -> None:
    """Remove what a return of a customer makes for its own use, also of one that was killed: it may be somebody's who
    is erased now. A bucket that was set aside for another that did not come is put back."""
    await _remove_work(settings, superuser_url)
    await asyncio.to_thread(shutil.rmtree, settings.home / "objects" / _STAGED, ignore_errors=True)


async def undo_killed(settings: Settings, superuser_url: str, notify: Notify) -> None:
    """Before the servers start: put back the bucket that a return had set aside when it was killed; the return may be
    repeated. One that goes on is left alone."""
    if not await asyncio.to_thread(lambda: any((settings.home / "objects" / _STAGED).glob("*/*"))):
        return
    with suppress(Conflict):
        async with the_whole(superuser_url):
            await _remove_work(settings, superuser_url)
            notify("restore        a customer's return was killed before its end and is undone: repeat it")


async def _remove_work(settings: Settings, superuser_url: str) -> None:
    """The same, but for the mark of a return that began without the customer."""
    await drop_saved(superuser_url)
    await asyncio.to_thread(_remove_staged, settings.home / "objects")


def _require_allowed(settings: Settings, manifest: Manifest, customer: str) -> None:
    erased = last_erasure(settings.home / "certificates", customer)
    since = erased is not None and erased >= manifest.made_at.replace(microsecond=0)
    if since or was_erased(key_folder(settings), customer):
        when = f" on {erased:%Y-%m-%d}, with a certificate" if erased else ""
        raise Conflict(f"The customer {customer} was erased{when}. Nobody who was erased comes back from a backup.")
    own = settings.home / "keys" / KEY_NAME
    if manifest.files.get(f"files/keys/{KEY_NAME}") != (digest_file(own) if own.exists() else None):
        raise Conflict(
            f"The backup has another {KEY_NAME} than this platform: what it holds would not be taken for genuine here."
            " Restore all of it into a home of its own: 0711 restore BACKUP --home FOLDER."
        )
    if (manifest.s3_endpoint is None) != (settings.s3_endpoint is None):
        raise Conflict("Buckets are folders in one of backup and platform, and on S3 in the other.")


async def _require_absent(settings: Settings, superuser_url: str, customer: str) -> None:
    """Nothing of the customer is here, but what a return left that was killed before `platform` knew the customer."""
    mark = settings.home / "objects" / _STAGED / f"absent-{customer}"
    broken_off = mark.exists() and not await names_customer(superuser_url, "platform", customer, audited=False)
    if not broken_off and await _is_here(settings, superuser_url, customer):
        raise Conflict(
            f"The customer {customer} is here. With --replace its bucket becomes that of the backup: what was done"
            " in it since is lost. What is missing elsewhere is added."
        )
    mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark.touch()


async def _is_here(settings: Settings, superuser_url: str, customer: str) -> bool:
    if any([await names_customer(superuser_url, name, customer, audited=False) for name in MIGRATIONS]):
        return True
    places = [settings.home / "objects" / bucket_name(customer), settings.home / "archive" / customer]
    return any(place.is_dir() for place in places)


async def _read_databases(
    settings: Settings, superuser_url: str, source: Path, manifest: Manifest, customer: str
) -> None:
    for name, packages in MIGRATIONS.items():
        owner, dumped = database_urls(settings, name).owner, source / "databases" / f"{name}.dump"
        await saved_database(superuser_url, owner, dumped, packages, manifest.tables[name])
    if not any([await names_customer(superuser_url, beside(name), customer, audited=False) for name in MIGRATIONS]):
        raise NotFound(f"This backup holds no customer {customer}: nothing was restored.")


async def _audited(settings: Settings, customer: str, made_at: datetime) -> None:
    detail = {"backup": int(made_at.timestamp())}
    async with Database(database_urls(settings, "user_registry").app) as database:
        await AuditLog(database).append("operator", "customer.restored", customer, customer, detail)


async def _restored(
    settings: Settings, superuser_url: str, files: Path, manifest: Manifest, customer: str, notify: Notify
) -> Returned:
    """All rows are written before the bucket is exchanged; `platform`, by whose rows jobs are ordered, commits last."""
    async with AsyncExitStack() as stack:
        bucket = await stack.enter_async_context(_bucket(settings, files, manifest, customer))
        images, keys = await stack.enter_async_context(_archive_and_keys(settings, files, manifest, customer))
        done = Returned()
        for name in ("platform", "user_registry", "installation_configs"):
            rows = await stack.enter_async_context(returned(superuser_url, name, customer, _CHANGES))
            done.added += rows.added
            done.here += rows.here
            done.left_out |= rows.left_out
        await asyncio.to_thread(bucket)
    for table, number in done.left_out.items():
        notify(f"left out       {number} of {table}: what they need is gone, or another has the name, address or port")
    notify(f"rows           {done.added} added, {done.here} were here and stay as they are")
    here = settings.s3_endpoint is None and f"objects/{bucket_name(customer)}" in manifest.modes
    notify(f"bucket         {'as in the backup' if here else 'as it is: the backup holds none'}")
    notify(f"archive        {images} images and {keys} keys added")
    return done


@asynccontextmanager
async def _bucket(
    settings: Settings, files: Path, manifest: Manifest, customer: str
) -> AsyncIterator[Callable[[], None]]:
    """The backup's bucket beside the present one. What is yielded exchanges them; after an error it is undone."""
    name = bucket_name(customer)
    if settings.s3_endpoint is not None:  # that server keeps it
        try:
            await CustomerStore.open(settings, customer)
        except NotFound:
            raise NotFound(
                f"The S3 server has no bucket {name}, and the backup holds none: bring it back there, then call again."
            ) from None
    if f"objects/{name}" not in manifest.modes:
        yield lambda: None
        return
    staged, here = settings.home / "objects" / _STAGED, settings.home / "objects" / name
    new, old = staged / "new" / name, staged / "old" / name

    def stage() -> None:
        for folder in (new.parent, old.parent):
            folder.mkdir(mode=0o700, parents=True)
        copy_back(files, new, manifest, f"objects/{name}")
        os.sync()

    def exchange() -> None:
        if here.exists():
            here.rename(old)
        new.rename(here)
        sync_folder(here.parent)

    await asyncio.to_thread(stage)
    try:
        yield exchange
    except BaseException:
        if not new.exists():
            here.rename(new)
        raise  # what was set aside is put back by `remove_left`


def _remove_staged(objects: Path) -> None:
    """A bucket that was set aside is removed once the other one has come, and put back before that: over what a
    customer's job has written in its place meanwhile."""
    staged = objects / _STAGED
    for old in (staged / "old").glob("*"):
        here = objects / old.name
        if (staged / "new" / old.name).exists():
            shutil.rmtree(here, ignore_errors=True)
        if not here.exists():
            old.rename(here)
            sync_folder(objects)
    for folder in ("old", "new"):
        shutil.rmtree(staged / folder, ignore_errors=True)


@asynccontextmanager
async def _archive_and_keys(
    settings: Settings, files: Path, manifest: Manifest, customer: str
) -> AsyncIterator[tuple[int, int]]:
    """Add what is missing of the customer's archived images and keys, their numbers; after an error it is undone."""
    made = list[Path]()
    try:
        keys = await asyncio.to_thread(_add_keys, settings, files, manifest, customer, made)
        images = await asyncio.to_thread(_add_images, settings, files, manifest, customer, made)
        yield images, keys
    except BaseException:
        for path in reversed(made):
            release(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _add_keys(settings: Settings, files: Path, manifest: Manifest, customer: str, made: list[Path]) -> int:
    sealing = key_folder(settings) / f"{customer}.age"
    for path in (sealing, key_file(settings.home, customer)):
        name = path.relative_to(settings.home).as_posix()
        if f"files/{name}" not in manifest.files:
            continue
        if not path.exists():
            make_secret(path, (files / name).read_bytes())
            made.append(path)
        elif path == sealing and digest_file(path) != manifest.files[f"files/{name}"]:
            raise Conflict(
                f"The customer {customer} has another archive key here than in the backup: it came anew since."
                " Nothing was restored."
            )
    return len(made)


def _add_images(settings: Settings, files: Path, manifest: Manifest, customer: str, made: list[Path]) -> int:
    folder, below, added = settings.home / "archive" / customer, f"archive/{customer}/", 0
    sweep(folder)
    for name in manifest.modes:
        place = folder / name.removeprefix(below)
        if not name.startswith(below) or "/" in name.removeprefix(below) or place.exists():
            continue
        if not folder.exists():
            folder.mkdir(mode=0o755, parents=True)
            made.append(folder)
        work = folder / work_name(f".building-{place.name}")
        try:
            copy_back(files, work, manifest, name)
            os.sync()
            work.rename(place)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        made.append(place)
        added += 1
        if settings.archive_immutable:
            make_immutable(place)
    return added
