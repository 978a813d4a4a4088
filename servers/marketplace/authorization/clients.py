"""OAuth clients. None is stored: one is a document at an address of its own (client id metadata document), or was
registered and carries what it registered, sealed, in its id. So nobody can fill a table by registering."""

from __future__ import annotations

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import orjson
from mcp.server.auth.provider import RegistrationError
from mcp.shared.auth import InvalidRedirectUriError, OAuthClientInformationFull
from pydantic import AnyUrl, ValidationError

from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.unseen import without_unseen
from shared.client.stream import read_whole
from shared.errors import NotFound, Overloaded, TooLarge, Unavailable

SEALED = "dyn_"
NO_SECRET = "none"  # noqa: S105  # the method's name
LASTS_S = 365 * 24 * 3600.0
LARGEST_DOCUMENT = 16 * 1024
LONGEST_ID = 4000
MAX_REDIRECTS = 10
FETCH_S = 5.0
FRESH_S = 600.0
FAILED_S = 10.0
AT_ONCE = 8
"""Documents that are fetched at the same time: anybody can have one fetched."""
KEPT = 1000
ASKED = [("accept", "application/json"), ("accept-encoding", "identity")]
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]", "::1"})
HOST = re.compile(r"[a-z0-9._:\[\]-]*", re.IGNORECASE)
BY_ITSELF = frozenset({"javascript", "data", "file", "blob", "about", "vbscript"})
"""Schemes that a browser would run or open by itself."""

Known = TypeVar("Known")


class Client(OAuthClientInformationFull):
    """A client as the SDK's handlers see it."""

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """As the SDK's, with any port on loopback (RFC 8252, 7.3)."""
        if redirect_uri is not None and redirect_uri.scheme == "http" and redirect_uri.host in LOOPBACK:
            if any(_without_port(each) == _without_port(redirect_uri) for each in self.redirect_uris or []):
                return redirect_uri
            raise InvalidRedirectUriError("This address was not registered by the client.")
        try:
            return super().validate_redirect_uri(redirect_uri)
        except InvalidRedirectUriError:
            raise InvalidRedirectUriError("This address was not registered by the client.") from None

    def validate_scope(self, requested_scope: str | None) -> list[str] | None:
        """Any: what a token can hold is decided by the user's role and the server."""
        return requested_scope.split()[:50] if requested_scope else None


class Clients:
    """Finds clients by their ids.

    Args:
        inside: documents may stand on loopback and be fetched without TLS; only where the platform itself does.
    """

    def __init__(self, seal: SessionSeal, outgoing: Outgoing, *, inside: bool) -> None:
        self._seal = seal
        self._outgoing = outgoing
        self._inside = inside
        self._documents: OrderedDict[str, tuple[float, Client]] = OrderedDict()
        self._failures: OrderedDict[str, tuple[float, None]] = OrderedDict()
        self._fetching: dict[str, asyncio.Task[Client | None]] = {}

    def register(self, client: OAuthClientInformationFull) -> None:
        """Give a registered client its id.

        Raises:
            RegistrationError: what it registers cannot be used.
        """
        if not _usable(client):
            raise RegistrationError(
                "invalid_redirect_uri", "A redirect address is https, loopback or a private scheme."
            )
        kept = client.model_dump(
            mode="json",
            include={"redirect_uris", "client_name", "token_endpoint_auth_method", "grant_types", "client_secret"},
            exclude_none=True,
        )
        kept["client_name"] = _shown(kept)
        client.client_id = SEALED + self._seal.seal(orjson.dumps(kept).decode(), "client", lifetime_s=LASTS_S)
        if len(client.client_id) > LONGEST_ID:
            raise RegistrationError("invalid_client_metadata", "That is too much to register: name fewer addresses.")

    async def get(self, client_id: str) -> Client | None:
        """The client, or None where there is none with this id.

        Raises:
            Overloaded: too many documents are fetched just now.
        """
        if client_id.startswith(SEALED):
            try:
                kept = orjson.loads(self._seal.open(client_id.removeprefix(SEALED), "client"))
            except NotFound:
                return None
            return Client(**kept, client_id=client_id)
        if client_id.startswith("https://") or (self._inside and client_id.startswith("http://")):
            return await self._document(client_id)
        return None

    async def _document(self, client_id: str) -> Client | None:
        for known in (self._documents.get(client_id), self._failures.get(client_id)):
            if known is not None and known[0] > time.monotonic():
                return known[1]
        if not _names_document(client_id):
            return None
        return await asyncio.shield(self._fetching.get(client_id) or self._begun(client_id))

    def _begun(self, client_id: str) -> asyncio.Task[Client | None]:
        if len(self._fetching) >= AT_ONCE:
            raise Overloaded(
                "Too many programs are looked up at once: try again in a few seconds.", retry_after=FETCH_S
            )
        task = self._fetching[client_id] = asyncio.create_task(self._learned(client_id), name="client document")
        task.add_done_callback(lambda done: self._fetching.pop(client_id) and (done.cancelled() or done.exception()))
        return task

    async def _learned(self, client_id: str) -> Client | None:
        """The client as its document has it now; remembered, also where there is none."""
        client = _read(client_id, await self._fetch(client_id))
        if client is not None:
            _keep(self._documents, client_id, (time.monotonic() + FRESH_S, client))
        else:
            _keep(self._failures, client_id, (time.monotonic() + FAILED_S, None))
        return client

    async def _fetch(self, url: str) -> bytes:
        try:
            async with (
                asyncio.timeout(FETCH_S),
                self._outgoing.client(url, operated=self._inside, apart=True).request("GET", url, ASKED) as response,
            ):
                return await read_whole(response, LARGEST_DOCUMENT) if response.status == 200 else b""
        except (OSError, ValueError, TooLarge, Unavailable):
            return b""


