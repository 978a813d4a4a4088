"""A small server on the real parts: keys, tokens, tools, loopback sockets. Tests of `shared` speak to it over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx2
import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from mcp_types import CallToolResult, TextContent
from pydantic import Field
from starlette.requests import Request
from starlette.types import ASGIApp

from shared.auth import GivenKeys, Principal, TokenVerifier, principal
from shared.contracts.model import Contract
from shared.errors import NotFound, Overloaded
from shared.serving import Server, read_json, report, run_loop, serve
from shared.settings import Settings

MODERN, LEGACY = "2026-07-28", "2025-11-25"
HANGS_S = 180
"""A wait over this is one that never ends: a machine may stand still for twenty seconds and more."""
HEARS_S = 40
"""A wait for what a replica is told by a notification: it asks again after a minute by itself, told or not."""
_held_ports: deque[socket.socket] = deque()


def free_port() -> int:
    """A loopback port that nothing listens on, and that the system gives to nobody else.

    It stays bound, which Linux lets a server that reuses addresses not mind: all of these do.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(("127.0.0.1", 0))
    port = int(held.getsockname()[1])
    _held_ports.append(held)
    while len(_held_ports) > (200 if sys.platform == "linux" else 0):  # a test's ports have served long before
        _held_ports.popleft().close()
    return port


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Answer(Contract):
    """What the rig's tools answer."""

    text: str
    number: int = 0


class Vector(Contract):
    """Numbers; no contract looks at what they are."""

    values: list[Any]


class Issuer:
    """A key pair and the tokens that it signs."""

    def __init__(self, kid: str = "one") -> None:
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())

    @property
    def jwk(self) -> dict[str, Any]:
        public = ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.kid, "use": "sig", "alg": "ES256"}

    @property
    def jwks(self) -> dict[str, Any]:
        return {"keys": [self.jwk]}

    def claims(self, settings: Settings, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": settings.url("marketplace"),
            "aud": settings.resource("cradle"),
            "sub": "user-1",
            "iat": now,
            "exp": now + 300,
            "jti": "tok_1",
            "scope": "read write",
            "role": "service",
            "customer": "acme",
            "client_id": "key-1",
        }
        claims.update(changes)
        return {name: value for name, value in claims.items() if value is not None}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode(claims, self.private, algorithm="ES256", headers={"kid": self.kid, **header})

    def token(self, settings: Settings, **changes: Any) -> str:
        return self.sign(self.claims(settings, **changes))


class Events:
    """What happened inside the rig's tools."""

    def __init__(self) -> None:
        self.started, self.cancelled, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()


def build(settings: Settings, keys: Issuer, events: Events | None = None, **options: Any) -> Server:
    """The rig's server."""
    happened = events or Events()
    options.setdefault("verifier", TokenVerifier.of(settings, "cradle", GivenKeys(keys.jwks)))
    server = Server("cradle", settings, title="Rig", instructions="For tests.", **options)

    async def echo(
        text: Annotated[str, Field(max_length=100)],
        number: Annotated[int, Field(ge=0, le=9)] = 0,
        weight: float = 0,
    ) -> Answer:
        """Say it back. Use it to see that a call arrives."""
        return Answer(text=text, number=number)

    async def whoami() -> Answer:
        """Say who calls. Use it to see the identity."""
        caller = principal()
        return Answer(text=f"{caller.subject} {caller.customer} {caller.role}")

    async def count_up(steps: int) -> Answer:
        """Report progress. Use it to see notifications."""
        for step in range(1, steps + 1):
            await report(step, steps, f"step {step}")
        return Answer(text="done", number=steps)

    async def wait() -> Answer:
        """Wait until told. Use it to see cancellation."""
        happened.started.set()
        try:
            await happened.go_on.wait()
        except asyncio.CancelledError:
            happened.cancelled.set()
            raise
        return Answer(text="went on")

    async def fail(kind: str) -> Answer:
        """Fail in some way. Use it to see errors."""
        if kind == "overloaded":
            raise Overloaded("All places are taken.", retry_after=2.5)
        if kind == "not_found":
            raise NotFound("There is no such thing.")
        raise RuntimeError(f"secret-canary {kind}")

    async def vector(last: str = "2.0") -> Annotated[CallToolResult, Vector]:
        """Give numbers. Use it to see explicit results."""
        values = [1.0, int(last) if last.isdecimal() else float(last)]
        return CallToolResult(
            content=[TextContent(type="text", text="2 numbers")], structured_content={"values": values}
        )

    async def change() -> Answer:
        """Change something. Use it to see a missing scope."""
        return Answer(text="changed")

    for fn in (echo, whoami, count_up, wait, fail, vector):  # what ends a call sooner is what a test is about
        server.tool(fn, scope="read", title=fn.__name__.title(), read_only=True, deadline_s=3 * HANGS_S)
    server.tool(change, scope="admin", title="Change", destructive=True)

    async def short() -> Answer:
        """Wait for longer than allowed. Use it to see a deadline."""
        return await wait()

    server.tool(short, scope="read", title="Short", deadline_s=0.05)

    async def note(key: str) -> Answer:
        """A note."""
        if key == "none":
            raise NotFound("There is no such note.")
        if key == "broken":
            raise RuntimeError("secret-canary")
        return Answer(text=key)

    server.resource("rig://notes/{key}", note, scope="read", title="Note")

    async def repeat(request: Request) -> Any:
        return {"got": await read_json(request, 1000), "caller": principal().subject}

    async def broken(request: Request) -> Any:
        raise RuntimeError("secret-canary")

    async def endless(request: Request) -> Any:
        return {"deep": [{"number": float("inf")}]}

    server.route("/repeat", repeat, ["POST"], scope="read")
    server.route("/endless", endless, ["GET"])
    server.route("/broken", broken, ["GET"])
    return server


