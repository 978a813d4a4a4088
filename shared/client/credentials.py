"""Credentials of this machine's home folder: the servers' own, and the operator's for use over stdio."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import orjson

from shared.client.tokens import TokenSource
from shared.errors import Unavailable
from shared.settings import Settings

Holder = Literal["orchestrator", "cradle", "operator"]


class FileTokens:
    """Tokens for the credential in `home/keys/<holder>.json`. Read on first use, and when it was replaced."""

    def __init__(self, settings: Settings, holder: Holder) -> None:
        self._settings = settings
        self._path: Path = settings.home / "keys" / f"{holder}.json"
        self._written: tuple[int, int] | None = None
        self._source: TokenSource | None = None

    async def token(self, resource: str, customer: str | None) -> str:
        """A token for the server at `resource`.

        Raises:
            Unavailable: there is no credential yet, or the marketplace does not answer.
        """
        return await self._current().token(resource, customer)

    def forget(self, token: str) -> bool:
        """The server refused this token."""
        return self._source.forget(token) if self._source is not None else False

    def _current(self) -> TokenSource:
        try:
            about = self._path.stat()
            written = about.st_ino, about.st_mtime_ns
            if self._source is None or written != self._written:
                told = orjson.loads(self._path.read_bytes())
                self._source = TokenSource(self._settings, told["client_id"], told["client_secret"])
                self._written = written
        except (OSError, ValueError, KeyError, TypeError):
            raise Unavailable("The platform is not set up in this home folder: start it with `0711 up`.") from None
        return self._source
