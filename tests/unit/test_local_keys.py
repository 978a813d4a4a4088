"""A home folder whose keys are gone while what they signed is there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from servers.cradle.images.signing import Signer
from servers.local.platform import running
from servers.local.signing import listed
from servers.marketplace.keys import KeyRing
from shared.errors import Conflict
from shared.settings import Settings
from tests.serving_rig import free_port


async def test_a_platform_that_has_lost_its_keys_does_not_start_with_new_ones(tmp_path: Path) -> None:
    parts = ("marketplace", "cradle", "orchestrator", "embedding", "vision", "postgres")
    ports = {f"{part}_port": free_port() for part in parts}
    settings = Settings(home=tmp_path / "home", **ports)
    Signer.open(settings.home / "keys")
    (settings.home / "archive" / "acme" / "p1-one").mkdir(parents=True)
    (key,) = (settings.home / "keys").glob("*.pem")
    key.rename(tmp_path / key.name)
    with pytest.raises(Conflict, match=r"keys has no image-signing\.pem.*from a backup"):
        async with running(settings, print):
            pass
    assert not list((settings.home / "keys").iterdir())
    assert not (settings.home / "postgres").exists()


def test_a_key_that_a_clock_made_ahead_of_time_is_not_shown_with_an_age_below_nothing(tmp_path: Path) -> None:
    ring = KeyRing(folder := tmp_path / "keys" / "signing")
    (made,) = folder.glob("*.pem")
    made.rename(folder / f"{time.time_ns() + 3600 * 10**9:020d}-{ring.signing.kid}.pem")
    assert listed(Settings(home=tmp_path)) == [f"{ring.signing.kid}  signs  0 min 0 s old"]
