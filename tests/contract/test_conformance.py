"""The official conformance suite of MCP, on every server and through the relay: the scenarios that need no fixture.

It needs Node 22 or newer and the suite, npm's `@modelcontextprotocol/conformance@0.2.0-alpha.12`, named by
`CONFORMANCE="/path/to/node /path/to/node_modules/@modelcontextprotocol/conformance/dist/index.js"`.
The suite sends no token, so each server stands behind a door that adds one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest
from mcp.server.mcpserver import require_client_extension
from mcp_types import (
    CallToolResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    TextContent,
)
from pydantic import TypeAdapter
from starlette.types import ASGIApp, Receive, Scope, Send

from servers.marketplace.app import build as build_marketplace
from servers.orchestrator.app import build as build_orchestrator
from servers.orchestrator.store import Job, JobStore
from servers.orchestrator.tools.arguments import handle
from servers.orchestrator.tools.tasks import IDENTIFIER
from shared.auth import Principal
from shared.contracts.job import JobHandle, JobQuestion, JobResult
from shared.contracts.model import Contract
from shared.errors import Internal, NotFound
from shared.postgres.urls import write
from shared.serving import Server
from shared.serving.progress import current_context
from shared.settings import Settings
from tests.marketplace_rig import Market, free_port, listening
from tests.orchestrator_rig import put_customer, put_job
from tests.security.test_tokens_and_scopes import servers

COMMAND = shlex.split(os.environ.get("CONFORMANCE", ""))
SCENARIOS = {
    "2025-11-25": [
        "server-initialize", "server-session-lifecycle", "ping", "tools-list", "resources-list", "prompts-list",
        "server-sse-polling", "server-sse-multiple-streams", "dns-rebinding-protection",
    ],
    "2026-07-28": [
        "server-stateless", "tools-list", "resources-list", "prompts-list", "sep-2164-resource-not-found", "caching",
        "server-sse-multiple-streams", "http-header-validation", "http-custom-header-server-validation",
        "input-required-result-unsupported-methods", "input-required-result-ignore-extra-params",
        "dns-rebinding-protection",
    ],
}  # fmt: skip
TASKS = [
    "tasks-lifecycle", "tasks-capability-negotiation", "tasks-wire-fields", "tasks-request-state-removal",
    "tasks-request-headers", "tasks-dispatch-and-envelope", "tasks-status-notifications", "tasks-mrtr-input",
    "tasks-mrtr-composition", "tasks-required-task-error",
]  # fmt: skip
RESULT = re.compile(r"server-(.+)-\d{4}-\d\d-\d\dT[\dZ-]+")
"""The name of a folder with a scenario's result."""
NEEDS_FIXTURE = "Not testable"
"""How the suite says that a check needs a tool of its own, which these servers do not have."""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.requirement("M-02"),
    pytest.mark.skipif(not COMMAND, reason="CONFORMANCE does not name Node and the official conformance suite"),
]


class Everyone:
    """Lets everyone in with these scopes."""

    def __init__(self, scopes: frozenset[str], customer: str | None = "acme") -> None:
        self._principal = Principal("usr_suite", "platform_admin", scopes, customer, "key", 9e9)

    async def verify(self, token: str) -> Principal:
        return self._principal


def with_token(app: Any, token: str) -> ASGIApp:
    """The application, which gets this token with each request."""

    class Door:
        lifespan = staticmethod(app.lifespan)

        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            added = [*scope.get("headers", []), (b"authorization", f"Bearer {token}".encode())]
            await app({**scope, "headers": added}, receive, send)

    return Door()


