"""Keys and passwords outlive a power cut and a full disk: on the disk when a call returns, and never cut off."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from servers.cradle.deployments.access_keys import access_key
from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.signing import Signer
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.keys import KeyRing
from shared.postgres.urls import DatabaseUrls, write
from shared.secret_files import make_first, make_secret, replace_secret
from tests.serving_rig import HANGS_S

MAKERS: dict[str, Callable[[Path], object]] = {
    "an instance's access key": lambda home: access_key(home, "acme"),
    "the key that signs images": Signer.open,
    "the key of a customer's archive": lambda home: CustomerKey.open(home, "acme", create=True),
    "the key that signs tokens": KeyRing,
    "the key that seals": SessionSeal.of_folder,
    "the passwords of the databases": lambda home: write(home, {"platform": DatabaseUrls("a", "b", "c")}),
}


@pytest.mark.parametrize("maker", MAKERS.values(), ids=MAKERS)
def test_a_secret_is_on_the_disk_under_its_name_when_it_is_used(
    maker: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, sync = dict[int, int](), os.fsync

    def noted(descriptor: int) -> None:
        about = os.fstat(descriptor)
        synced[about.st_ino] = about.st_size
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    maker(tmp_path)
    (made,) = [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert synced[made.stat().st_ino] == made.stat().st_size > 0
    assert made.parent.stat().st_ino in synced
    assert made.stat().st_mode & 0o777 == 0o600


@pytest.mark.requirement("F-09")
@pytest.mark.parametrize("put", [make_secret, replace_secret])
def test_a_secret_that_the_disk_takes_a_part_of_is_not_there(
    put: Callable[[Path, bytes], None], tmp_path: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            put(tmp_path / "key", b"more than ten bytes")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_of_two_that_open_a_new_folder_at_the_same_time_the_second_takes_what_the_first_makes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each would seal or sign with a key of its own, which the other does not know."""
    making, second, lock = Event(), Event(), fcntl.flock

    def locking(file: int, how: int) -> None:
        if making.is_set():
            second.set()
        lock(file, how)

    def make(name: str) -> None:
        (second if making.is_set() else making).set()
        assert second.wait(HANGS_S)  # until the other one waits for its turn, or makes one too
        make_secret(tmp_path / f"{name}.key", name.encode())

    monkeypatch.setattr(fcntl, "flock", locking)
    with ThreadPoolExecutor(2) as both:
        one = both.submit(make_first, tmp_path, "*.key", lambda: make("one"))
        assert making.wait(HANGS_S)
        both.submit(make_first, tmp_path, "*.key", lambda: make("other")).result(HANGS_S)
        one.result(HANGS_S)
    assert [path.name for path in tmp_path.glob("*.key")] == ["one.key"]
