"""The first start: keys, the services' secrets, the operator's account and the platform's own catalogue entries.

Each credential is a file of the home folder that only its owner can read. The file is the truth: doing it again makes
the database fit the files, so a lost file gives a new secret and a new database takes the old ones.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import orjson

from servers.marketplace import policy
from servers.marketplace.catalogue.own import own_entries
from servers.marketplace.catalogue.store import CatalogueStore
from servers.marketplace.services import key_ring
from servers.marketplace.users.secrets import Passwords, new_secret, secret_digest
from servers.marketplace.users.store import PLATFORM, User, UserStore
from shared.errors import Unavailable
from shared.ids import new_handle
from shared.postgres.database import Database
from shared.postgres.urls import database_urls
from shared.secret_files import replace_secret
from shared.settings import Settings

OPERATOR_EMAIL = "operator@localhost"


async def bootstrap(settings: Settings) -> None:
    """Make everything that `0711 up` needs to exist. Safe to repeat. The database is migrated already.

    Raises:
        Unavailable: a credential file cannot be read, or the database is not set up or does not answer.
    """
    key_ring(settings)
    async with Database(database_urls(settings, "user_registry").app) as database:
        users = UserStore(database)
        for client_id in policy.SCOPES_OF_SERVICE:
            await _service(users, settings.home, client_id)
        with closing(Passwords()) as passwords:
            await _operator(users, passwords, settings.home)
        entries = CatalogueStore(database)
        for entry in own_entries(settings):
            await entries.put(entry, "marketplace")


async def _service(users: UserStore, home: Path, client_id: str) -> None:
    path = _path(home, client_id)
    kept = _read(path) or {"client_id": client_id, "client_secret": new_secret()}
    await users.put_service(client_id, secret_digest(kept["client_secret"]))
    _write(path, kept)


async def _operator(users: UserStore, passwords: Passwords, home: Path) -> None:
    path = _path(home, "operator")
    kept = _read(path) or {
        "email": OPERATOR_EMAIL,
        "password": new_secret(),
        "client_id": new_handle("key"),
        "client_secret": new_secret(),
    }
    login = await users.login(kept["email"])
    if login is None:
        user = User(new_handle("usr"), kept["email"], "platform_admin", None, active=True)
        await users.add_user(user, await passwords.hash(kept["password"]), PLATFORM)
    else:
        user = login.user
        if not await passwords.matches(login.password_hash, kept["password"]):
            await users.set_password(user, await passwords.hash(kept["password"]), PLATFORM)
    await users.put_key(kept["client_id"], user, secret_digest(kept["client_secret"]), PLATFORM)
    _write(path, kept)


def _path(home: Path, name: str) -> Path:
    return home / "keys" / f"{name}.json"


def _read(path: Path) -> dict[str, str] | None:
    try:
        kept = orjson.loads(path.read_bytes())
        return {str(name): str(value) for name, value in kept.items()} if kept["client_secret"] else None
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Unavailable(f"{path} cannot be read. Remove it and run `0711 up` to write it anew.") from None


def _write(path: Path, kept: dict[str, str]) -> None:
    body = orjson.dumps(kept, option=orjson.OPT_INDENT_2)
    if not path.exists() or path.read_bytes() != body:
        replace_secret(path, body)
