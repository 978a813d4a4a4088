"""Servers over stdio: run as bounded children, only when and as the operator allows, and called like any other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import pytest
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from servers.marketplace.runners.package import Package, package_of
from servers.marketplace.tools.connections import Connected
from servers.marketplace.tools.publishing import RegistryImported
from servers.marketplace.tools.review import ServerReviewed
from servers.marketplace.tools.usage import Usage
from shared.contracts.catalogue import CatalogueEntry, CataloguePage
from shared.errors import Conflict, InvalidInput, NotFound, Unavailable
from tests.integration.test_marketplace_lifecycle import ORDERS, Registry, approve, refusal, server_json
from tests.marketplace_rig import Credential, Market, running_market
from tests.serving_rig import HANGS_S, HEARS_S, answer_of

SMALL = str(Path(__file__).parents[1] / "stdio_server.py")
PLAIN = str(Path(__file__).parents[1] / "plain_stdio_server.py")
ERAS = ["legacy", "2026-07-28"]
Running = Callable[..., Any]


@pytest.fixture
async def running(database: Any, tmp_path: Path) -> AsyncIterator[Running]:
    """Starts a marketplace whose operator allows one command, for the package `pypi:small@1.0`."""
    made = await database("servers.marketplace", "shared")
    async with AsyncExitStack() as stack:

        async def start(*command: str, told: dict[str, Any] | None = None, **changes: Any) -> Market:
            command = command or (sys.executable, PLAIN)
            allowed = {"pypi:small@1.0": {"command": command, "variables": ["KEY"], **(told or {})}}
            settings = {"runner_commands": allowed, "runner_uid": 0, "runner_start_s": 60.0, **changes}
            market = await stack.enter_async_context(running_market(tmp_path, made.urls, **settings))
            await market.add_customers()
            return market

        yield start


def package(**changes: Any) -> dict[str, Any]:
    """As in a server.json."""
    return {
        "registryType": "pypi", "identifier": "small", "version": "1.0", "transport": {"type": "stdio"},
        "environmentVariables": [{"name": "KEY", "isSecret": True, "description": "A key."}],
    } | changes  # fmt: skip


async def submit(market: Market, token: str, **changes: Any) -> CatalogueEntry:
    told = {"server_name": ORDERS, "title": "Small", "description": "Small.", "version": "1.0", "package": package()}
    return await market.call(token, "submit_mcp", CatalogueEntry, **(told | changes))


async def installed(market: Market, *customers: str) -> list[str]:
    """The package is approved and installed; a token of each customer."""
    await submit(market, await market.operator())
    await approve(market)
    tokens = [await market.user_token(customer) for customer in customers or ("acme",)]
    for token in tokens:
        await market.call(token, "install_mcp", server_name=ORDERS)
    return tokens


@asynccontextmanager
async def sdk_client(market: Market, token: str, mode: str, path: str = f"/servers/{ORDERS}/mcp") -> Any:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, trust_env=False, timeout=HANGS_S, verify=False) as http,
        Client(streamable_http_client(market.base + path, http_client=http), mode=mode) as client,
    ):
        yield client


async def said(market: Market, token: str, tool: str = "say", **arguments: Any) -> str:
    """The text that a tool answers, through the gateway."""
    response = await market.post_call(token, tool, f"/servers/{ORDERS}/mcp", **arguments)
    assert response.status_code == 200, response.text
    answer = answer_of(response)
    return answer["result"]["content"][0]["text"] if "result" in answer else f"error: {answer['error']['message']}"


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that another process does: it has no other way to tell."""
    async with asyncio.timeout(HANGS_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def gone(*pids: int) -> None:
    """Wait until none of these processes is there; a zombie is none."""
    await until(lambda: not any(map(alive, pids)))


def alive(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("server", [SMALL, PLAIN], ids=["both-eras", "legacy-only"])
async def test_a_package_is_called_in_both_eras_and_listed_from_what_was_approved(
    running: Running, mode: str, server: str
) -> None:
    market = await running(sys.executable, server)
    (token,) = await installed(market)
    async with sdk_client(market, token, mode) as client:
        tools = [tool.name for tool in (await client.list_tools()).tools]
        first, second = await client.call_tool("say", {}), await client.call_tool("say", {})
    assert "say" in tools
    assert first.content == second.content  # one process
    async with sdk_client(market, token, mode, "/mcp") as client:
        again = await client.call_tool("com-example-orders__say", {})
    assert again.content == first.content
    usage = await market.call(token, "get_usage", Usage)
    assert usage.total.calls == 3


@pytest.mark.parametrize("mode", ERAS)
async def test_progress_errors_and_cancellation_of_a_package_pass_through(
    running: Running, mode: str, tmp_path: Path
) -> None:
    market = await running(sys.executable, SMALL)
    (token,) = await installed(market)
    told: list[tuple[float, float | None, str | None]] = []

    async def on_progress(done: float, total: float | None, note: str | None) -> None:
        told.append((done, total, note))

    async with sdk_client(market, token, mode) as client:
        result = await client.call_tool("count", {"steps": 3}, progress_callback=on_progress)
        assert result.content[0].text == "3"
        assert told == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
        assert (await client.call_tool("fail", {})).is_error
        started, cancelled = tmp_path / "started", tmp_path / "cancelled"
        call = asyncio.create_task(client.call_tool("wait", {"started": str(started), "cancelled": str(cancelled)}))
        await until(started.exists)
        call.cancel()
        await until(cancelled.exists)
        await asyncio.gather(call, return_exceptions=True)
        assert (await client.call_tool("count", {"steps": 1})).content[0].text == "1"  # the same process goes on


async def test_nothing_of_a_submission_runs_before_the_operator_reviews_it_and_then_only_what_is_allowed(
    running: Running, tmp_path: Path
) -> None:
    """The command itself notes that it ran: no way to it may be open too early."""
    ran = tmp_path / "ran"
    market = await running("/bin/sh", "-c", f'echo x >> {ran}; exec "$@"', "sh", sys.executable, PLAIN)
    partner = await market.add_user("partner_admin", None, "p@partner.example")
    author = await market.token(Credential(partner.client_id, partner.client_secret))
    operator = await market.operator()
    entry = await submit(market, author)
    assert (entry.package, entry.approval) == ("pypi:small@1.0", "submitted")
    customers = [await market.user_token("acme")]
    for token in (author, *customers):
        for call in (
            market.call(token, "check_mcp", server_name=ORDERS),
            market.call(token, "review_mcp", server_name=ORDERS, state="review"),
            market.call(token, "connect_mcp", server_name=ORDERS, credential="x", header="KEY"),
            market.call(token, "install_mcp", server_name=ORDERS),
        ):
            await refusal(call)
        assert (await market.post_call(token, "say", f"/servers/{ORDERS}/mcp")).status_code >= 400
    for call in (
        market.call(operator, "check_mcp", server_name=ORDERS),
        market.call(operator, "connect_mcp", server_name=ORDERS, credential="x", header="KEY"),
    ):
        assert isinstance(await refusal(call), Conflict)
    assert (await market.post_call(operator, "say", f"/servers/{ORDERS}/mcp")).status_code == 404
    await asyncio.sleep(0)
    assert not ran.exists()
    await approve(market)
    assert ran.read_text() == "x\n"  # for the review alone
    await submit(market, author, version="2.0", package=package(version="2.0"))
    assert isinstance(await refusal(market.call(operator, "check_mcp", server_name=ORDERS)), Conflict)
    await market.call(operator, "review_mcp", server_name=ORDERS, state="review")
    told = await refusal(market.call(operator, "check_mcp", server_name=ORDERS))
    assert isinstance(told, Unavailable)
    assert "P0711_RUNNER_COMMANDS" in told.message  # another version than allowed
    assert ran.read_text() == "x\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"packageArguments": [{"type": "positional", "value": "--config=/etc/passwd"}]},
        {"runtimeArguments": [{"type": "named", "name": "-c", "value": "import os"}]},
        {"transport": {"type": "streamable-http", "url": "http://localhost:1/mcp"}},
        {"version": "latest; rm -rf /"}, {"version": None}, {"identifier": "../small"}, {"identifier": "small --flag"},
        {"registryType": "oci", "identifier": "registry.example/small:latest", "version": None},
        {"registryType": "oci", "identifier": "--privileged", "version": None},
        {"registryType": "oci", "identifier": f"-v/:/x@sha256:{'0' * 64}", "version": None},
        {"registryType": "sh"},
        {"environmentVariables": [{"name": "KEY=1 OTHER"}]},
    ],
)  # fmt: skip
def test_a_package_says_what_it_is_and_nothing_of_a_command(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        package_of(package() | changes)


async def test_an_account_of_a_package_is_the_same_however_it_is_written() -> None:
    told = package_of(package())
    assert Package.model_validate(told.as_stored()) == told
    assert told.address("a.b/c") != told.address("a.b/d")
    assert told.address("a.b/c") != package_of(package(version="1.1")).address("a.b/c")


@pytest.mark.requirement("T-01")
async def test_customers_have_a_process_each_that_holds_their_own_credential_and_nothing_of_the_platform(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANARY_OF_THE_PLATFORM", "secret")
    market = await running(told={"environment": {"REGION": "eu"}, "variables": ["KEY"]})
    acme, bolt = await installed(market, "acme", "bolt")
    assert (await market.call(acme, "connect_mcp", Connected, server_name=ORDERS, credential="k1")).tools > 0
    (first, key), second = (await said(market, acme)).split(" "), (await said(market, bolt)).split(" ")
    assert (key, second[1], first == second[0]) == ("k1", "", False)
    seen = orjson.loads(await said(market, acme, "surroundings"))
    assert seen["environment"].keys() == {"PATH", "HOME", "TMPDIR", "LANG", "REGION", "KEY"}
    assert seen["cwd"] == seen["environment"]["HOME"] != str(market.settings.home)
    assert seen["files"] == []
    assert seen["opened"][:3] == [0, 1, 2]
    assert len(seen["opened"]) == 4  # the last one lists them
    await market.call(acme, "disconnect_mcp", server_name=ORDERS)
    await gone(int(first))  # the credential is no longer given
    assert (await said(market, acme)).split(" ")[1] == ""
    with pytest.raises(InvalidInput):
        await market.call(bolt, "connect_mcp", server_name=ORDERS, credential="x", header="LD_PRELOAD")


async def test_customers_share_a_process_only_where_the_operator_says_so_and_none_has_a_credential(
    running: Running,
) -> None:
    market = await running(told={"shared": True, "variables": ["KEY"]})
    acme, bolt = await installed(market, "acme", "bolt")
    assert await said(market, acme) == await said(market, bolt)
    await market.call(acme, "connect_mcp", server_name=ORDERS, credential="k1")
    async with asyncio.timeout(HEARS_S):  # routes hear of a connection by a NOTIFY
        while (await said(market, acme)).split(" ")[0] == (theirs := (await said(market, bolt)).split(" "))[0]:
            pass
    assert theirs[1] == ""


@pytest.mark.parametrize("end", ["uninstall", "suspend", "new version"])
async def test_a_process_ends_with_what_it_was_for(running: Running, end: str) -> None:
    market = await running()
    (token,) = await installed(market)
    pid = int((await said(market, token)).split(" ")[0])
    if end == "uninstall":
        await market.call(token, "uninstall_mcp", server_name=ORDERS)
    elif end == "suspend":
        await market.call(await market.operator(), "review_mcp", server_name=ORDERS, state="suspended")
    else:
        await submit(market, await market.operator(), version="1.1", package=package(version="1.1"))
    await gone(pid)
    with pytest.raises(NotFound):
        await market.call_through(token, ORDERS, "say")


async def test_an_idle_process_ends_with_all_that_it_started_and_its_folder(running: Running, tmp_path: Path) -> None:
    market = await running(runner_idle_s=0.5)
    (token,) = await installed(market)
    seen = orjson.loads(await said(market, token, "surroundings"))
    await said(market, token, "leave", note=str(tmp_path / "note"))
    server, left = map(int, (tmp_path / "note").read_text().split())
    assert alive(left)
    await gone(server, left, seen["parent"])
    await until(lambda: not os.path.lexists(seen["cwd"]))
    assert int((await said(market, token)).split(" ")[0]) != server  # the next call starts another


async def test_a_killed_process_is_started_again_and_one_that_dies_again_and_again_waits(running: Running) -> None:
    market = await running()
    (token,) = await installed(market)
    pid = int((await said(market, token)).split(" ")[0])
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    assert "ended" in await said(market, token, "die")
    for _ in range(5):
        response = await market.post_call(token, "die", f"/servers/{ORDERS}/mcp")
        if response.status_code == 503:
            break
    assert response.status_code == 503
    assert "failed" in response.json()["error"]["message"]
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize("tool", ["floods", "garbage"])
async def test_what_a_process_writes_beside_its_answers_is_dropped_and_never_shown(
    running: Running, tool: str, capfd: pytest.CaptureFixture[str]
) -> None:
    market = await running()
    (token,) = await installed(market)
    answer = await said(market, token, tool)
    assert answer == "well" if tool == "garbage" else "said more than it may" in answer
    assert await said(market, token)
    assert "canary" not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("flaw", "told", "start_s"),
    [("mute", "P0711_RUNNER_START_S", 3.0), ("floods", "more than it may", 30.0), ("dies", "ended", 30.0)],
)
async def test_a_server_that_does_not_start_is_one_clear_sentence_for_the_review(
    running: Running, flaw: str, told: str, start_s: float
) -> None:
    market = await running(sys.executable, PLAIN, flaw, runner_start_s=start_s)
    operator = await market.operator()
    await submit(market, operator)
    await market.call(operator, "review_mcp", server_name=ORDERS, state="review")
    error = await refusal(market.call(operator, "check_mcp", server_name=ORDERS))
    assert isinstance(error, Unavailable)
    assert told in error.message


async def test_a_server_that_talks_before_it_speaks_mcp_is_understood(running: Running) -> None:
    market = await running(sys.executable, PLAIN, "garbage")
    (token,) = await installed(market)
    assert await said(market, token)


@pytest.mark.requirement("A-07")
async def test_a_process_that_shows_other_tools_than_were_approved_is_not_called(running: Running) -> None:
    market = await running(sys.executable, PLAIN, "lies")
    acme, bolt = await installed(market, "acme", "bolt")
    await market.call(acme, "connect_mcp", server_name=ORDERS, credential="k1")
    refused = await market.post_call(acme, "say", f"/servers/{ORDERS}/mcp")
    assert refused.status_code == 503
    assert "as it was approved" in refused.json()["error"]["message"]
    assert await said(market, bolt)
    seen = await market.call(await market.operator(), "check_mcp", ServerReviewed, server_name=ORDERS)
    assert seen.blocked == 0  # what one customer's key shows is nobody else's list


async def test_no_more_processes_run_than_the_operator_allows(running: Running) -> None:
    market = await running(runner_children=2)
    acme, bolt = await installed(market, "acme", "bolt")
    first = int((await said(market, acme)).split(" ")[0])
    busy = asyncio.create_task(said(market, bolt, "hang"))
    await until(lambda: len(guards()) == 2)
    await market.call(acme, "connect_mcp", server_name=ORDERS, credential="k1")  # takes the place of the idle one
    await gone(first)
    busy.cancel()
    await asyncio.gather(busy, return_exceptions=True)


def guards() -> list[int]:
    """The guards that this process has started."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [int(pid) for pid in found if b"guard.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]


async def test_a_package_of_another_registry_is_a_proposal_like_any(running: Running) -> None:
    market = await running()
    named = server_json(ORDERS, None, packages=[{"registryType": "mcpb"}, package()])
    none = server_json("com.example/none", None, packages=[package(packageArguments=[{"value": "x"}])])
    url = (await market.add_app(Registry(named, none))).removesuffix("/mcp")
    done = await market.call(await market.operator(), "import_registry", RegistryImported, url=url)
    assert (done.proposed, done.skipped) == (1, {"no address to call": 1})
    shown = await market.call(await market.operator(), "list_marketplace_mcps", CataloguePage, query="orders")
    assert [(entry.package, entry.approval) for entry in shown.entries] == [("pypi:small@1.0", "submitted")]
