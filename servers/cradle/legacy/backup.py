"""A copy of a legacy deployment in the customer's bucket, whole and checked, before anything is made of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.cradle.images.files import copy, hash_file, reflink
from servers.cradle.images.layers import room_or_clean
from servers.cradle.legacy.export import Layout
from shared.contracts.deployment import LegacyBackup
from shared.errors import Conflict, InvalidInput
from shared.ids import canonical_json, digest
from shared.stopping import stop_if_told

FOLDER, FILES, EXPORT, MANIFEST = "legacy", "files", "export", "manifest.json"
_CHANGED = "A file of the legacy deployment changed while it was copied. Stop its updates and call again."


def back_up(found: Layout, bucket: Path) -> LegacyBackup:
    """Copy the legacy folder to `bucket/legacy/`: its files to `files/`, its tables to `export/`; blocking.

    A copy that was interrupted goes on: what is there under its hash is not copied again. Bytes of a name that are no
    UTF-8 are written out, as they are where files are processed.

    Raises:
        Conflict: a file changed while it was copied, became a link, or two have one name.
        InvalidInput: a file cannot be opened.
        StorageFull: no room; what was copied stays for the next call.
    """
    target, hashes, size = bucket / FOLDER, {}, 0
    with room_or_clean():
        for source, name in _plan(found):
            stop_if_told()
            if name in hashes:
                raise Conflict("Two files of the legacy deployment have names that are written alike. Rename one.")
            with _held(source, found.root) as held:
                hashes[name] = _copied(held, target / name)
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
    both = ((FILES, found.files), (EXPORT, found.parts))
    return [(path, f"{folder}/{_shown(path.relative_to(found.root))}") for folder, paths in both for path in paths]


def _shown(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def _held(path: Path, root: Path) -> Iterator[Path]:
    """The file that was listed, kept open: a path to it that stays the same when its name becomes a link."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise Conflict(_CHANGED) from None
        reason = "A file of the legacy deployment cannot be opened. Give the platform's user the right to read it."
        raise InvalidInput(reason, field="legacy") from None
    try:
        proc = Path(f"/proc/self/fd/{handle}")
        held = proc if proc.exists() else path
        if not held.resolve().is_relative_to(root.resolve()):
            raise Conflict(_CHANGED)
        yield held
    finally:
        os.close(handle)


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
        raise Conflict(_CHANGED)
    return wanted
