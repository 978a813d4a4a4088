"""`Server`: what one server offers, and the ASGI application that offers it."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from mcp.server._otel import OpenTelemetryMiddleware
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from shared.auth import Principal, StandingCallers, TokenVerifier, Verifier, acting_as
from shared.errors import PlatformError
from shared.serving.application import Application, Health, health_route, no_icon
from shared.serving.audited import Log, audited, told_of
from shared.serving.calls import Calls
from shared.serving.endpoint import Endpoint
from shared.serving.failures import More
from shared.serving.guard import CALLER, Access
from shared.serving.metrics import measured, metrics_route
from shared.serving.resources import guarded
from shared.serving.rest import Handler, json_response, route
from shared.serving.tools import ToolServer
from shared.settings import ServerName, Settings
from shared.telemetry import following
from shared.version import VERSION

logging.getLogger("mcp").setLevel(logging.ERROR)  # below, the SDK writes what tools were given

Lifespan = Callable[[], AbstractAsyncContextManager[Any]]
SAME_FOR_ALL: dict[CacheableMethod, CacheHint] = {
    "tools/list": CacheHint(ttl_ms=60_000, scope="public"),
    "resources/templates/list": CacheHint(ttl_ms=60_000, scope="public"),
}
"""Lists that do not depend on the caller; clients may keep them for a minute."""
METADATA_PATH = "/.well-known/oauth-protected-resource"


class Server:
    """One server: its tools, resources and routes. Declare everything, then `asgi()` or `run_stdio()`.

    Args:
        name: which of the platform's servers; decides the audience of tokens.
        lifespan: opened once around everything that the process serves; what it yields is `server.services`.
        health: what `GET /health` answers; `status` other than `healthy`, `ok` or `ready` gives 503. No token needed.
        verifier: default: tokens of the marketplace for this server, of accounts that stand.
        mcp: False for a port that has routes only.
        resource_url: address of the MCP endpoint; default: the setting's.
        issuer: who issues its tokens, for the OAuth metadata; default: the marketplace; '': nobody, it has keys only.
        hosts: further names that the server may be called by; `*`: any.
        max_body_bytes: largest request; default: the setting's.
        extensions: of the SDK, such as tasks.
        audit: the log that every call of a tool that is not read-only is in before it runs.
        changed: called after each of those calls.
        page: what a browser without a token is shown where there is nothing for it; default: the error as JSON.
    """

    def __init__(
        self,
        name: ServerName,
        settings: Settings,
        *,
        title: str = "",
        instructions: str | None = None,
        lifespan: Lifespan | None = None,
        health: Health | None = None,
        verifier: Verifier | None = None,
        mcp: bool = True,
        resource_url: str | None = None,
        issuer: str | None = None,
        hosts: Iterable[str] = (),
        max_body_bytes: int | None = None,
        extensions: Sequence[Extension] = (),
        audit: Callable[[], Log] | None = None,
        changed: Callable[[], None] | None = None,
        page: Callable[[Request], Response] | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.services: Any = None
        self.verifier = verifier or StandingCallers(TokenVerifier.of(settings, name), settings.url("marketplace"))
        self.resource_url = resource_url or settings.resource(name)
        self._issuer = settings.url("marketplace") if issuer is None else issuer
        self._has_mcp = mcp
        self._lifespan = lifespan
        self._audit = audit
        self._changed = changed
        self._calls = Calls()
        self._stdio_caller: Callable[[], Awaitable[Principal]] | None = None
        self._routes: list[Route] = []
        self._mounts: list[tuple[Callable[[str], bool], ASGIApp]] = []
        self._around: Callable[[ASGIApp], ASGIApp] = lambda app: app
        self._access = Access(
            self.verifier,
            _names(settings, self.resource_url, hosts),
            _origin(self.resource_url),
            _metadata_url(self.resource_url) if self._issuer else None,
            max_body_bytes or settings.max_body_bytes,
            page=page,
        )
        self.mcp = self._tool_server(title or name, instructions, list(extensions))
        self.route("/health", health_route(health), ["GET"], public=True)
        self.route("/favicon.ico", no_icon, ["GET"], public=True)
        self.measured = partial(measured, name, settings.home, health)
        self.route("/metrics", metrics_route(self.measured), ["GET"], public=True)

    def _tool_server(self, title: str, instructions: str | None, extensions: list[Extension]) -> ToolServer:
        if not logging.root.handlers:  # else the SDK installs one that shows messages
            logging.root.addHandler(logging.NullHandler())
        made = ToolServer(
            self.name,
            title=title,
            version=VERSION,
            instructions=instructions,
            extensions=extensions,
            middleware=[self._identify],
            cache_hints=SAME_FOR_ALL,
        )
        made.calls = self._calls
        made.middleware[:] = [
            _traced,  # in place of the SDK's, whose spans repeat what callers name and what errors say
            *(each for each in made.middleware if not isinstance(each, OpenTelemetryMiddleware)),
        ]
        return made

    def tool(
        self,
        fn: Callable[..., Any],
        *,
        scope: str,
        title: str,
        read_only: bool = False,
        destructive: bool = False,
        idempotent: bool = False,
        open_world: bool = False,
        deadline_s: float | None = None,
        counts: bool = False,
    ) -> None:
        """Offer an async function as the tool of its name. Its docstring says when to use it; it returns a contract
        model, or an `Annotated[CallToolResult, Model]` that it builds itself.

        Args:
            scope: what a token needs for it.
            deadline_s: longest time of one call; default `settings.call_deadline_s`.
            counts: it only adds numbers to what is counted; such calls are not in the audit log.

        Raises:
            TypeError: something of that is missing.
        """
        annotations = ToolAnnotations(
            title=title,
            read_only_hint=read_only,
            destructive_hint=destructive,
            idempotent_hint=idempotent,
            open_world_hint=open_world,
        )
        name = getattr(fn, "__name__", "")
        if self._audit is not None and not read_only and not counts:
            fn = audited(fn, name, self._audit)
        if self._changed is not None and not read_only and not counts:
            fn = told_of(fn, self._changed)
        self.mcp.declare(
            fn,
            scope=scope,
            title=title,
            name=name,
            annotations=annotations,
            deadline_s=deadline_s or self.settings.call_deadline_s,
        )
        self._access.scopes.add(scope)

    def resource(self, uri: str, fn: Callable[..., Awaitable[BaseModel]], *, scope: str, title: str) -> None:
        """Offer a resource or, with `{names}` in the address, a template. `fn` returns a model."""
        register = self.mcp.resource(
            uri,
            name=getattr(fn, "__name__", uri),
            title=title,
            description=(fn.__doc__ or "").strip(),
            mime_type="application/json",
        )
        register(guarded(fn, scope, self.settings.call_deadline_s))
        self._access.scopes.add(scope)

    def route(
        self,
        path: str,
        handler: Handler,
        methods: Sequence[str] = ("GET",),
        *,
        public: bool = False,
        scope: str | None = None,
        more: More | None = None,
    ) -> None:
        """Offer a route. It needs a token unless `public`, and `scope` in the token where one is named."""
        if public:
            self._access.public.add(path)
        if scope is not None:
            self._access.scopes.add(scope)
        if more is not None:
            self._access.more[path] = more
        self._routes = [
            each for each in self._routes if each.path != path or not set(methods) & (each.methods or set())
        ]
        self._routes.append(route(path, handler, list(methods), scope, more))

    def mount(self, serves: Callable[[str], bool], app: ASGIApp) -> None:
        """Hand the paths that `serves` accepts to an application that checks its callers itself."""
        self._access.own.append(serves)
        self._mounts.append((serves, app))

    def surround(self, around: Callable[[ASGIApp], ASGIApp]) -> None:
        """Put an application around `/mcp`; callers have been checked when it gets a request."""
        self._around = around

    def asgi(self) -> Application:
        """The application; call it once."""
        routes, mounts = list(self._routes), list(self._mounts)
        manager = None
        if self._has_mcp:
            self.mcp.streamable_http_app(
                stateless_http=True,
                max_request_body_size=self._access.limit,
                transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),  # the guard's work
            )
            manager = self.mcp.session_manager
            endpoint = Endpoint(manager.asgi_app, self.mcp.specs, self._access, self._calls)
            mounts.insert(0, ("/mcp".__eq__, self._around(endpoint)))
        for path in (METADATA_PATH, METADATA_PATH + "/mcp") if self._issuer else ():
            self._access.public.add(path)
            routes.append(route(path, self._metadata, ["GET"], None))

        @asynccontextmanager
        async def lifespan() -> AsyncIterator[None]:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._opened())
                if manager is not None:
                    await stack.enter_async_context(manager.run())
                yield

        return Application(routes, mounts, self._access, lifespan)

    async def run_stdio(self, caller: Callable[[], Awaitable[Principal]]) -> None:
        """Serve standard input and output until input ends.

        Args:
            caller: asked at each call who makes it.
        """
        from shared.serving.stdio import run_stdio

        self._stdio_caller = caller
        async with self._opened():
            await run_stdio(self.mcp)

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[None]:
        if self._lifespan is None:
            yield
            return
        async with self._lifespan() as services:
            self.services = services
            yield

    async def _identify(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Whatever the SDK handles runs for the caller of its request."""
        with acting_as(await self._caller(ctx)):
            return await call_next(ctx)

    async def _caller(self, ctx: ServerRequestContext[Any, Any]) -> Principal | PlatformError | None:
        if isinstance(ctx.request, Request):
            return ctx.request.scope.get(CALLER)
        if self._stdio_caller is None or ctx.method in _NAMELESS or ctx.method.startswith("notifications/"):
            return None
        try:
            return await self._stdio_caller()
        except PlatformError as error:
            return error

    async def _metadata(self, request: Request) -> Response:
        return json_response(
            {
                "resource": self.resource_url,
                "authorization_servers": [self._issuer],
                "scopes_supported": sorted(self._access.scopes),
                "bearer_methods_supported": ["header"],
            },
            headers={"cache-control": "public, max-age=300"},
        )


async def _traced(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    with following(ctx.meta):
        return await call_next(ctx)


_NAMELESS = frozenset(
    {"initialize", "ping", "server/discover", "tools/list", "resources/list", "resources/templates/list"}
)


def _names(settings: Settings, resource_url: str, hosts: Iterable[str]) -> frozenset[str]:
    named = {settings.host, urlsplit(resource_url).hostname or "", *hosts}
    return frozenset(named - {"", "0.0.0.0", "::"})  # noqa: S104  # compared, not bound


def _metadata_url(resource_url: str) -> str:
    return _origin(resource_url) + METADATA_PATH + urlsplit(resource_url).path.rstrip("/")


def _origin(url: str) -> str:
    place = urlsplit(url)
    return f"{place.scheme}://{place.netloc}"