@asynccontextmanager
async def listening(app: ASGIApp, port: int, settings: Settings) -> AsyncIterator[int]:
    """The application on a port of this loop, 0 for a free one; the port."""
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        serve([(app, port)], settings, "rig", on_ready=ready.set_result, stop=stop, signals=False, drain_s=0.2)
    )
    try:
        await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED, timeout=HANGS_S)
        if task.done():
            await task
        yield ready.result()[0]
    finally:
        stop.set()
        await asyncio.wait_for(task, HANGS_S)


@asynccontextmanager
async def running(server: Server, settings: Settings) -> AsyncIterator[str]:
    """The server on a free loopback port; its base address."""
    async with listening(server.asgi(), 0, settings) as port:
        yield f"http://127.0.0.1:{port}"


def envelope(method: str, params: dict[str, Any], request_id: int | str = 1) -> dict[str, Any]:
    """A request of 2026-07-28."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": MODERN,
        "io.modelcontextprotocol/clientInfo": {"name": "rig", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
        **params.get("_meta", {}),
    }
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": meta}}


def headers_for(token: str | None, method: str | None = None, name: str | None = None) -> dict[str, str]:
    """Headers of a 2026-07-28 request; without a method, of a 2025-11-25 one."""
    headers = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    if method is None:
        return headers | {"mcp-protocol-version": LEGACY}
    headers |= {"mcp-protocol-version": MODERN, "mcp-method": method}
    return headers | ({"mcp-name": name} if name else {})


def answer_of(response: httpx2.Response) -> dict[str, Any]:
    """The answer to a request that may have taken any time: JSON, or the last event of a stream that was kept alive."""
    events = [line[5:] for line in response.text.splitlines() if line.startswith("data:")]
    return json.loads(events[-1] if events else response.text)


async def modern(
    client: httpx2.AsyncClient, base: str, token: str | None, tool: str, arguments: dict[str, Any] | None = None
) -> httpx2.Response:
    """`tools/call` as a 2026-07-28 client sends it."""
    body = envelope("tools/call", {"name": tool, "arguments": arguments or {}})
    return await client.post(base + "/mcp", json=body, headers=headers_for(token, "tools/call", tool))


async def legacy(
    client: httpx2.AsyncClient, base: str, token: str | None, tool: str, arguments: dict[str, Any] | None = None
) -> httpx2.Response:
    """`tools/call` as a 2025-11-25 client sends it."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments or {}}}
    return await client.post(base + "/mcp", json=body, headers=headers_for(token))


def memory(field: str, pid: int | str = "self") -> int:
    """Bytes of a process, of its `status` in `/proc`; by default this one, which is the server too."""
    (line,) = (each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith(field))
    return int(line.split()[1]) * 1024


def stdio_main(settings: Settings) -> None:
    """The rig over standard input and output, as a process of its own."""
    server = build(settings, Issuer())

    async def caller() -> Principal:
        return Principal("user-1", "service", frozenset({"read"}), "acme", "key-1", time.time() + 600)

    cancelled = asyncio.Semaphore(0)

    async def tell_cancelled() -> Answer:
        """Wait for good. Use it to see cancellation over stdio."""
        await report(1, None, "started")
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.release()
        return Answer(text="never")

    async def was_cancelled() -> Answer:
        """Wait until a call was cancelled. Use it after tell_cancelled."""
        await cancelled.acquire()
        return Answer(text="cancelled")

    server.tool(tell_cancelled, scope="read", title="Wait for good")
    server.tool(was_cancelled, scope="read", title="Cancelled calls")
    asyncio.run(server.run_stdio(caller))


async def http_main(settings: Settings) -> None:
    """The rig on a free port; tells on standard output what happens, goes on at a line on standard input."""
    issuer, events, loop = Issuer(), Events(), asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    stop = asyncio.Event()

    async def tell(event: asyncio.Event, name: str) -> None:
        await event.wait()
        print(json.dumps({"event": name}), flush=True)

    async def listen() -> None:
        await lines.readline()
        events.go_on.set()

    tasks = [loop.create_task(each) for each in (tell(events.started, "started"), tell(stop, "draining"), listen())]
    server = build(settings, issuer, events)

    def ready(ports: list[int]) -> None:
        print(json.dumps({"port": ports[0], "token": issuer.token(settings)}), flush=True)

    await serve([(server.asgi(), 0)], settings, "rig", on_ready=ready, stop=stop)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    rig_settings = Settings(home=Path(os.environ["RIG_HOME"]))
    if sys.argv[1] == "stdio":
        stdio_main(rig_settings)
    else:
        run_loop(http_main(rig_settings))
