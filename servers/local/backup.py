"""`0711 backup` and `0711 restore`: the whole platform to a folder, and an equal platform out of it.

A backup holds `databases/<name>.dump`, `files/` (keys, the customers' buckets, the archive, certificates) and, written
last, `MANIFEST.json`: the hash of every file and the fingerprint of every table. It holds every key of the platform:
keep it where only the operator reads it. Not in it: logs, caches, models, which come back by themselves; buckets on an
S3 server, which that server has to keep (the manifest names the endpoint); containers, which deploy_customer starts.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import orjson
from pydantic import Field

from servers.cradle.images.archive import make_immutable
from servers.local.lock import RESTORING, HomeLock, require_whole
from servers.local.platform import Notify, postgres, prepare
from servers.local.whole import the_whole
from shared.contracts.model import Contract
from shared.durable import sync_folder
from shared.errors import Conflict, InvalidInput, PlatformError, StorageFull, Unavailable
from shared.ids import digest_file
from shared.postgres.dump import dump, fingerprints
from shared.postgres.dump import restore as restore_database
from shared.postgres.provision import DATABASES, drop_databases, provision, require_nobody_connected, require_unused
from shared.room import says_full
from shared.settings import Settings

MANIFEST = "MANIFEST.json"
MAY_BE_THERE = frozenset({"logs", "cache", "models", "up.lock"})
LEFT_OUT = MAY_BE_THERE | {"postgres"}


class Manifest(Contract):
    """What a backup holds. `changed_ns`: when each file and folder was changed last; the archive is in that order."""

    format: int = 1
    made_at: datetime
    files: dict[str, str]
    modes: dict[str, int]
    changed_ns: dict[str, int] = Field(default_factory=dict)
    tables: dict[str, dict[str, str]]
    s3_endpoint: str | None = None


async def backup(settings: Settings, target: Path, notify: Notify) -> Path:
    """Write `target/0711-<time>`, whole or not there. The platform has to be stopped, so that all of it is of one time.

    Raises:
        Conflict: the platform runs, a server of it that was started alone is connected to its databases, a customer is
            being erased, or a restore was killed.
        InvalidInput: the target lies in the platform's own folder.
        StorageFull: no room; nothing is left behind.
        Unavailable: there is no platform in the home folder, or the target cannot be written.
    """
    if await asyncio.to_thread(lambda: target.resolve().is_relative_to(settings.home.resolve())):
        raise InvalidInput("A backup does not belong into the folder that it saves. Choose another target.")
    if not (settings.home / "keys").is_dir():
        raise Unavailable(f"There is no platform in {settings.home}: nothing was saved. Choose another: --home.")
    now = datetime.now(UTC)
    final, work = target / f"0711-{now:%Y%m%dT%H%M%SZ}", target / _work_name(settings.home)
    with HomeLock(settings.home):
        require_whole(settings.home)
        shutil.rmtree(work, ignore_errors=True)  # of a backup that was killed: it holds keys
        _make(work)
        try:
            async with postgres(settings, notify) as superuser_url, the_whole(superuser_url):
                await require_nobody_connected(superuser_url)
                tables = await _dump(superuser_url, work / "databases", notify)
                hashes, modes, changed = await asyncio.to_thread(_copy_home, settings.home, work / "files")
                await require_nobody_connected(superuser_url)  # one that was started meanwhile may have changed both
            hashes |= {f"databases/{name}.dump": digest_file(work / "databases" / f"{name}.dump") for name in DATABASES}
            made = Manifest(
                made_at=now, files=hashes, modes=modes, changed_ns=changed, tables=tables,
                s3_endpoint=settings.s3_endpoint,
            )  # fmt: skip
            (work / MANIFEST).write_bytes(orjson.dumps(made.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
            await asyncio.to_thread(os.sync)
            work.rename(final)
        except OSError as error:
            raise full(error, target) from None
        finally:
            shutil.rmtree(work, ignore_errors=True)
    notify(f"files          {len(hashes)} with their hashes")
    return final


async def restore(settings: Settings, source: Path, notify: Notify) -> int:
    """Make the platform of a backup in an empty home folder, and prove that it equals; how many tables were compared.
    What a restore left there that was killed goes first.

    Raises:
        InvalidInput: `source` is no backup.
        Conflict: the home folder is not empty, the Postgres server of the settings holds a platform, the backup is
            incomplete or damaged, or the restored rows are not equal.
        StorageFull: no room. In each case nothing is left behind.
    """
    manifest = await asyncio.to_thread(checked, source)
    if settings.postgres_url is not None:
        await require_unused(settings.postgres_url.get_secret_value())
    with HomeLock(settings.home):
        _require_empty(settings.home)
        try:
            await asyncio.to_thread(_begin, settings.home)
            await asyncio.to_thread(copy_back, source / "files", settings.home, manifest)
            async with postgres(settings, notify) as superuser_url:
                await provision(superuser_url, settings.home)
                for name in DATABASES:
                    await asyncio.to_thread(
                        restore_database, superuser_url, name, source / "databases" / f"{name}.dump"
                    )
                    if await fingerprints(superuser_url, name) != manifest.tables[name]:
                        raise Conflict(f"The restored database {name} is not equal to the saved one.")
                notify("databases      restored, every table equal")
                await prepare(settings, superuser_url, notify)
            await asyncio.to_thread(os.sync)
            (settings.home / RESTORING).unlink()
            sync_folder(settings.home)
        except BaseException as error:
            if settings.postgres_url is not None:
                with suppress(PlatformError):  # a server that is gone: the next restore says what is left there
                    await drop_databases(settings.postgres_url.get_secret_value())
            await asyncio.to_thread(_empty, settings.home)
            if isinstance(error, OSError):
                raise full(error, settings.home) from None
            raise
    if settings.archive_immutable:
        sealed = await asyncio.to_thread(_seal_again, settings.home / "archive")
        refused = "not immutable: only root can, on ext4, xfs and btrfs"
        notify(f"archive        {'immutable again' if sealed else refused}")
    notify(f"files          {len(manifest.files)} with equal hashes")
    notify(f"erased since   {manifest.made_at:%Y-%m-%d %H:%M} UTC: such customers are here again; erase them again")
    return sum(len(tables) for tables in manifest.tables.values())


async def _dump(superuser_url: str, folder: Path, notify: Notify) -> dict[str, dict[str, str]]:
    await asyncio.to_thread(folder.mkdir, 0o700)
    tables = {}
    for name in DATABASES:
        await asyncio.to_thread(dump, superuser_url, name, folder / f"{name}.dump")
        tables[name] = await fingerprints(superuser_url, name)
        notify(f"database       {name}: {len(tables[name])} tables")
    return tables


def _copy_home(home: Path, target: Path) -> tuple[dict[str, str], dict[str, int], dict[str, int]]:
    """Copy the home folder; hashes of files, and of files and folders the modes and times of the last change."""
    hashes, modes, changed = {}, {}, {}
    target.mkdir(mode=0o700)
    for path in _walk(home):
        name, about = path.relative_to(home).as_posix(), path.stat()
        modes[name], changed[name] = about.st_mode & 0o777, about.st_mtime_ns
        if path.is_dir():
            (target / name).mkdir(mode=0o700)
        else:
            shutil.copyfile(path, target / name)
            hashes[f"files/{name}"] = digest_file(target / name)
    return hashes, modes, changed


def _walk(home: Path) -> list[Path]:
    """Every folder and file that belongs into a backup, parents first.

    Raises:
        Conflict: there is a link, which would lead out of the folder.
    """
    found = []
    for folder, folders, names in os.walk(home):
        here = Path(folder)
        left_out = LEFT_OUT if here == home else frozenset()
        folders[:] = sorted(set(folders) - left_out)
        found += [here / name for name in [*folders, *sorted(set(names) - left_out)]]
    if any(path.is_symlink() for path in found):
        raise Conflict("The home folder holds a link. Put the files there themselves, and call again.")
    return found


def checked(source: Path, wanted: Callable[[str], bool] = lambda _name: True) -> Manifest:
    """What a backup says that it holds; blocking.

    Args:
        wanted: which of its files have to be whole.

    Raises:
        InvalidInput: `source` is no backup.
        Conflict: a wanted file is missing or damaged.
    """
    if not (source / MANIFEST).is_file():
        inside = sorted(folder.parent.name for folder in source.glob(f"0711-*/{MANIFEST}"))
        hint = f" The newest of those in it: {inside[-1]}." if inside else ""
        raise InvalidInput(f"{source} is no folder that `0711 backup` made.{hint}")
    try:
        manifest = Manifest.model_validate_json((source / MANIFEST).read_bytes())
        damaged = [
            name for name, value in manifest.files.items() if wanted(name) and digest_file(source / name) != value
        ]
    except (OSError, ValueError):
        raise Conflict("This is no whole backup: a file is missing. Use another one.") from None
    if damaged:
        raise Conflict(f"The backup is damaged: {len(damaged)} files have other hashes. Use another one.")
    return manifest


def copy_back(files: Path, place: Path, manifest: Manifest, below: str = "") -> None:
    """Put what a backup holds into `place`, with modes and times as they were; blocking.

    Args:
        below: only this folder, which becomes `place`.
    """
    targets = {
        name: place / name[len(below) :].lstrip("/")
        for name in manifest.modes
        if not below or name == below or name.startswith(f"{below}/")
    }
    for name, target in targets.items():
        if not target.resolve().is_relative_to(place.resolve()):
            raise Conflict("The backup names a file outside of its folder. Use another one.")
        if f"files/{name}" in manifest.files:
            target.touch(0o600)
            shutil.copyfile(files / name, target)
        else:
            target.mkdir(mode=0o700)
    for name, target in reversed(targets.items()):  # a folder after all that is in it
        if (changed := manifest.changed_ns.get(name)) is not None:
            os.utime(target, ns=(changed, changed))
        target.chmod(manifest.modes[name])


def _work_name(home: Path) -> str:
    """Each home folder has one name for what it is building, so that the next backup finds what a killed one left."""
    return f".building-0711-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:8]}"


def _seal_again(archive: Path) -> bool:
    """Let the file system refuse changes of every archived image: a copy does not carry that. False: it cannot."""
    done = {make_immutable(folder) for folder in archive.glob("*/*/")}
    return False not in done


def _require_empty(home: Path) -> None:
    half = (home / RESTORING).exists()
    if home.is_dir() and not half and any(path.name not in MAY_BE_THERE for path in home.iterdir()):
        raise Conflict("There is a platform in this home folder already. Choose an empty one: --home.")


def _begin(home: Path) -> None:
    _empty(home)
    (home / RESTORING).touch(0o600)
    sync_folder(home)


def _empty(home: Path) -> None:
    """Remove what a restore made, its mark last; what `_require_empty` let stand was there before it."""
    from shared.postgres.launcher import EmbeddedPostgres

    if (home / "postgres").is_dir():
        EmbeddedPostgres(home / "postgres", 0).remove()
    for path in sorted(home.iterdir(), key=lambda path: path.name == RESTORING):
        if path.name in MAY_BE_THERE:
            continue
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _make(work: Path) -> None:
    try:
        work.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise Unavailable(
            f"The folder {work.parent} cannot be written ({error.strerror}). "
            "Give this user the right to write there, or choose another."
        ) from None


def full(error: OSError, place: Path) -> Conflict | StorageFull:
    if says_full(error):
        return StorageFull(f"No room in {place}. Free some space and call again; nothing is left behind.")
    return Conflict(f"A file could not be copied: {error.strerror}. Nothing is left behind.")
