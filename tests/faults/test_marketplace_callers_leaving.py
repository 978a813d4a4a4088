"""A caller who leaves in the middle of a call, at each point where the call waits: nothing is left half done."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from typing import Any, NamedTuple

import pytest
from mcp_types import CallToolResult

from servers.marketplace import policy
from shared.audit import AuditLog
from shared.auth import Principal, acting_as
from tests.integration.test_marketplace_connections import OPERATORS, SECRET, Locked, connect
from tests.integration.test_marketplace_lifecycle import ORDERS, approve, submit
from tests.marketplace_rig import Market, definition

PROBABLY_ENOUGH = 200
UNTOLD = """
    SELECT 'user ' || email FROM users WHERE email LIKE 'leaves%' AND user_id NOT IN (SELECT subject FROM audit)
    UNION ALL
    SELECT 'user without a key ' || email FROM users
    WHERE email LIKE 'leaves%' AND user_id NOT IN (SELECT user_id FROM api_keys)
    UNION ALL
    SELECT 'key ' || key_id FROM api_keys WHERE key_id NOT IN (SELECT subject FROM audit)
    UNION ALL
    SELECT 'invitation ' || email FROM invitations WHERE invitation_id NOT IN (SELECT subject FROM audit)
    UNION ALL
    SELECT 'second invitation ' || email FROM invitations WHERE state = 'open' GROUP BY email HAVING count(*) > 1
    UNION ALL
    SELECT 'licence ' || licence_id FROM licences WHERE licence_id NOT IN (SELECT subject FROM audit)
    UNION ALL
    SELECT 'rule ' || rule_id FROM argument_rules WHERE rule_id NOT IN (SELECT subject FROM audit)
    UNION ALL
    SELECT 'entry ' || server_name FROM catalogue_entries
    WHERE server_name LIKE 'com.example/%' AND server_name NOT IN (SELECT subject FROM audit)
    UNION ALL
    SELECT 'install' FROM installs WHERE (server_name, customer_id) NOT IN
        (SELECT subject, customer_id FROM audit WHERE verb = 'server.installed')
    UNION ALL
    SELECT 'connection' FROM connections WHERE (server_name, customer_id) NOT IN
        (SELECT subject, customer_id FROM audit WHERE verb = 'connection.saved') AND customer_id IS NOT NULL
"""
"""Whatever is there and not in the audit log, or is there by half."""
HELD = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
      AND (state LIKE 'idle in transaction%' OR pid IN (SELECT pid FROM pg_locks WHERE locktype = 'advisory'))
"""


class Writing(NamedTuple):
    """A tool that writes. `again`: what a second call is told where the first was done, unless it is done again."""

    tool: str
    arguments: Callable[[int], dict[str, Any]]
    operator: bool = True
    again: str | None = None


WRITING = [
    Writing(
        "create_user",
        lambda at: {"email": f"leaves{at}@acme.example", "role": "customer_user", "customer_id": "acme"},
        again="already",
    ),
    Writing("invite_user", lambda at: {"email": f"l{at}@x.example", "role": "customer_user", "customer_id": "acme"}),
    Writing("issue_licence", lambda at: {"customer_id": "acme", "server_name": ORDERS}),
    Writing("set_customer_tier", lambda at: {"customer_id": "acme", "tier": ("business", "professional")[at % 2]}),
    Writing(
        "set_argument_rule",
        lambda at: {"server_name": ORDERS, "tool_name": "say", "condition": f"size(args) < {at + 10}"},
    ),
    Writing(
        "submit_mcp",
        lambda at: {
            "server_name": f"com.example/s{at}", "title": "S", "description": "S.", "version": "1.0",
            "url": f"http://127.0.0.1:{20_000 + at}/mcp",
        },
    ),
    Writing("install_mcp", lambda at: {"server_name": ORDERS}, operator=False),
    Writing("rate_mcp", lambda at: {"server_name": ORDERS, "stars": at % 5 + 1}, operator=False),
    Writing("connect_mcp", lambda at: {"server_name": ORDERS, "credential": SECRET}, operator=False),
    Writing("disconnect_mcp", lambda at: {"server_name": ORDERS}, operator=False),
    Writing("uninstall_mcp", lambda at: {"server_name": ORDERS}, operator=False),
]  # fmt: skip


@types.coroutine
def leaving(work: Coroutine[Any, Any, Any], at: int) -> Generator[Any, Any, Any]:
    """The result of this work, whose caller leaves while it waits for the `at`-th time; None where that ended it."""
    waits, answer, error = 0, None, None
    while True:
        try:
            waited = work.send(answer) if error is None else work.throw(error)
        except StopIteration as done:
            return done.value
        except asyncio.CancelledError:
            return None
        answer, error, waits = None, None, waits + 1
        if waits == at and (task := asyncio.current_task()) is not None:
            task.cancel()
        try:
            answer = yield waited
        except BaseException as raised:  # noqa: BLE001  # it is the work's own, as if it had awaited itself
            error = raised


@pytest.fixture
async def rows(market: Market, postgres_server: Any) -> AsyncIterator[Any]:
    async with postgres_server.superuser(market.urls) as superuser:
        yield superuser


async def caller_of(market: Market, role: str, customer: str | None, rows: Any) -> Principal:
    """Somebody of this role, as the guard of the endpoint lets them in."""
    made = await market.add_user(role, customer, f"{role}@acme.example".replace("_", "-"))
    scopes = policy.granted(role, None, "marketplace", None)
    return Principal(made.user_id, role, scopes, customer, made.client_id, 2**40)


@pytest.mark.requirement("F-02")
@pytest.mark.parametrize("writing", WRITING, ids=lambda writing: writing.tool)
async def test_whoever_leaves_a_writing_call_leaves_nothing_half_done(
    market: Market, rows: Any, writing: Writing
) -> None:
    await submit(market, await market.operator(), await market.add_app(Locked(definition("say"))))
    await connect(market, await market.operator(), OPERATORS)
    await approve(market)
    acme = await caller_of(market, "customer_admin", "acme", rows)
    if writing.tool != "install_mcp":
        await called(market, acme, "install_mcp", {"server_name": ORDERS})
    caller = await caller_of(market, "platform_admin", None, rows) if writing.operator else acme
    for at in range(1, PROBABLY_ENOUGH):
        arguments = writing.arguments(at)
        with acting_as(caller):
            result = await leaving(market.server.mcp.call_tool(writing.tool, arguments), at)
        await settled(rows)
        untold = [row[0] for row in await rows.fetch(UNTOLD)]
        assert untold == [], f"left at {at}"
        if result is not None:
            assert not result.is_error, result.content
            break
        again = await called(market, caller, writing.tool, arguments)
        assert not again.is_error or (writing.again and writing.again in str(again.content)), (at, again.content)
    else:
        raise AssertionError("the call never ended")
    assert at > 5, "it was left at hardly any point"
    proof = await AuditLog(market.server.services.database).verify()
    assert proof.whole, proof.reason


async def called(market: Market, caller: Principal, tool: str, arguments: dict[str, Any]) -> CallToolResult:
    """A call that nobody leaves."""
    with acting_as(caller):
        result = await market.server.mcp.call_tool(tool, arguments)
    assert isinstance(result, CallToolResult)
    return result


async def settled(rows: Any) -> None:
    """Until no transaction is open and no lock is held."""
    async with asyncio.timeout(20):
        while await rows.fetchval(HELD):  # noqa: ASYNC110  # another process knows it
            await asyncio.sleep(0.01)
