"""A copy of a legacy deployment in the customer's bucket, whole and checked, before anything is made of it."""

from __future__ import annotations

import os
from pathlib import Path

from servers.cradle.images.files import copy, hash_file, reflink
from servers.cradle.images.layers import room_or_clean
from servers.cradle.legacy.export import Layout
from shared.contracts.deployment import LegacyBackup
from shared.errors import Conflict
from shared.ids import canonical_json, digest
from shared.stopping import stop_if_told

FOLDER, FILES, EXPORT, MANIFEST = "legacy", "files", "export", "manifest.json"


def back_up(found: Layout, bucket: Path) -> LegacyBackup:
    """Copy the legacy folder to `bucket/legacy/`: its files to `files/`, its tables to `export/`; blocking.

    A copy that was interrupted goes on: what is there under its hash is not copied again.

    Raises:
        Conflict: a file changed while it was copied.
        StorageFull: no room; what was copied stays for the next call.
    """
    target, hashes, size = bucket / FOLDER, {}, 0
    with room_or_clean():
        for source, name in _plan(found):
            stop_if_told()
            hashes[name] = _copied(source, target / name)
            size += (target / name).stat().st_size
        body = canonical_json(hashes)
        draft = target / f".{MANIFEST}-{os.urandom(4).hex()}"
        draft.write_bytes(body)
        draft.replace(target / MANIFEST)
    return LegacyBackup(
        files=len(found.files), tables=len(found.tables), links_left_out=found.links, size_bytes=size,
        digest=digest(body),
    )  # fmt: skip


def _plan(found: Layout) -> list[tuple[Path, str]]:
    own = [(path, f"{FILES}/{path.relative_to(found.root).as_posix()}") for path in found.files]
    parts = [path for table in found.tables for path in sorted(table.rglob("*")) if path.is_file()]
    return own + [(path, f"{EXPORT}/{path.relative_to(found.root).as_posix()}") for path in parts]


def _copied(source: Path, target: Path) -> str:
    wanted = hash_file(source)
    if target.is_file():
        if hash_file(target) == wanted:
            return wanted
        target.unlink()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not reflink(source, target):
        copy(source, target)
    if hash_file(target) != wanted:
        target.unlink()
        raise Conflict("A file of the legacy deployment changed while it was copied. Stop its updates and call again.")
    return wanted
