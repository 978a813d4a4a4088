"""Erasing a customer: bucket, archive and key, and a signed certificate of it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from pydantic import Field, ValidationError

from servers.cradle.images.archive import Archive, release
from servers.cradle.images.customer_keys import destroy, destroyed
from servers.cradle.images.files import write_new
from servers.cradle.images.signing import Signer
from shared.contracts.model import Contract
from shared.durable import sync_folder
from shared.errors import Conflict, Unavailable
from shared.ids import DIGEST_PATTERN, CustomerId, Digest, digest
from shared.objects import CustomerStore
from shared.signatures import STATEMENT, Verifier

ENDING = ".dsse.json"
_PREDICATE = "urn:0711:erasure:v1"


class Certificate(Contract):
    """What was erased, and where the signed certificate (a DSSE envelope) lies. Holds no content."""

    customer_id: CustomerId
    objects: int = Field(ge=0, description="Objects that the bucket held.")
    archived_images: int = Field(ge=0)
    instances: int = Field(0, ge=0, description="Containers and volumes that were removed.")
    rows: int = Field(0, ge=0, description="Rows of the platform's databases; 0 where only content was erased.")
    archive_key: Digest | None = Field(description="Fingerprint of the key that was destroyed.")
    erased_at: datetime
    location: str


async def erase(
    store: CustomerStore, customer_id: str, archive: Archive, signer: Signer, certificates: Path, *,
    rows: int = 0, instances: int = 0,
) -> Certificate:  # fmt: skip
    """Destroy the customer's key first: from then on no copy of its archive can be read, wherever it lies. Then remove
    archive and bucket, look that nothing is left, and sign the certificate. May be repeated after a crash: what there
    was is noted before anything goes, and the certificate says it all.

    Args:
        rows, instances: what the caller has removed before; goes into the certificate.

    Raises:
        Unavailable: something could not be removed; call again.
    """
    found = {"objects": len(await store.list()), "rows": rows, "instances": instances}
    found["archived_images"] = len(await asyncio.to_thread(archive.names, customer_id))
    note = certificates / f"{customer_id}.begun"
    resumed = note.exists()
    counts = await asyncio.to_thread(_noted, note, found)
    key = await asyncio.to_thread(destroy, archive.keys, customer_id)
    if key is None and resumed:
        key = await asyncio.to_thread(destroyed, archive.keys, customer_id)
    folder = archive.folder / customer_id
    await asyncio.to_thread(_remove, folder)
    await store.remove()
    left = store.local()
    if folder.exists() or (left is not None and left.exists()):
        raise Unavailable("Something of the customer could not be removed. Check the folder's rights and call again.")
    now = datetime.now(UTC)
    path = certificates / f"{customer_id}-{now:%Y%m%dT%H%M%S}-{os.urandom(4).hex()}{ENDING}"
    certificate = Certificate(customer_id=customer_id, **counts, archive_key=key, erased_at=now, location=str(path))
    await asyncio.to_thread(_sign, certificate, path, signer)
    await asyncio.to_thread(note.unlink)
    return certificate


def read_certificate(envelope: bytes, path: Path, keys: Sequence[Verifier]) -> tuple[Certificate, Verifier]:
    """What a certificate, as it lies in a file, says, and which of the keys signed it.

    Raises:
        Conflict: it was altered, none of these keys signed it, or it says something else than that a customer was
            erased.
    """
    for key in keys:
        try:
            statement = key.statement(envelope)
        except Conflict:
            continue
        return _certificate(statement, path), key
    named, known = _named(envelope), [key.key_id for key in keys]
    if named in known:
        raise Conflict("It was altered after it was signed.")
    raise Conflict(f"It is not signed by {' or '.join(known)}. It names another key, {named}.")


def last_erasure(certificates: Path, customer_id: str) -> datetime | None:
    """When the customer was erased last, by the names of its certificates; None: it was not. Blocking."""
    name = re.compile(rf"{re.escape(customer_id)}-(\d{{8}}T\d{{6}})-[0-9a-f]{{8}}{re.escape(ENDING)}")
    found = [name.fullmatch(path.name) for path in certificates.glob(f"{customer_id}-*{ENDING}")]
    times = [datetime.strptime(each[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC) for each in found if each]
    return max(times, default=None)


def _certificate(statement: dict[str, Any], path: Path) -> Certificate:
    with suppress(ValidationError, KeyError, IndexError, TypeError):
        found = Certificate(**statement["predicate"], location=str(path))
        if statement["predicateType"] == _PREDICATE and statement["subject"][0]["name"] == found.customer_id:
            return found
    raise Conflict("What was signed is no certificate of an erasure.")


def _named(envelope: bytes) -> str:
    """The key that an envelope names; nothing proves that it is the one that signed."""
    with suppress(ValueError, KeyError, IndexError, TypeError):
        named = orjson.loads(envelope)["signatures"][0]["keyid"]
        if re.fullmatch(DIGEST_PATTERN, named):
            return named
    raise Conflict("It is no signed statement, or it is damaged.")


def _noted(note: Path, found: dict[str, int]) -> dict[str, int]:
    """What is erased, with what calls that were killed have erased before; kept in the note until it is certified."""
    before: dict[str, int] = orjson.loads(note.read_bytes()) if note.exists() else {}
    ours = {name: found[name] + before.get(name, 0) for name in ("rows", "instances")}
    counts = {name: max(count, before.get(name, 0)) for name, count in found.items()} | ours
    draft = note.with_name(f".{note.name}")
    draft.unlink(missing_ok=True)
    note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_new(draft, orjson.dumps(counts))
    draft.replace(note)
    sync_folder(note.parent)
    return counts


def _remove(folder: Path) -> None:
    release(folder)
    shutil.rmtree(folder, ignore_errors=True)


def _sign(certificate: Certificate, path: Path, signer: Signer) -> None:
    name = certificate.customer_id
    predicate = certificate.model_dump(mode="json", exclude={"location"})
    subject = {"name": name, "digest": {"sha256": digest(name.encode()).removeprefix("sha256:")}}
    statement = {"_type": STATEMENT, "subject": [subject], "predicateType": _PREDICATE, "predicate": predicate}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):  # a certificate can be checked when the key has been replaced
        write_new(path.parent / f"signer-{signer.verifier.key_id[7:19]}.pub", signer.verifier.pem)
    write_new(path, signer.envelope(statement))
    sync_folder(path.parent)
