"""Updates for instances that run: what changed since a delivered dataset, signed, in one file; and sending it.

A delivered dataset is remembered by its ledger, `ledgers/<64 hex digits>.json` in the customer's bucket: ids of
documents and digests of all their rows. The update is a tar: `statement.json`, a DSSE envelope around an in-toto
statement that names base, result, parameters and each file's digest, and the files of `shared.dataset.delta`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import shutil
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.cradle.images.files import new_file, sweep, work_name
from servers.cradle.images.layers import room_or_clean
from servers.cradle.images.signing import Signer
from servers.cradle.images.streams import add_file
from shared.contracts.image import UpdateMade
from shared.contracts.instance import DatasetVersions, UpdatePart
from shared.dataset.delta import write_delta
from shared.dataset.manifest import Manifest
from shared.dataset.places import Place
from shared.durable import sync_folder
from shared.errors import Conflict
from shared.ids import digest_file, hash_file
from shared.signatures import DELTA, STATEMENT
from shared.stopping import stopped_first

if TYPE_CHECKING:
    from shared.client import Upstream

PART = 512 * 1024
MERGE_S = 3600.0


@dataclass(frozen=True, slots=True)
class DeliveredDataset:
    """A version of a dataset that instances hold: its digest, and its ledger."""

    digest: str
    ledger: Mapping[str, str]


async def make_update(
    customer_id: str, base: DeliveredDataset, dataset: Place, manifest: Manifest, bucket: Path, signer: Signer
) -> UpdateMade:
    """Write `bucket/updates/<base>-<result>.tar` (12 digits each); one that is there is replaced.

    Args:
        base: what the update starts from.
        dataset: the customer's; its visible version is `manifest`.

    Raises:
        StorageFull: no room; nothing is left behind.
    """
    return await stopped_first(_make, customer_id, base, dataset, manifest, bucket / "updates", signer)


def _make(
    customer_id: str, base: DeliveredDataset, dataset: Place, manifest: Manifest, folder: Path, signer: Signer
) -> UpdateMade:
    folder.mkdir(mode=0o700, exist_ok=True)
    sweep(folder)
    final = folder / f"{_short(base.digest)}-{_short(manifest.dataset_digest)}.tar"
    work = folder / work_name(f".building-{final.stem}")
    work.mkdir(mode=0o700)
    try:
        with room_or_clean(at=folder):
            numbers = write_delta(dataset, base.ledger, work)
            files = {path.name: hash_file(path) for path in sorted(work.iterdir())}
            about = {
                "customer_id": customer_id,
                "base": base.digest,
                "fingerprint": manifest.fingerprint,
                "parameter_version": manifest.parameter_version,
                "files": files,
            }
            envelope = signer.envelope(_statement(manifest.dataset_digest, about))
            _write_tar(work, envelope, list(files), work / "update.tar")
            (work / "update.tar").replace(final)
            sync_folder(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return UpdateMade(
        customer_id=customer_id,
        base_digest=base.digest,
        dataset_digest=manifest.dataset_digest,
        update_digest=digest_file(final),
        location=str(final),
        size_bytes=final.stat().st_size,
        **numbers,
    )


def _statement(dataset_digest: str, about: dict[str, Any]) -> dict[str, Any]:
    subject = {"name": "dataset", "digest": {"sha256": dataset_digest.removeprefix("sha256:")}}
    return {"_type": STATEMENT, "subject": [subject], "predicateType": DELTA, "predicate": about}


def _write_tar(folder: Path, envelope: bytes, names: list[str], target: Path) -> None:
    with new_file(target) as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        add_file(tar, "statement.json", io.BytesIO(envelope), len(envelope))
        for name in names:
            with (folder / name).open("rb") as file:
                add_file(tar, name, file, (folder / name).stat().st_size)


def leads_to(key: str, dataset_digest: str) -> bool:
    """Whether the update at this key of the bucket is one to this dataset."""
    return key.endswith(f"-{_short(dataset_digest)}.tar")


def _short(dataset_digest: str) -> str:
    return dataset_digest.removeprefix("sha256:")[:12]


def key_of(update: UpdateMade) -> str:
    """Where an update lies in the customer's bucket."""
    return f"updates/{Path(update.location).name}"


async def push_update(update: Path, instance: Upstream) -> DatasetVersions:
    """Send an update to a running instance and have it merged; answers go on meanwhile.

    Raises:
        Conflict: the instance took a part otherwise than it was sent.
        PlatformError: what the instance says; nothing was changed there.
    """
    whole = await asyncio.to_thread(digest_file, update)
    size = (await asyncio.to_thread(update.stat)).st_size
    position = 0
    while position < size:
        data = await asyncio.to_thread(_part, update, position)
        sent = {"update_digest": whole, "position": position, "data_base64": base64.b64encode(data).decode()}
        position += len(data)
        if (await instance.call("put_update", sent, UpdatePart, deadline_s=60)).received != position:
            raise Conflict("The instance did not take a part of the update as it was sent. Call again.")
    return await instance.call("apply_update", {"update_digest": whole}, DatasetVersions, deadline_s=MERGE_S)


def _part(update: Path, position: int) -> bytes:
    with update.open("rb") as file:
        file.seek(position)
        return file.read(PART)


def ledger_key(dataset_digest: str) -> str:
    """Where the ledger of a delivered dataset lies in the customer's bucket."""
    return f"ledgers/{dataset_digest.removeprefix('sha256:')}.json"
