"""`0711 keys`: the keys that sign tokens. Each change is in the audit log first, so it does not happen without one."""

from __future__ import annotations

import time

from servers.local.connect import starting
from servers.marketplace.keys import KeyRing
from servers.marketplace.services import key_ring
from servers.marketplace.tokens import LIFETIME_S
from shared.audit import AuditLog
from shared.auth.keys import FRESH_S
from shared.errors import Conflict, NotFound, Unavailable
from shared.postgres.database import Database
from shared.postgres.urls import database_urls
from shared.settings import Settings

ACTOR = "operator"
SETTLED_S = LIFETIME_S + FRESH_S
"""Seconds after which no token of an older key is in use and no verifier lacks the newer one."""


def listed(settings: Settings) -> list[str]:
    """A line for each key, the oldest first; the last one signs.

    Raises:
        Unavailable: there are none yet; none is made.
    """
    keys = _ring(settings).ages()
    newest = keys[-1][0]
    return [f"{kid}  {'signs' if kid == newest else 'verifies'}  {_age(age_s)} old" for kid, age_s in keys]


async def rotate(settings: Settings) -> str:
    """Make a key that signs from now on; the older ones go on verifying. Its id.

    Raises:
        Unavailable: the audit log cannot be written, so nothing was changed.
    """
    ring = _ring(settings)
    await _note(settings, "signing_key.rotated", ring.signing.kid)
    return ring.rotate().kid


async def retire(settings: Settings, kid: str, *, now: bool = False) -> None:
    """Remove an older key; its tokens are refused as soon as the verifiers' caches have gone over it.

    Args:
        now: it may be known to others: do not wait for the tokens that it signed.

    Raises:
        NotFound: there is no such key.
        Conflict: it signs, or tokens that it signed are still in use.
        Unavailable: the audit log cannot be written, so nothing was changed.
    """
    ring = _ring(settings)
    keys = ring.ages()
    place = next((number for number, (each, _) in enumerate(keys) if each == kid), None)
    if place is None:
        raise NotFound("There is no such key: `0711 keys list` names them.")
    if place == len(keys) - 1:
        raise Conflict("This key signs: make another first with `0711 keys rotate`.")
    left_s = SETTLED_S - keys[place + 1][1]
    if left_s > 0 and not now:
        raise Conflict(f"Tokens of this key are in use for {_age(left_s)} more: wait, or end them with --now.")
    await _note(settings, "signing_key.retired", kid)
    ring.retire(kid)


def _ring(settings: Settings) -> KeyRing:
    folder = settings.home / "keys" / "signing"
    if not any(folder.glob("*.pem")):  # opening the ring of a mistyped home would make one
        raise Unavailable(f"There are no keys in {settings.home} yet. Start the platform: {starting(settings)}")
    return key_ring(settings)


async def _note(settings: Settings, verb: str, kid: str) -> None:
    async with Database(database_urls(settings, "user_registry").app) as database:
        await AuditLog(database).append(ACTOR, verb, kid, detail={"at": int(time.time())})


def _age(seconds: float) -> str:
    days, rest = divmod(max(0, int(seconds)), 86_400)  # the clock may have been ahead when the key was made
    return f"{days} d {rest // 3600} h" if days else f"{rest // 60} min {rest % 60} s"
