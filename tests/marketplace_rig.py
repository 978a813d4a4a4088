"""A running marketplace on a real Postgres: the operator, two customers, and upstream servers to call through to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import jwt
import orjson
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.marketplace.app import build
from servers.marketplace.bootstrap import bootstrap
from servers.marketplace.tools.accounts import UserCreated
from shared.auth import RemoteKeys, TokenVerifier, principal
from shared.client import Upstream
from shared.contracts.catalogue import CustomerRegistered, InstanceRegistered
from shared.contracts.model import Contract
from shared.errors import PlatformError
from shared.ids import digest
from shared.postgres.urls import DatabaseUrls, read, write
from shared.serving import Server, report
from shared.serving.hanging_up import hung_up
from shared.settings import Settings
from tests.serving_rig import HANGS_S, envelope, free_port, headers_for, listening

DIGEST = digest(b"image")
CUSTOMERS = {"acme": "Acme GmbH", "bolt": "Bolt AG"}


class Said(Contract):
    """What the upstream's tools answer."""

    text: str


@dataclass
class Seen:
    """What an upstream saw and went through: tokens of calls and of the marketplace's own checks, every request's
    address and headers, and what became of a call that waits."""

    tokens: list[str] = field(default_factory=list)
    checks: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Credential:
    """A client id and its secret."""

    client_id: str
    client_secret: str


class Market:
    """A running marketplace, and what an outsider does with it. `server`: where it runs in this process."""

    def __init__(
        self,
        settings: Settings,
        urls: DatabaseUrls,
        http: httpx2.AsyncClient,
        stack: AsyncExitStack,
        server: Server | None = None,
    ) -> None:
        self.server = server
        self.settings = settings
        self.urls = urls
        self.http = http
        self.base = settings.url("marketplace")
        self.resource = settings.resource("marketplace")
        self._stack = stack

    def credential(self, name: str) -> Credential:
        """A credential file of the home folder."""
        kept = orjson.loads((self.settings.home / "keys" / f"{name}.json").read_bytes())
        return Credential(kept["client_id"], kept["client_secret"])

    async def ask_token(self, credential: Credential, **form: str) -> httpx2.Response:
        """`POST /oauth/token`."""
        body = {
            "grant_type": "client_credentials",
            "client_id": credential.client_id,
            "client_secret": credential.client_secret,
            "resource": self.resource,
        } | form
        return await self.http.post(self.base + "/oauth/token", data=body)

    async def token(self, credential: Credential, **form: str) -> str:
        """A token that is certainly given."""
        response = await self.ask_token(credential, **form)
        assert response.status_code == 200, response.text
        return response.json()["access_token"]

    async def call(self, token: str, tool: str, result: Any = None, **arguments: Any) -> Any:
        """A tool of the marketplace."""
        async with Upstream(self.resource, key=token) as upstream:
            return await upstream.call(tool, arguments, result)

    async def post_call(self, token: str, tool: str, path: str = "/mcp", **arguments: Any) -> httpx2.Response:
        """A tool's call as it is on the wire (2026-07-28)."""
        body = envelope("tools/call", {"name": tool, "arguments": arguments})
        return await self.http.post(self.base + path, json=body, headers=headers_for(token, "tools/call", tool))

    async def call_through(self, token: str, server_name: str, tool: str, on_progress: Any = None, **args: Any) -> Any:
        """A tool of an installed server, through the gateway."""
        async with Upstream(f"{self.base}/servers/{server_name}/mcp", key=token) as upstream:
            return await upstream.call(tool, args, Said, on_progress=on_progress)

    async def service(self) -> str:
        """A token of the orchestrator for the marketplace."""
        return await self.token(self.credential("orchestrator"))

    async def operator(self) -> str:
        """A token of the operator for the marketplace."""
        return await self.token(self.credential("operator"))

    async def add_customers(self) -> None:
        """Register the two customers."""
        token = await self.service()
        for customer_id, name in CUSTOMERS.items():
            await self.call(
                token, "register_customer", CustomerRegistered,
                customer_id=customer_id, company_name=name, contact_email=f"it@{customer_id}.example",
            )  # fmt: skip

    async def add_user(self, role: str, customer_id: str | None, email: str) -> UserCreated:
        """A user, made by the operator."""
        return await self.call(
            await self.operator(), "create_user", UserCreated, email=email, role=role, customer_id=customer_id
        )

    async def user_token(self, customer_id: str, role: str = "customer_admin", **form: str) -> str:
        """A token of a new user of a customer."""
        made = await self.add_user(role, customer_id, f"u{time.monotonic_ns()}@{customer_id}.example")
        return await self.token(Credential(made.client_id, made.client_secret), **form)

    async def add_instance(self, customer_id: str, url: str | None) -> str:
        """Register an instance of a customer; its server name."""
        made = await self.call(
            await self.service(), "register_instance", InstanceRegistered,
            customer_id=customer_id, name="instance", url=url, image_digest=DIGEST, tools=["say", "count"],
        )  # fmt: skip
        return made.server_name

    async def add_upstream(self) -> tuple[str, Seen]:
        """A real MCP server that accepts the marketplace's tokens; its endpoint and what it sees."""
        port, seen = free_port(), Seen()
        url = f"http://127.0.0.1:{port}/mcp"
        app = _seeing(upstream(self.settings, url, seen).asgi(), seen)
        await self._stack.enter_async_context(listening(app, port, self.settings))
        return url, seen

    async def add_app(self, app: ASGIApp) -> str:
        """Any application as an upstream; its endpoint."""
        port = free_port()
        await self._stack.enter_async_context(listening(app, port, self.settings))
        return f"http://127.0.0.1:{port}/mcp"


