"""Updates of a running instance: received in parts, checked against the signer's key, merged beside what is served.

An update is a tar: `statement.json` (a DSSE envelope) and the files of `shared.dataset.delta`, each named in it
with its digest. The merged dataset has to have the digest that was signed; only then it gets its name.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tarfile
from pathlib import Path
from typing import Any

from servers.instance.merging import failure_of, made_by, publish, work_folder
from servers.instance.versions import Versions
from shared.contracts.instance import InstanceConfig
from shared.dataset.delta import CHANGES
from shared.errors import Conflict, InvalidInput, NotFound, ParameterDrift, TooLarge, Unavailable
from shared.ids import digest_file, hash_file
from shared.signatures import DELTA, Verifier

STATEMENT = "statement.json"
MAX_UPDATE = 8 * 2**30
_FILE = re.compile(r"^(changes\.json|[a-z]+\.parquet)$")
_DAMAGED = "The update is damaged. Send it again."


class Updates:
    """Takes updates for one instance.

    Args:
        signer: the only key whose updates are taken; None: none are.
    """

    def __init__(self, versions: Versions, config: InstanceConfig, signer: Verifier | None) -> None:
        self._versions, self._config, self._signer = versions, config, signer
        self.turn = asyncio.Lock()

    async def receive(self, update_digest: str, position: int, data: bytes) -> int:
        """Keep a part of an update; returns how many bytes of it are here. The same part may come again.

        Raises:
            Conflict: a part before this one is missing.
            StorageFull: the volume is full.
        """
        async with self.turn:
            return await asyncio.to_thread(self._receive, update_digest, position, data)

    async def apply(self, update_digest: str) -> str:
        """Merge a received update; returns the digest of the new version, which is not served yet.

        The caller holds `turn` until it is served, so that no change is made from the version before it.

        Raises:
            NotFound: it was not received.
            Conflict: damaged, not signed by the expected key, for another customer, or for another version.
            ParameterDrift: it was made with other installation parameters.
            StorageFull: the volume is full; nothing is left behind.
        """
        path = self._incoming(update_digest)
        try:
            return await self._apply(path, update_digest)
        finally:
            await asyncio.to_thread(path.unlink, missing_ok=True)

    def _incoming(self, update_digest: str) -> Path:
        folder = self._versions.state() / "incoming"
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder / update_digest.removeprefix("sha256:")

    def _receive(self, update_digest: str, position: int, data: bytes) -> int:
        if position + len(data) > MAX_UPDATE:
            raise TooLarge(f"An update has at most {MAX_UPDATE} bytes. Deploy a new image instead.", field="position")
        path = self._incoming(update_digest)
        for other in path.parent.iterdir():
            if other != path:
                other.unlink()  # one update at a time: what was begun and left takes no room
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            with os.fdopen(descriptor, "r+b") as file:
                if position > os.fstat(descriptor).st_size:
                    raise Conflict("A part of the update before this one is missing. Send it from there.")
                file.seek(position)
                file.write(data)
                file.truncate()
            return position + len(data)
        except OSError as error:
            raise failure_of(error) from None

    async def _apply(self, path: Path, update_digest: str) -> str:
        async with work_folder(self._versions.state()) as work:
            statement = await asyncio.to_thread(self._unpack, path, update_digest, work)
            base, wanted = self._checked(statement)
            final = self._versions.place_of(wanted)
            if not final.exists():
                await _merged(await asyncio.to_thread(self._versions.folder, base), work)
                await asyncio.to_thread(publish, work / "dataset", wanted, final)
                await asyncio.to_thread(self._versions.make_room, {base, wanted})
            return wanted

    def _unpack(self, path: Path, update_digest: str, work: Path) -> dict[str, Any]:
        """The statement, checked against the signer's key; the files that it names lie in `work` afterwards."""
        if self._signer is None:
            raise Unavailable("This instance was started without INSTANCE_SIGNER, so it takes no updates.")
        if not path.is_file():
            raise NotFound("This update was not received. Send it with put_update first.", field="update_digest")
        if digest_file(path) != update_digest:
            raise Conflict(_DAMAGED)
        try:
            with tarfile.open(path, "r:") as tar:
                statement = self._signer.statement(_content(tar, STATEMENT, 2**20))
                for name, sha256 in statement["predicate"]["files"].items():
                    _unpack_file(tar, name, sha256, work)
        except (tarfile.TarError, KeyError, ValueError, TypeError, AttributeError):
            raise Conflict(_DAMAGED) from None
        return statement

    def _checked(self, statement: dict[str, Any]) -> tuple[str, str]:
        """The base's digest and the new version's."""
        about = statement["predicate"]
        if statement["predicateType"] != DELTA or CHANGES not in about["files"]:
            raise Conflict("This is not an update of a dataset.")
        if about["customer_id"] != self._config.customer_id:
            raise Conflict("This update is for another customer's instance. Nothing was changed.")
        if about["fingerprint"] != self._config.fingerprint:
            raise ParameterDrift(
                "This update was made with other installation parameters than this instance's dataset. Deploy an image"
                " that was built with them.",
                field="fingerprint",
            )
        if self._versions.changed():
            raise Conflict(
                "The version that is served holds approved changes, which this update lacks. Go back with use_version, "
                "apply the update, and make the changes again."
            )
        if about["base"] not in {each.dataset_digest for each in self._versions.listed()}:
            raise Conflict("This update is for a version that this instance does not have. Make it for one it lists.")
        return about["base"], "sha256:" + statement["subject"][0]["digest"]["sha256"]


async def _merged(base: Path, work: Path) -> None:
    code, _ = await made_by("shared.dataset.delta", base, work, work / "dataset")
    if code:
        raise Conflict("The update could not be merged. Make it anew, or deploy a new image.")


def _content(tar: tarfile.TarFile, name: str, limit: int) -> bytes:
    member = tar.getmember(name)
    file = tar.extractfile(member)
    if file is None or member.size > limit:
        raise Conflict(_DAMAGED)
    return file.read()


def _unpack_file(tar: tarfile.TarFile, name: str, sha256: str, work: Path) -> None:
    if not _FILE.fullmatch(name):
        raise InvalidInput("The update names a file that does not belong into one.")
    file = tar.extractfile(tar.getmember(name))
    if file is None:
        raise Conflict(_DAMAGED)
    with (work / name).open("xb") as out:
        shutil.copyfileobj(file, out, 1 << 20)
    if hash_file(work / name) != sha256:
        raise Conflict(_DAMAGED)
