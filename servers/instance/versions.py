"""Which datasets an instance has and which one it serves.

The image's own is read-only. Updates lie in the state folder, a volume: `versions/<64 hex digits>/`, each whole or not
there. `current.json` names the one that is served, together with the image's dataset that it belongs to: a container
that is made anew from the same image goes on with its update, a newer image starts with its own dataset.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Literal

import orjson
from pydantic import ValidationError

from shared.contracts.instance import DatasetVersion
from shared.contracts.model import Contract
from shared.dataset.manifest import visible
from shared.dataset.places import Place
from shared.errors import NotFound, PlatformError, Unavailable
from shared.ids import Digest
from shared.telemetry import event

_POINTER = "current.json"
_CHANGE = "change.json"
KEPT = 10


class _Current(Contract):
    image: Digest
    dataset: Digest


class Versions:
    """The datasets of one instance. All methods block.

    Args:
        image: the folder of the image's dataset.
        image_digest: its digest.
        state: the volume's folder; None: there is none, and updates are refused.
    """

    def __init__(self, image: Path, image_digest: str, state: Path | None) -> None:
        self._image, self.image_digest, self._state = image, image_digest, state

    def state(self) -> Path:
        """The writable folder of the volume.

        Raises:
            Unavailable: there is none.
        """
        if self._state is None or not self._state.is_dir() or not os.access(self._state, os.W_OK):
            raise Unavailable("This instance has no volume for updates. Start it with one at INSTANCE_STATE.")
        return self._state

    def current(self) -> str:
        """The digest of the dataset to serve: the image's own where the noted one is not whole."""
        noted = self._noted()
        return noted if self._whole(noted) else self.image_digest

    def _noted(self) -> str:
        """What was chosen to be served with this image, whether it is here or not; '' where the note is damaged."""
        if self._state is None:
            return self.image_digest
        try:
            found = _Current.model_validate_json((self._state / _POINTER).read_bytes())
        except OSError:
            return self.image_digest
        except ValidationError:
            return ""
        return found.dataset if found.image == self.image_digest else self.image_digest

    def folder(self, dataset_digest: str) -> Path:
        """Where a version lies.

        Raises:
            NotFound: it is not here.
        """
        if dataset_digest == self.image_digest:
            return self._image
        if not self._whole(dataset_digest):
            raise NotFound("This instance has no such version. list_versions names the ones there are.")
        return self.place_of(dataset_digest)

    def place_of(self, dataset_digest: str) -> Path:
        """Where a version belongs, whether it is there or not."""
        return self.state() / "versions" / dataset_digest.removeprefix("sha256:")

    def listed(self) -> list[DatasetVersion]:
        """Every version that is here, the image's own first."""
        found = [self.image_digest]
        if self._state is not None and (self._state / "versions").is_dir():
            names = sorted(path.name for path in (self._state / "versions").iterdir() if len(path.name) == 64)
            found += [f"sha256:{name}" for name in names if self._whole(f"sha256:{name}")]
        current = self.current()
        return [
            DatasetVersion(dataset_digest=each, origin=self._origin(each), current=each == current) for each in found
        ]

    def changed(self) -> bool:
        """Whether the version that is served was made by a change."""
        return self._origin(self.current()) == "change"

    def note_change(self, made: Path, base: str, statement_digest: str) -> None:
        """Leave with a version that is being made what it came from."""
        noted = {"base": base, "statement": statement_digest}
        Place(str(made)).write(_CHANGE, orjson.dumps(noted))

    def _origin(self, dataset_digest: str) -> Literal["image", "update", "change"]:
        if dataset_digest == self.image_digest:
            return "image"
        return "change" if (self.place_of(dataset_digest) / _CHANGE).is_file() else "update"

    def choose(self, dataset_digest: str) -> None:
        """Serve this version from the next start on; durable when it returns."""
        self.folder(dataset_digest)
        chosen = _Current(image=self.image_digest, dataset=dataset_digest)
        Place(str(self.state())).write(_POINTER, chosen.model_dump_json().encode())

    def sweep(self) -> None:
        """At a start: remove what an interrupted update left behind, and one whose parts were sent and left: it is sent
        anew. Logged is where the volume has lost the version that was served."""
        if self._noted() != self.current():
            event("served_version_lost", level=logging.ERROR)
        with suppress(PlatformError):
            for stale in (self.state() / "versions").glob(".merging-*"):
                shutil.rmtree(stale, ignore_errors=True)
            shutil.rmtree(self.state() / "incoming", ignore_errors=True)

    def make_room(self, wanted: Collection[str]) -> None:
        """Remove updates beyond the newest `KEPT`: each is a whole dataset, of which the platform's archive has an
        image. Approved changes are nowhere else: versions that hold some stay, and so does what is served.

        Args:
            wanted: stay too.
        """
        updates = [each.dataset_digest for each in self.listed() if each.origin == "update"]
        updates.sort(key=lambda each: self.place_of(each).stat().st_mtime_ns, reverse=True)
        for old in updates[KEPT:]:
            if old not in wanted and old != self.current():
                shutil.rmtree(self.place_of(old), ignore_errors=True)

    def _whole(self, dataset_digest: str) -> bool:
        if self._state is None:
            return False
        folder = self._state / "versions" / dataset_digest.removeprefix("sha256:")
        try:
            manifest = visible(Place(str(folder))) if folder.is_dir() else None
        except PlatformError:
            return False
        return manifest is not None and manifest.dataset_digest == dataset_digest
