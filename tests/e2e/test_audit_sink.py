"""A-10 on a whole platform: while the audit logs cannot be written, no tool of any server changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import asyncpg
import orjson
import pytest

from servers.local.audit import LOGS, prove
from shared.postgres.launcher import EmbeddedPostgres
from shared.serving.failures import META
from shared.settings import ServerName
from tests.e2e.conftest import Running
from tests.e2e.test_schema_cases import body_of, said, tools_of
from tests.e2e.test_servers import operator_tokens
from tests.schema_cases import cases_of
from tests.serving_rig import headers_for

pytestmark = [pytest.mark.slow, pytest.mark.requirement("A-10")]

SERVERS: tuple[ServerName, ...] = ("orchestrator", "cradle", "marketplace")
CASES = 24
READS: dict[ServerName, str] = {
    "orchestrator": "list_customers",
    "cradle": "cradle_status",
    "marketplace": "list_marketplace_mcps",
}
NOT_AUDITED = {"record_usage"}  # it only adds to what is counted
MOVES = {"quota_leases", "quotas", "usage", "usage_batches", "server_tools"}  # what reading and checking write


class Databases:
    """The superuser's connections to the databases that keep an audit log."""

    def __init__(self, connections: dict[str, Any]) -> None:
        self._connections = connections

    async def run(self, statement: str) -> None:
        for connection in self._connections.values():
            await connection.execute(statement)

    async def rows(self) -> dict[str, tuple[int, int]]:
        """How many rows each table has, and a number that depends on all of them."""
        found: dict[str, tuple[int, int]] = {}
        for name, connection in self._connections.items():
            for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
                if table not in MOVES:
                    digest = f"SELECT count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM {table} t"  # noqa: S608
                    found[f"{name}.{table}"] = tuple(await connection.fetchrow(digest))
        return found


@asynccontextmanager
async def databases(platform: Running) -> AsyncIterator[Databases]:
    url = EmbeddedPostgres(platform.settings.home / "postgres", platform.settings.postgres_port).superuser_url
    opened = {name: await asyncpg.connect(f"{url.rpartition('/')[0]}/{name}") for name in LOGS}
    try:
        yield Databases(opened)
    finally:
        for connection in opened.values():
            await connection.close()


async def test_with_the_audit_logs_down_no_tool_changes_anything_and_reading_goes_on(
    platform: Running, session: aiohttp.ClientSession
) -> None:
    assert set(LOGS) == {"platform", "installation_configs", "user_registry"}
    tokens = operator_tokens(platform.settings)

    async def call(server: ServerName, tool: str, arguments: dict[str, Any]) -> Any:
        url = platform.settings.resource(server)
        headers = headers_for(await tokens.token(url, None), "tools/call", tool)
        async with session.post(url, data=body_of(tool, arguments), headers=headers) as answer:
            return said(await answer.read())

    async with databases(platform) as held:
        changing: dict[ServerName, list[dict[str, Any]]] = {}
        for server in SERVERS:
            url = platform.settings.resource(server)
            tools = await tools_of(session, url, await tokens.token(url, None))
            changing[server] = [
                tool for tool in tools
                if not tool["annotations"]["readOnlyHint"] and tool["name"] not in NOT_AUDITED
            ]  # fmt: skip
        assert {server: len(tools) > 5 for server, tools in changing.items()} == dict.fromkeys(SERVERS, True)
        before = await held.rows()
        assert len(before) > 15
        await held.run("ALTER TABLE audit RENAME TO audit_away")
        try:
            for server, tools in changing.items():
                for tool in tools:
                    answers = [
                        await call(server, tool["name"], case) for case in cases_of(tool["inputSchema"], CASES, 1)
                    ]
                    codes = {code_of(answer) for answer in answers}
                    assert None not in codes, (server, tool["name"], answers)
                    assert "unavailable" in codes, (server, tool["name"], codes)
                assert (await call(server, READS[server], {}))["result"]["isError"] is False
        finally:
            await held.run("ALTER TABLE audit_away RENAME TO audit")
        assert await held.rows() == before
    calls: list[tuple[ServerName, str, dict[str, Any]]] = [
        ("orchestrator", "cancel_job", {"job_id": "job_" + "a" * 26}),
        ("orchestrator", "answer_job", {"job_id": "job_" + "a" * 26, "answers": {"documents": True}}),
        ("cradle", "stop_deployment", {"host": "local"}),
        ("marketplace", "rate_mcp", {"server_name": "io.0711/tax", "stars": 5}),
    ]
    for server, tool, arguments in calls:
        assert code_of(await call(server, tool, arguments)) != "unavailable", tool
    lines, whole = await prove(platform.settings, [])
    assert whole
    assert len(lines) == len(LOGS)
    assert not [line for line in lines if " 0 entries" in line], lines


def code_of(answer: dict[str, Any]) -> str | None:
    """The code of an error; None where it went well."""
    if "result" not in answer:
        return str(orjson.dumps(answer))
    return answer["result"]["_meta"][META]["code"] if answer["result"].get("isError") else None
