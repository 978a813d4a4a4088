"""Every tool and route of every server: a token is needed but on a listed set, and each tool's scope is asked for.

Generated from what the servers offer, so that nothing new can be forgotten.
"""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from servers.cradle import app as cradle
from servers.instance import app as instance
from servers.marketplace import app as marketplace
from servers.marketplace import policy
from servers.marketplace.users.standing import StandingVerifier
from servers.orchestrator import app as orchestrator
from servers.orchestrator.workflows.steps import INSTANCE_TOOLS
from shared.auth import AccessKeyVerifier, Principal, StandingCallers
from shared.contracts.instance import InstanceConfig
from shared.ids import digest
from shared.serving import Server
from shared.settings import Settings
from tests.marketplace_rig import Market
from tests.serving_rig import envelope, headers_for

METADATA = {"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"}
PUBLIC = {"/health", "/metrics", "/favicon.ico"} | METADATA
OPEN_AT_MARKETPLACE = {
    "/oauth/authorize", "/oauth/consent", "/oauth/token", "/oauth/register", "/oauth/revoke", "/v1/login",
    "/oauth/provider", "/oauth/callback",
    "/approvals", "/invitation",  # pages: the first asks for a password, the second is opened by a secret
    "/.well-known/jwks.json", "/.well-known/ended.json", "/.well-known/oauth-authorization-server",
    "/.well-known/ai-catalog.json", "/openapi.json",  # what describes the server
}  # fmt: skip


def servers(folder: Path) -> dict[str, Server]:
    """Every server of the platform, none of them started."""
    settings = Settings(home=folder)
    config = InstanceConfig(
        customer_id="acme", company_name="Acme", tag="p1", fingerprint=digest(b"f"), dataset_digest=digest(b"d"),
        parameter_version=1,
    )  # fmt: skip
    (folder / "instance.json").write_text(config.model_dump_json())
    place = instance.Place(folder, folder, folder / "instance.json")
    control, embeddings, reading = cradle.build(settings)
    return {
        "orchestrator": orchestrator.build(settings, works=False),
        "marketplace": marketplace.build(settings),
        "cradle": control,
        "embeddings": embeddings,
        "vision": reading,
        "instance": instance.build(settings, place, "access-key-of-the-test"),
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Server]:
    return servers(tmp_path_factory.mktemp("servers"))


@pytest.mark.requirement("A-05")
def test_every_tool_declares_a_scope_that_the_policy_knows(built: dict[str, Server]) -> None:
    for name, server in built.items():
        known = policy.SCOPES_OF_SERVER.get(name, frozenset())
        if name == "instance":
            known = known | policy.APPROVED_WRITE | {"dataset:update"}  # the last one is its access key's
        scopes = {tool: spec.scope for tool, spec in server.mcp.specs.items()}
        assert set(scopes.values()) <= known, (name, scopes)
    assert sum(len(server.mcp.specs) for server in built.values()) > 40


@pytest.mark.requirement("A-04")
def test_every_server_of_the_platform_asks_whether_an_account_still_stands(built: dict[str, Server]) -> None:
    asking = {name: type(server.verifier) for name, server in built.items()}
    assert asking.pop("marketplace") is StandingVerifier  # its own registry
    assert asking.pop("instance") is AccessKeyVerifier  # it runs without the platform
    assert set(asking.values()) == {StandingCallers}


def test_the_catalogue_is_told_every_tool_of_an_instance_that_its_customer_may_call(built: dict[str, Server]) -> None:
    tools = {name for name, spec in built["instance"].mcp.specs.items() if spec.scope == "dataset:read"}
    assert {*INSTANCE_TOOLS, "list_versions"} == tools  # the last one is asked by the platform


@pytest.mark.requirement("A-05")
async def test_every_route_but_the_listed_ones_answers_401_without_a_token(built: dict[str, Server]) -> None:
    for name, server in built.items():
        app = server.asgi()
        assert server._access.public <= PUBLIC | (OPEN_AT_MARKETPLACE if name == "marketplace" else set()), name
        paths = {route.path: sorted(route.methods or {"GET"})[-1] for route in server._routes} | {"/mcp": "POST"}
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app),
            base_url="http://127.0.0.1",  # pyright: ignore
        ) as client:
            for path, method in paths.items():
                if path in server._access.public:
                    continue
                for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Basic eDp5"}):
                    answer = await client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
                    assert answer.status_code == 401, (name, path)
                    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


class Nobody:
    """Lets everyone in with no scope at all."""

    async def verify(self, token: str) -> Principal:
        return Principal("usr_nobody", "customer_user", frozenset(), "acme", "key", 9e9)


@pytest.mark.requirement("A-05")
@pytest.mark.parametrize("name", ["orchestrator", "cradle", "instance"])
async def test_every_tool_without_its_scope_is_403_with_that_scope_in_the_challenge(
    built: dict[str, Server], name: str
) -> None:
    server = built[name]
    object.__setattr__(server._access, "verifier", Nobody())
    transport = httpx2.ASGITransport(app=server.asgi())  # pyright: ignore
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        for tool, spec in server.mcp.specs.items():
            await refused(client, "", "any", tool, spec.scope)


@pytest.mark.requirement("A-05")
async def test_every_tool_of_the_marketplace_without_its_scope_is_403_too(
    market: Market, built: dict[str, Server]
) -> None:
    scopes = {spec.scope for spec in built["marketplace"].mcp.specs.values()}
    without = {
        scope: await market.token(market.credential("operator"), scope=" ".join(scopes - {scope})) for scope in scopes
    }
    for tool, spec in built["marketplace"].mcp.specs.items():
        await refused(market.http, market.base, without[spec.scope], tool, spec.scope)


async def refused(client: httpx2.AsyncClient, base: str, token: str, tool: str, scope: str) -> None:
    body = envelope("tools/call", {"name": tool, "arguments": {}})
    answer = await client.post(base + "/mcp", json=body, headers=headers_for(token, "tools/call", tool))
    assert answer.status_code == 403, tool
    challenge = answer.headers["www-authenticate"]
    assert f'scope="{scope}"' in challenge, tool
    assert 'error="insufficient_scope"' in challenge, tool