@asynccontextmanager
async def running_market(home: Path, urls: DatabaseUrls, **changes: Any) -> AsyncIterator[Market]:
    """A marketplace after its first start."""
    settings = Settings(home=home, marketplace_port=free_port(), **changes)
    write(home, {**read(home), "user_registry": urls})
    await bootstrap(settings)
    async with AsyncExitStack() as stack:
        server = build(settings)
        await stack.enter_async_context(listening(server.asgi(), settings.marketplace_port, settings))
        http = await stack.enter_async_context(httpx2.AsyncClient(trust_env=False, timeout=HANGS_S, verify=False))
        yield Market(settings, urls, http, stack, server)


def upstream(settings: Settings, url: str, seen: Seen) -> Server:
    """A small instance: tokens for its address only, checked with the marketplace's public keys."""
    keys = RemoteKeys(settings.url("marketplace") + "/.well-known/jwks.json")

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield
        await keys.aclose()

    verifier = TokenVerifier(url, settings.url("marketplace"), keys)
    server = Server("instance", settings, resource_url=url, verifier=verifier, lifespan=lifespan)

    async def say() -> Said:
        """Say who calls. Use it to see what the upstream is told."""
        caller = principal()
        return Said(text=f"{caller.subject} {caller.role} {caller.customer} {' '.join(sorted(caller.scopes))}")

    async def count(steps: int) -> Said:
        """Report progress. Use it to see that it passes."""
        for step in range(1, steps + 1):
            await report(step, steps, f"step {step}")
        return Said(text=str(steps))

    async def wait() -> Said:
        """Wait for ever. Use it to see cancellation."""
        seen.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.cancelled.set()
            raise
        return Said(text="")

    for fn in (say, count, wait):
        server.tool(fn, scope="dataset:read", title=fn.__name__.title(), read_only=True)
    return server


def answering(status: int, headers: dict[str, str], body: Callable[[], AsyncIterator[bytes]]) -> ASGIApp:
    """An upstream that lists one tool, `say`, and answers everything else like this."""

    async def produce(send: Send) -> None:
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        async for part in body():
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0)  # a server that is not read from must not keep the loop to itself
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if await listed(receive, send, [definition("say")]):
            return
        work = asyncio.create_task(produce(send))
        gone = asyncio.create_task(hung_up(receive))
        await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
        for task in (work, gone):
            task.cancel()
        await asyncio.gather(work, gone, return_exceptions=True)

    return app


