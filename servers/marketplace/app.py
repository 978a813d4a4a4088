"""What the marketplace ("MCP Central") offers, and its process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.marketplace import cards, openapi, rest
from servers.marketplace.approvals import page as approvals
from servers.marketplace.first_party.mounting import FirstParty
from servers.marketplace.gateway.door import Gateway
from servers.marketplace.gateway.own_tools import OwnTools
from servers.marketplace.gateway.together import Together
from servers.marketplace.invitations.invitations import PATH as INVITATION
from servers.marketplace.pages import page, paged
from servers.marketplace.providers.sign_in import CALLBACK
from servers.marketplace.providers.sign_in import PATH as PROVIDER
from servers.marketplace.services import Services, opened
from servers.marketplace.tools import (
    access,
    accounts,
    catalogue,
    connections,
    database,
    invitations,
    licences,
    publishing,
    registry,
    review,
    rules,
    usage,
)
from servers.marketplace.users.standing import StandingVerifier
from servers.marketplace.workers.worker import Worker
from shared.audit import AuditLog
from shared.auth import GivenKeys, TokenVerifier
from shared.auth.ended import PATH as ENDED_PATH
from shared.postgres.urls import database_urls
from shared.serving import Server, run_loop, serve
from shared.serving.failures import openai_error
from shared.serving.rest import route
from shared.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]
OFFERED = (
    catalogue, access, connections, registry, publishing, review, rules, licences, accounts, invitations, database,
    usage,
)  # fmt: skip
"""The tools, in the order of the list."""

INSTRUCTIONS = """\
MCP Central of the 0711 platform: the catalogue of MCP servers, and the door to those that are installed.

- What there is: list_marketplace_mcps by words, search_mcps by what you want to do. What this customer has:
  list_installed_mcps.
- install_mcp makes a server callable: its tools appear in this list, and alone at its `endpoint`.
- search_tools finds a tool of the installed servers or of MCP Central by words, with its arguments; call it by its name
  here. At this address with `?tools=search` the list leaves such tools out: they are called all the same, or with
  call_tool.
- Whose servers are installed and called, the token says. whoami tells account, customer and scopes; explain_access
  says why something is refused or missing.
"""


def build(settings: Settings, worker: Worker | None = None) -> Server:
    """The server with everything that it offers. `worker`: which of the machine's processes it runs in."""
    of_machine = worker or Worker()

    def services() -> Services:
        return server.services

    keys = GivenKeys(lambda: services().keys.jwks())  # noqa: PLW0108  # there are none yet
    verifier = StandingVerifier(TokenVerifier.of(settings, "marketplace", keys), lambda: services().standing)
    first_party = FirstParty(settings, keys)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Services]:
        urls = database_urls(settings, "user_registry")
        async with opened(settings, urls, verifier, of_machine) as held, first_party.running():
            yield held

    server = Server(
        "marketplace",
        settings,
        title="0711 MCP Central",
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        health=lambda: services().health(),
        verifier=verifier,
        audit=lambda: AuditLog(services().database),
        changed=lambda: services().changes.made_here(),  # noqa: PLW0108
        page=partial(_nothing, settings),
    )
    for offers in OFFERED:
        offers.register(server, services)
    # The first that is asked whether a path is its own: most are.
    server.mount(Gateway.serves, lambda scope, receive, send: services().gateway(scope, receive, send))
    _add_routes(server, services)
    if not of_machine.alone:
        server.route("/metrics", lambda request: services().peers.metrics(request, server.measured), public=True)
    server.mount(first_party.serves, first_party)
    server.surround(lambda own: _together(server, own))
    return server


def run(settings: Settings) -> None:
    """Serve until told to stop, in as many processes as the settings have.

    Raises:
        Unavailable: a worker cannot run, or ends again and again.
    """
    if settings.marketplace_workers == 1:
        run_loop(main(settings))
        return
    from servers.marketplace.workers.supervisor import supervised

    supervised(settings, build)


async def main(settings: Settings) -> None:
    """Serve until told to stop, in this process."""
    await serve([(build(settings).asgi(), settings.marketplace_port)], settings, "marketplace")


def _nothing(settings: Settings, request: Request) -> Response:
    """What a browser is shown where there is no page."""
    place = {"resource": settings.resource("marketplace"), "approvals": settings.url("marketplace") + approvals.PATH}
    return page(request, "nothing.html", 401, **place)


def _together(server: Server, own: ASGIApp) -> ASGIApp:
    """`/mcp`: own tools, and those that are installed for the caller."""
    made: list[Together] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if not made:
            held = server.services
            parts = (held.routes, held.relay, held.bridge, held.quotas, held.seal, held.peers)
            made.append(Together(server.settings, own, OwnTools(server.mcp), server.mcp.specs, *parts))
        await made[0](scope, receive, send)

    return app


def _add_routes(server: Server, services: Callable[[], Services]) -> None:
    def handled(handler: Callable[[Services], Handler]) -> Handler:
        async def handle(request: Request) -> Response:
            return await handler(services())(request)

        return handle

    def with_services(handler: Callable[[Request, Services], Awaitable[Response]]) -> Handler:
        async def handle(request: Request) -> Response:
            return await handler(request, services())

        return handle

    public: list[tuple[str, str, Callable[[Services], Handler]]] = [
        ("GET", "/oauth/authorize", lambda held: held.oauth.authorize),
        ("GET", "/oauth/consent", lambda held: held.consent.page),
        ("POST", "/oauth/consent", lambda held: paged(held.consent.answer)),
        ("GET", PROVIDER, lambda held: held.provider_pages.out),
        ("GET", CALLBACK, lambda held: held.provider_pages.back),
        ("GET", approvals.PATH, lambda held: held.approvals.ask),
        ("POST", approvals.PATH, lambda held: paged(held.approvals.answer)),
        ("GET", INVITATION, lambda held: held.invitation_page.ask),
        ("POST", INVITATION, lambda held: paged(held.invitation_page.answer)),
        ("POST", "/oauth/token", lambda held: held.oauth.token),
        ("POST", "/oauth/register", lambda held: held.oauth.register),
        ("POST", "/oauth/revoke", lambda held: held.oauth.revoke),
        ("POST", "/v1/login", lambda held: held.oauth.login),
        ("GET", "/.well-known/jwks.json", lambda held: held.oauth.jwks),
        ("GET", ENDED_PATH, lambda held: held.standing.ended),
        ("GET", "/.well-known/oauth-authorization-server", lambda held: held.oauth.metadata),
    ]
    for method, path, handler in public:
        server.route(path, handled(handler), [method], public=True)
    for path, handler in {
        "/v0.1/servers": rest.list_servers,
        "/v0.1/servers/{name:path}/versions": rest.list_versions,
        "/v0.1/servers/{name:path}/versions/{version}": rest.show_version,
    }.items():
        server.route(path, with_services(handler), scope="catalogue:read")
    server.route("/.well-known/ai-catalog.json", with_services(cards.index), public=True)
    server.route("/openapi.json", with_services(openapi.document), public=True)
    embeddings = handled(lambda held: held.compute.embeddings)
    server.route("/v1/embeddings", embeddings, ["POST"], scope="gateway:call", more=openai_error)
    server.route("/v1/vision", handled(lambda held: held.compute.vision), ["POST"], scope="gateway:call")
    card = route("/{any:path}", with_services(cards.card), ["GET"], None)
    server.mount(cards.serves, Starlette(routes=[card]))
