"""`0711 keys`: a new key signs, the old one verifies to its end, and no key changes without an audit entry."""

from __future__ import annotations

import time
from typing import Any

import pytest

from servers.local.audit import LOGS
from servers.local.signing import SETTLED_S, listed, retire, rotate
from shared.errors import Conflict, NotFound, PlatformError, Unauthenticated
from shared.postgres.urls import write
from tests.marketplace_rig import Market


@pytest.fixture(autouse=True)
def _every_log_is_the_marketplaces(market: Market) -> None:
    write(market.settings.home, dict.fromkeys(LOGS, market.urls))


@pytest.mark.requirement("A-03", "A-10")
async def test_a_running_marketplace_signs_with_the_new_key_and_takes_tokens_of_the_old_one_until_it_is_retired(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.auth.verifier.TRUSTED_S", 0.0)
    settings, old = market.settings, await market.operator()
    first = listed(settings)[0].split()[0]
    second = await rotate(settings)
    assert [line.split()[:2] for line in listed(settings)] == [[first, "verifies"], [second, "signs"]]
    new = await market.operator()
    for token in (old, new):
        await market.call(token, "whoami")
    with pytest.raises(Conflict, match="in use"):
        await retire(settings, first)
    with pytest.raises(Conflict, match="signs"):
        await retire(settings, second, now=True)
    with pytest.raises(NotFound):
        await retire(settings, "nothing", now=True)
    await retire(settings, first, now=True)
    with pytest.raises(Unauthenticated):
        await market.call(old, "whoami")
    await market.call(new, "whoami")


@pytest.mark.requirement("A-03")
async def test_a_key_whose_tokens_have_ended_is_retired_without_force(market: Market) -> None:
    first = listed(market.settings)[0].split()[0]
    second = await rotate(market.settings)
    folder = market.settings.home / "keys" / "signing"
    made = time.time_ns() - int((SETTLED_S + 1) * 1e9)
    next(folder.glob(f"*-{second}.pem")).rename(folder / f"{made:020d}-{second}.pem")
    next(folder.glob(f"*-{first}.pem")).rename(folder / f"{made - 1:020d}-{first}.pem")
    await retire(market.settings, first)
    assert len(listed(market.settings)) == 1


@pytest.mark.requirement("A-10")
async def test_without_an_audit_log_no_key_changes(market: Market, postgres_server: Any) -> None:
    async with postgres_server.superuser(market.urls) as superuser:
        await superuser.execute("ALTER TABLE audit RENAME TO audit_away")
        before = listed(market.settings)[0].split()[0]
        with pytest.raises(PlatformError):
            await rotate(market.settings)
        assert [line.split()[0] for line in listed(market.settings)] == [before]
        await superuser.execute("ALTER TABLE audit_away RENAME TO audit")
        await rotate(market.settings)
        rows = await superuser.fetch("SELECT verb FROM audit ORDER BY number DESC LIMIT 1")
        assert rows[0]["verb"] == "signing_key.rotated"