def _names_document(client_id: str) -> bool:
    try:
        parts = urlsplit(client_id)
    except ValueError:  # no address, such as `https://[`
        return False
    return len(client_id) <= 500 and parts.path not in {"", "/"} and not parts.fragment and ".." not in parts.path


def _keep(known: OrderedDict[str, Known], client_id: str, told: Known) -> None:
    known[client_id] = told
    known.move_to_end(client_id)
    if len(known) > KEPT:
        known.popitem(last=False)


def _read(client_id: str, document: bytes) -> Client | None:
    try:
        told = orjson.loads(document)
        client = Client(
            client_id=told["client_id"],
            client_name=_shown(told),
            redirect_uris=told["redirect_uris"],
            token_endpoint_auth_method=told.get("token_endpoint_auth_method", NO_SECRET),
            grant_types=told.get("grant_types", ["authorization_code", "refresh_token"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError):
        return None
    # A public document cannot hold a secret, so such a client proves itself by its redirect address and PKCE alone.
    public = client.token_endpoint_auth_method == NO_SECRET
    return client if client.client_id == client_id and public and _usable(client) else None


def _shown(told: Mapping[str, object]) -> str:
    """The name that whoever consents reads: it moves or hides nothing of what stands around it."""
    return without_unseen(str(told.get("client_name", "")))[:100].strip()


def _usable(client: OAuthClientInformationFull) -> bool:
    uris = client.redirect_uris or []
    return 0 < len(uris) <= MAX_REDIRECTS and all(_redirect_allowed(each) for each in uris)


def _redirect_allowed(uri: AnyUrl) -> bool:
    if len(str(uri)) > 1000 or uri.fragment:
        return False
    # Who consents judges a client by the host that the answer goes to, and `https://known.example@evil.example` shows
    # another; the page's policy names that host as well, where a `;` would begin another directive.
    if uri.username or uri.password or not HOST.fullmatch(uri.host or ""):
        return False
    if uri.scheme == "http":
        return uri.host in LOOPBACK
    return uri.scheme == "https" or (
        uri.scheme not in BY_ITSELF and re.fullmatch(r"[a-z][a-z0-9.+-]+", uri.scheme) is not None
    )


def _without_port(uri: AnyUrl) -> tuple[str | None, ...]:
    return uri.scheme, uri.username, uri.password, uri.host, uri.path, uri.query
