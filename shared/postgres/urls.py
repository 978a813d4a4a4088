"""The addresses of the platform's databases, kept in `home/databases.json` (0600)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import orjson

from shared.errors import Unavailable
from shared.secret_files import replace_secret
from shared.settings import Settings

FILE = "databases.json"


@dataclass(frozen=True)
class DatabaseUrls:
    """One database's addresses, one for each role.

    Attributes:
        app: the application's role: reads and writes rows under row-level security, owns nothing.
        owner: the role that migrates and owns every table. Not for serving.
        dbos: the role that owns the schema `dbos` (durable workflows); only in `platform`.
    """

    app: str = field(repr=False)
    owner: str = field(repr=False)
    dbos: str | None = field(default=None, repr=False)


def database_urls(settings: Settings, name: str) -> DatabaseUrls:
    """The addresses of `platform`, `installation_configs` or `user_registry`.

    Raises:
        Unavailable: the databases have not been set up.
    """
    stored = read(settings.home)
    if name not in stored:
        raise Unavailable("The databases are not set up. Run `0711 up` once.")
    return stored[name]


def read(home: Path) -> dict[str, DatabaseUrls]:
    """What `databases.json` holds; nothing where there is no file."""
    try:
        stored = orjson.loads((home / FILE).read_bytes())
        return {name: DatabaseUrls(**urls) for name, urls in stored.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError):
        raise Unavailable(f"{home / FILE} cannot be read. Remove it and run `0711 up` to write it anew.") from None


def write(home: Path, urls: dict[str, DatabaseUrls]) -> None:
    """Replaces `databases.json` as a whole, readable by its owner alone."""
    body = orjson.dumps({name: asdict(each) for name, each in urls.items()}, option=orjson.OPT_INDENT_2)
    replace_secret(home / FILE, body)


def with_role(url: str, database: str, role: str, password: str) -> str:
    """The same server's URL for another database and role; options such as `sslmode` stay."""
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(
        ("postgresql", f"{quote(role)}:{quote(password, safe='')}@{address}", f"/{database}", parts.query, "")
    )


def password_of(url: str) -> str | None:
    """The password in a URL."""
    found = urlsplit(url).password
    return unquote(found) if found is not None else None