async def failures(url: str, revision: str | None, scenarios: Collection[str], folder: Path) -> list[str]:
    """What the suite says is wrong in these scenarios; it has to have checked something in each.

    One process runs all that it has, those that need a fixture among them: to start Node for each took a second of a
    processor. None: every scenario at its own revision, an extension's too, which belongs to none.
    """
    at = ["--spec-version", revision] if revision else []
    child = await asyncio.create_subprocess_exec(
        *COMMAND, "server", "--url", url, "--suite", "all", *at, "-o", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await child.communicate()
    found = {RESULT.sub(r"\1", path.parent.name): path for path in folder.rglob("checks.json")}  # noqa: ASYNC240
    wrong = []
    for scenario in scenarios:
        assert scenario in found, said.decode()[-2000:]
        checks = json.loads(found[scenario].read_text())
        assert checks, scenario
        failed = [(check["id"], str(check.get("errorMessage"))) for check in checks if check["status"] == "FAILURE"]
        wrong += [f"{scenario} {name}: {text}" for name, text in failed if not text.startswith(NEEDS_FIXTURE)]
    return wrong


async def conforms(url: str, folder: Path, without: str = "") -> None:
    wrong = []
    for revision, scenarios in SCENARIOS.items():
        wrong += await failures(url, revision, [each for each in scenarios if each != without], folder / revision)
    assert wrong == []


@pytest.mark.parametrize("name", ["orchestrator", "cradle", "instance"])
async def test_a_server_conforms(name: str, tmp_path: Path) -> None:
    server = servers(tmp_path)[name]
    scopes = frozenset(spec.scope for spec in server.mcp.specs.values())
    object.__setattr__(server._access, "verifier", Everyone(scopes))
    server._lifespan = None  # what the scenarios ask needs no database and no model
    port = free_port()
    async with listening(with_token(server.asgi(), "any"), port, Settings(home=tmp_path)):
        # An instance runs under whatever name its owner gives it, so it knows no wrong one; every call carries a key.
        without = "dns-rebinding-protection" if name == "instance" else ""
        await conforms(f"http://127.0.0.1:{port}/mcp", tmp_path / "results", without)


@asynccontextmanager
async def open_market(market: Market, token: str) -> AsyncIterator[str]:
    """A replica of the marketplace that needs no token; its address."""
    port = free_port()
    app = with_token(build_marketplace(market.settings).asgi(), token)
    async with listening(app, port, market.settings):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("through", [False, True], ids=["the marketplace itself", "through the relay"])
async def test_the_marketplace_conforms_and_so_does_a_server_behind_it(
    market: Market, tmp_path: Path, through: bool
) -> None:
    url, _ = await market.add_upstream()
    name = await market.add_instance("acme", url)
    token = await market.token(market.credential("operator"), customer="acme")
    async with AsyncExitStack() as stack:
        base = await stack.enter_async_context(open_market(market, token))
        await conforms(f"{base}/servers/{name}/mcp" if through else f"{base}/mcp", tmp_path / "results")


class Fixtures:
    """The tools that the suite's tasks-* scenarios call, over real rows of jobs, offered beside the platform's own."""

    def __init__(self, server: Server) -> None:
        self._store: Callable[[], JobStore] = lambda: server.services.store
        self._number = itertools.count()
        self._running: set[asyncio.Task[None]] = set()
        for tool in (
            self.greet, self.slow_compute, self.failing_job, self.protocol_error_job, self.confirm_delete,
            self.multi_input, self.test_tool_with_task,
        ):  # fmt: skip
            server.tool(tool, scope="jobs:write", title=tool.__name__)

    async def greet(self, name: str) -> Annotated[CallToolResult, Greeting]:
        """Greets."""
        text = f"Hello, {name}!"
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content={"text": text})

    async def slow_compute(self, seconds: float, label: str = "") -> JobHandle:
        """Takes its time."""
        return await self._job(seconds, self._store().complete)

    async def failing_job(self) -> JobHandle:
        """Ends with an error that its caller can mend. It needs a client with the extension, as the suite has it."""
        context = current_context()
        assert context is not None
        require_client_extension(context.request_context, IDENTIFIER)
        return await self._job(1, lambda job: self._store().fail(job, NotFound("There is no such file.").as_dict()))

    async def protocol_error_job(self) -> JobHandle:
        """Ends with a fault of the platform."""
        return await self._job(1, lambda job: self._store().fail(job, Internal().as_dict()))

    async def confirm_delete(self, filename: str) -> JobHandle:
        """Asks one question, and ends once it is answered."""
        return await self._job(0, self._store().complete, "confirm")

    async def multi_input(self) -> JobHandle:
        """Asks two questions at once."""
        return await self._job(0, self._store().complete, "first", "second")

    async def test_tool_with_task(self) -> JobHandle | InputRequiredResult:
        """Asks for a name before its job begins, and shows it in what the job made."""
        context = current_context()
        said = (context and context.input_responses) or {}
        if "user_name" not in said:
            named = {"type": "object", "properties": {"name": {"type": "string"}}}
            form = ElicitRequestFormParams(message="Your name?", requested_schema=named)
            return InputRequiredResult(input_requests={"user_name": ElicitRequest(params=form)})
        name = TypeAdapter(ElicitResult).validate_python(said["user_name"]).content
        assert name is not None
        made = JobResult(places={"greeted": str(name["name"])})

        async def end(job: Job) -> bool:
            return await self._store().end_step(job, 0, 0.0, made) and await self._store().complete(job)

        return await self._job(0, end)

    async def _job(self, seconds: float, end: Callable[[Job], Awaitable[bool]], *asked: str) -> JobHandle:
        customer = f"kunde-{next(self._number)}"  # a customer has one open job
        await put_customer(self._store(), customer)
        job = await put_job(self._store(), customer)

        async def run() -> None:
            await self._store().begin_step(job, 0)
            await asyncio.sleep(seconds)
            await end(await self._answered(job, asked) if asked else job)

        task = asyncio.create_task(run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return handle(job)

    async def _answered(self, job: Job, asked: tuple[str, ...]) -> Job:
        await self._store().ask(job, 0, [JobQuestion(key=key, message="Go on?") for key in asked])
        while (now := await self._store().job(job.job_id, job.customer_id)) and now.state == "waiting":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        assert now is not None
        return now


class Greeting(Contract):
    text: str


async def test_jobs_conform_as_tasks(database: Any, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    write(tmp_path, {"platform": (await database("shared", "servers.orchestrator")).urls})
    server = build_orchestrator(settings, works=False)
    Fixtures(server)
    object.__setattr__(server._access, "verifier", Everyone(frozenset({"jobs:read", "jobs:write"}), None))
    port = free_port()
    async with listening(with_token(server.asgi(), "any"), port, settings):
        assert await failures(f"http://127.0.0.1:{port}/mcp", None, TASKS, tmp_path / "results") == []