def definition(name: str, description: str = "Say something.", **more: Any) -> dict[str, Any]:
    """A tool as its server defines it."""
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


async def listed(receive: Receive, send: Send, tools: list[dict[str, Any]]) -> bool:
    """Answer the request if it is `tools/list` of 2026-07-28; False where it is something else."""
    body = await body_of(receive)
    if b'"tools/list"' not in body:
        return False
    result = {"resultType": "complete", "tools": tools, "ttlMs": 0, "cacheScope": "private"}
    await answer_json(send, {"jsonrpc": "2.0", "id": orjson.loads(body)["id"], "result": result})
    return True


async def body_of(receive: Receive) -> bytes:
    """A request's whole body."""
    body, more = b"", True
    while more:
        event = await receive()
        body, more = body + event.get("body", b""), event.get("more_body", False)
    return body


async def answer_json(send: Send, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
    """Send a value as JSON."""
    told = {"content-type": "application/json", **(headers or {})}
    raw = [(name.encode(), text.encode()) for name, text in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": orjson.dumps(value)})


def _seeing(app: Any, seen: Seen) -> ASGIApp:
    class Seeing:
        lifespan = staticmethod(app.lifespan)

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            seen.requests.append(str([scope.get(part) for part in ("path", "query_string", "headers")]))
            for name, value in scope.get("headers", []):
                if name == b"authorization":
                    claims = jwt.decode(value.decode().split()[1], options={"verify_signature": False})
                    (seen.checks if claims["sub"] == "marketplace" else seen.tokens).append(value.decode())
            await app(scope, receive, send)

    return Seeing()


class Changing:
    """An upstream whose tools the test changes, and that says which tool was called. Speaks one era of the protocol.

    Args:
        era: what it speaks; an upstream of the older one wants a session and forgets it when told to.
    """

    def __init__(self, *tools: dict[str, Any], era: str = "modern", says: str = "") -> None:
        self.tools = list(tools)
        self.era = era
        self.says = says
        self.requests: list[str] = []
        self.messages: list[dict[str, Any]] = []
        self.refuses: dict[str, int] = {}
        self.arguments: list[Any] = []
        self.sessions: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        told = {name.decode(): value.decode() for name, value in scope["headers"]}
        asked = orjson.loads(await body_of(receive))
        self.requests.append(asked["method"])
        self.messages.append(asked)
        if asked["method"] in self.refuses:
            await answer_json(send, {"error": "refused"}, self.refuses[asked["method"]])
            return
        if "id" not in asked:
            await answer_json(send, None, 202)
            return
        if self.era == "legacy" and not self._in_session(asked, told):
            unknown = told.get("mcp-protocol-version") == "2026-07-28" or "mcp-session-id" not in told
            await answer_json(send, {"error": "no session"}, 400 if unknown else 404)
            return
        headers = {"mcp-session-id": self._opened()} if asked["method"] == "initialize" else {}
        await answer_json(send, {"jsonrpc": "2.0", "id": asked["id"], "result": self._result(asked)}, 200, headers)

    def _in_session(self, asked: dict[str, Any], told: dict[str, str]) -> bool:
        return asked["method"] == "initialize" or told.get("mcp-session-id") in self.sessions

    def _opened(self) -> str:
        session = f"session-{len(self.requests)}"
        self.sessions.add(session)
        return session

    def _result(self, asked: dict[str, Any]) -> dict[str, Any]:
        ends = {"resultType": "complete"} if self.era == "modern" else {}
        if asked["method"] == "tools/list":
            return {"tools": self.tools, **ends}
        if asked["method"] == "server/discover":
            return {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}, "prompts": {}}, **ends}
        if asked["method"] == "initialize":
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "x", "version": "1"},
            }
        name = asked["params"].get("name")
        self.arguments.append(asked["params"].get("arguments"))
        return {"content": [{"type": "text", "text": f"{self.says}{name}"}], "isError": False, **ends}


async def refusal(call: Any) -> PlatformError:
    """The error that a call ends with."""
    with pytest.raises(PlatformError) as caught:
        await call
    return caught.value
