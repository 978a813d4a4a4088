"""Where a dataset lies: a folder, or a prefix of an object store. Small whole files only: tables bring their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.durable import sync_folder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

Options = Callable[[], dict[str, str]]
"""What an object store is opened with. Asked for at each opening, since credentials end; it may take a moment."""


@dataclass(frozen=True, slots=True)
class Place:
    """The root of a dataset; names below it are relative and `/`-separated. All methods block."""

    root: str
    options: Options = dict

    @property
    def folder(self) -> Path | None:
        """The folder, None where the root is a URI of an object store."""
        if "://" not in self.root:
            return Path(self.root)
        return Path(self.root.removeprefix("file://")) if self.root.startswith("file://") else None

    def at(self, name: str) -> str:
        """The address of something below the root, as LanceDB and Delta take it."""
        return str(self.folder / name) if self.folder else f"{self.root.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """The content of a file, None where there is none."""
        if self.folder:
            path = self.folder / name
            return path.read_bytes() if path.is_file() else None
        try:
            return bytes(self._store().get(name).bytes())
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Put a whole file in place at once, durably: a reader sees the old one or the new one."""
        if not self.folder:
            self._store().put(name, data)
            return
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)

    def names(self, prefix: str) -> list[str]:
        """All files below a prefix, sorted."""
        if self.folder:
            base = self.folder / prefix
            return sorted(path.relative_to(self.folder).as_posix() for path in base.rglob("*") if path.is_file())
        listed = self._store().list(prefix.rstrip("/") + "/")
        return sorted(entry["path"] for page in listed for entry in page)

    def children(self, prefix: str) -> list[str]:
        """The names directly below a prefix, sorted."""
        depth = len(prefix.strip("/").split("/"))
        if self.folder:
            base = self.folder / prefix
            return sorted(path.name for path in base.iterdir()) if base.is_dir() else []
        return sorted({name.split("/")[depth] for name in self.names(prefix)})

    def remove(self, prefix: str) -> None:
        """Delete everything below a prefix."""
        if self.folder:
            shutil.rmtree(self.folder / prefix, ignore_errors=True)
            return
        if found := self.names(prefix):
            self._store().delete(found)

    def _store(self) -> ObjectStore:
        from obstore.store import from_url

        config: Any = self.options()
        plain = config.pop("aws_allow_http", "") == "true"
        return from_url(self.root, config=config, client_options={"allow_http": plain})
