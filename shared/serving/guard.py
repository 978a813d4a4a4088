"""Every HTTP request passes here first: host, origin, token. What is not listed as public needs a token."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.auth import Principal, Verifier, acting_as
from shared.errors import Forbidden, InvalidInput, PlatformError, Unauthenticated
from shared.serving.failures import More, asks_rpc, http_response
from shared.serving.rest import LIMIT, too_large

RawHeaders = Sequence[tuple[bytes, bytes]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
SCHEMES = ("http", "https")  # a proxy may have taken the s away
MISDIRECTED = 421
CALLER = "0711.caller"
UNTOLD = 8 * 2**20
"""Largest body in bytes that comes in chunks: so much of it is in memory when it turns out to be too large."""


@dataclass
class Access:
    """Who may do what on a server.

    Args:
        hosts: names that the Host header may have; `*`: any. Loopback names always may.
        origin: the public address without a path; pages from there, or from where the request went, may call.
        metadata_url: where the OAuth metadata of this server is (RFC 9728); None where no server issues tokens for it.
        limit: largest body in bytes; at most `UNTOLD` of one that comes in chunks.
        public: paths that need no token.
        own: paths whose application checks its callers itself.
        page: what a browser without a token is shown in place of the error; None: the error, as everybody else.
        more: path → what its clients read of an error beside the platform's own form.
    """

    verifier: Verifier
    hosts: frozenset[str]
    origin: str
    metadata_url: str | None
    limit: int
    public: set[str] = field(default_factory=set)
    own: list[Callable[[str], bool]] = field(default_factory=list)
    scopes: set[str] = field(default_factory=set)
    page: Callable[[Request], Response] | None = None
    more: dict[str, More] = field(default_factory=dict)

    def needs_token(self, path: str) -> bool:
        """Whether a path needs a token."""
        return path not in self.public and not any(serves(path) for serves in self.own)

    def challenge(self, error: PlatformError, scopes: Iterable[str] = ()) -> dict[str, str]:
        """The `WWW-Authenticate` header of a refusal (RFC 6750, RFC 9728)."""
        kind = "invalid_token" if isinstance(error, Unauthenticated) else "insufficient_scope"
        wanted = " ".join(sorted(scopes) or sorted(self.scopes))
        parts = [
            f'error="{kind}"',
            *([f'scope="{wanted}"'] if wanted else []),
            *([f'resource_metadata="{self.metadata_url}"'] if self.metadata_url else []),
        ]
        return {"www-authenticate": "Bearer " + ", ".join(parts)}


class Guard:
    """An ASGI application around another."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            caller = await self._admit(scope, scope["headers"])
        except PlatformError as error:
            await self._refusal(scope, error)(scope, receive, send)
            return
        limit = self._access.limit
        if values(scope["headers"], b"transfer-encoding"):
            limit = min(limit, UNTOLD)
        scope = {**scope, CALLER: caller, LIMIT: limit}
        with acting_as(caller):
            await self._app(scope, _bounded(receive, limit), send)

    def _refusal(self, scope: Scope, error: PlatformError) -> Response:
        page, nameless = self._access.page, isinstance(error, Unauthenticated)
        challenge = self._access.challenge(error) if nameless else {}
        if page is not None and nameless and is_browser(scope):
            response = page(Request(scope))
            response.headers.update(challenge)
        else:
            response = http_response(error, challenge, rpc=asks_rpc(scope), more=self._access.more.get(scope["path"]))
        response.status_code = MISDIRECTED if error.field == "host" else error.status
        return response

    async def _admit(self, scope: Scope, headers: RawHeaders) -> Principal | None:
        if scope["path"] != "/health":  # probes come by address
            check_host(headers, self._access.hosts, self._access.origin)
        caller = await self._caller(headers) if self._access.needs_token(scope["path"]) else None
        told = (values(headers, b"content-length") or [b"0"])[0]
        if not told.isdigit() or len(told) > 15:
            raise InvalidInput("The header Content-Length is not a number.")
        if int(told) > self._access.limit:
            raise too_large(self._access.limit)
        return caller

    async def _caller(self, headers: RawHeaders) -> Principal:
        given = values(headers, b"authorization")
        kind, _, token = given[0].decode("latin-1").partition(" ") if len(given) == 1 else ("", "", "")
        if kind.lower() != "bearer" or not token.strip():
            raise Unauthenticated("A token is needed: send it as `Authorization: Bearer …`.")
        return await self._access.verifier.verify(token.strip())


def is_browser(scope: Scope) -> bool:
    """Whether a person's browser asks for a page: it says that it takes HTML, and sends no token."""
    headers = scope["headers"]
    wants = b",".join(values(headers, b"accept")).lower()
    return scope["method"] == "GET" and b"text/html" in wants and not values(headers, b"authorization")


def _bounded(receive: Receive, limit: int) -> Receive:
    """Refuses a body, once, that turns out to be over the limit while it is read."""
    taken, refused = 0, False

    async def receiving() -> Message:
        nonlocal taken, refused
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit and not refused:
            refused = True
            raise too_large(limit)
        return message

    return receiving


def values(headers: RawHeaders, wanted: bytes) -> list[bytes]:
    """The values of a header. Names are in lower case, as ASGI has them."""
    return [value for name, value in headers if name == wanted]


def check_host(headers: RawHeaders, allowed: frozenset[str], own_origin: str) -> None:
    """Refuses names that are not this server's, and pages of other origins (DNS rebinding).

    Raises:
        Forbidden: the Host header is not one of `allowed` (field `host`), or the request is from another origin.
    """
    hosts = [host.decode("latin-1") for host in values(headers, b"host")]
    name = _host_name(hosts[0]) if len(hosts) == 1 else None
    if "*" not in allowed and (name is None or (name not in LOOPBACK and name not in allowed)):
        raise Forbidden("This server has another name: use its public address.", field="host")
    for origin in values(headers, b"origin"):
        if origin.decode("latin-1") in {own_origin, *(f"{kind}://{host}" for kind in SCHEMES for host in hosts)}:
            continue
        raise Forbidden("Pages of another origin may not call this server.", field="origin")


@lru_cache(maxsize=256)
def _host_name(host: str) -> str | None:
    try:
        return urlsplit("//" + host).hostname if host.isascii() else None
    except ValueError:
        return None
