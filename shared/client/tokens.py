"""Tokens that this process sends upstream. A caller's own token never travels there."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from shared.client.connections import open_client, unavailable
from shared.errors import META, Internal, PlatformError, Unauthenticated, Unavailable, from_dict
from shared.settings import Settings

SPARE_S = 60.0
"""A token is not used in its last minute: the call it goes with has to end before it does."""
FETCH_DEADLINE_S = 10.0

Key = tuple[str, str | None]


class Tokens(Protocol):
    """Where the bearer tokens of an upstream come from."""

    async def token(self, resource: str, customer: str | None) -> str:
        """A token for the server at `resource` that acts for `customer`."""
        ...

    def forget(self, token: str) -> bool:
        """The server refused this token. True: another one can be had."""
        ...


class StaticKey:
    """Always the same key, such as an instance's access key."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def token(self, resource: str, customer: str | None) -> str:
        return self._key

    def forget(self, token: str) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _Held:
    token: str
    until: float


class TokenSource:
    """Client credentials against tokens of the marketplace, each used until shortly before it expires."""

    def __init__(self, settings: Settings, client_id: str, client_secret: str) -> None:
        self._url = settings.url("marketplace") + "/oauth/token"
        self._client_id = client_id
        self._secret = client_secret
        self._held: dict[Key, _Held] = {}
        self._fetching: dict[Key, asyncio.Task[str]] = {}

    async def token(self, resource: str, customer: str | None) -> str:
        """A token. Calls that want the same one share one request.

        Raises:
            Unauthenticated: the credential is not valid any more.
            Forbidden: it may not act for this customer or on this server.
            Unavailable: the marketplace does not answer.
        """
        key = (resource, customer)
        held = self._held.get(key)
        if held is not None and held.until > time.monotonic():
            return held.token
        task = self._fetching.get(key)
        if task is None:
            task = self._fetching[key] = asyncio.create_task(self._fetch(key))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)

    def forget(self, token: str) -> bool:
        """Drop a token that was refused, such as after a rotation of keys."""
        self._held = {key: held for key, held in self._held.items() if held.token != token}
        return True

    def _done(self, key: Key, task: asyncio.Task[str]) -> None:
        self._fetching.pop(key, None)
        if not task.cancelled():
            task.exception()  # seen, also where every caller has left

    async def _fetch(self, key: Key) -> str:
        resource, customer = key
        form = {
            "grant_type": "client_credentials",
            "client_id": self._client_id,
            "client_secret": self._secret,
            "resource": resource,
        }
        form |= {"customer": customer} if customer else {}
        body = await self._post(form)
        token, lifetime = body.get("access_token"), body.get("expires_in")
        if not isinstance(token, str) or not isinstance(lifetime, int | float):
            raise Unavailable("The marketplace's answer is not a token: look at its version.")
        usable = max(lifetime - SPARE_S, lifetime / 2)
        self._held[key] = _Held(token, time.monotonic() + usable)
        return token

    async def _post(self, form: dict[str, str]) -> dict[str, Any]:
        import aiohttp

        try:
            async with (
                asyncio.timeout(FETCH_DEADLINE_S),
                open_client() as client,
                client.post(self._url, data=form, allow_redirects=False) as response,
            ):
                body = orjson.loads(await response.read())
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise unavailable("marketplace", error) from None
        if response.status == 200 and isinstance(body, dict):
            return body
        raise _refused(body)


def _refused(body: object) -> PlatformError:
    told = body.get(META) if isinstance(body, dict) else None
    if not isinstance(told, dict):
        return unavailable("marketplace")
    error = from_dict(told)
    if isinstance(error, Unauthenticated):
        return Unauthenticated("The credential of this process is not valid any more: restart `0711 up`.")
    return Unavailable("The marketplace failed: try again.") if isinstance(error, Internal) else error
