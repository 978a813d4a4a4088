"""Connections: a customer's credential is tested, sealed, sent to its server alone, and never shown."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from servers.marketplace.tools.connections import Connected, ConnectionList, Disconnected
from shared.contracts.catalogue import ServerUninstalled
from shared.errors import Conflict, InvalidInput, NotFound, PlatformError, Unavailable
from shared.postgres.database import Database
from tests.integration.test_marketplace_gateway_tools import listed
from tests.integration.test_marketplace_lifecycle import ORDERS, approve, refusal, say, sql, submit
from tests.marketplace_rig import Changing, Market, answer_json, definition

SECRET = "Bearer canary-7f3a9-credential"
OPERATORS = "Bearer operators"


class Locked(Changing):
    """A server that wants one of its keys, notes what it was sent, and may show each key tools of its own."""

    def __init__(self, *tools: dict[str, Any]) -> None:
        super().__init__(*tools)
        self.shown = dict.fromkeys((SECRET, OPERATORS), self.tools)
        self.sent: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        told = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.sent.append(told.get("authorization", ""))
        if self.sent[-1] not in self.shown:
            await answer_json(send, {"error": "no"}, 401)
            return
        self.tools = self.shown[self.sent[-1]]
        await super().__call__(scope, receive, send)


async def prepared(market: Market) -> tuple[Locked, str, str]:
    """A locked server that the operator reviewed with its own key, and tokens of two customers that installed it."""
    upstream, operator = Locked(definition("say")), await market.operator()
    await submit(market, operator, await market.add_app(upstream))
    await connect(market, operator, OPERATORS)
    await approve(market)
    tokens = [await market.user_token(name) for name in ("acme", "bolt")]
    for token in tokens:
        await market.call(token, "install_mcp", server_name=ORDERS)
    return upstream, *tokens


async def connect(market: Market, token: str, credential: str = SECRET, **more: Any) -> Connected:
    told = {"server_name": ORDERS, "credential": credential} | more
    return await market.call(token, "connect_mcp", Connected, **told)


async def test_a_credential_that_the_server_refuses_is_not_saved_and_one_that_works_is_sent_there_alone(
    market: Market,
) -> None:
    upstream, acme, bolt = await prepared(market)
    assert isinstance(await refusal(connect(market, acme, "Bearer wrong")), Unavailable)
    assert (await market.call(acme, "list_connections", ConnectionList)).connections == []
    done = await connect(market, acme, direction="output")
    assert (done.tools, done.direction) == (1, "output")
    upstream.sent.clear()
    assert await say(market, acme) == 200
    together = await market.post_call(acme, "com-example-orders__say")
    assert together.status_code == 200
    assert set(upstream.sent) == {SECRET}
    upstream.sent.clear()
    assert await say(market, bolt) == 503  # another customer's credential is never used for it
    assert SECRET not in upstream.sent
    (listed,) = (await market.call(acme, "list_connections", ConnectionList)).connections
    assert SECRET not in listed.model_dump_json()
    assert (await market.call(bolt, "list_connections", ConnectionList)).connections == []
    gone = await market.call(acme, "disconnect_mcp", Disconnected, server_name=ORDERS)
    assert gone.was_connected
    assert await say(market, acme) == 503


async def test_by_a_connection_for_input_only_tools_that_say_that_they_read_are_listed_and_called(
    market: Market,
) -> None:
    upstream, operator = Locked(definition("say"), definition("book")), await market.operator()
    upstream.tools[0]["annotations"] = {"readOnlyHint": True}
    await submit(market, operator, await market.add_app(upstream))
    await connect(market, operator, OPERATORS)
    await approve(market)
    acme, bolt = [await market.user_token(name) for name in ("acme", "bolt")]
    for token, way in ((acme, "input"), (bolt, "both")):
        await market.call(token, "install_mcp", server_name=ORDERS)
        assert (await connect(market, token, direction=way)).direction == way

    async def offered(token: str) -> set[str]:
        return set(await listed(market, token, f"/servers/{ORDERS}/mcp"))

    assert await offered(acme) == {"say"}
    assert await offered(bolt) == {"say", "book"}
    upstream.sent.clear()
    assert await say(market, acme) == 200
    assert (await market.post_call(acme, "com-example-orders__book")).status_code == 400
    assert len(upstream.sent) == 1
    told = await market.call(acme, "explain_access", server_name=ORDERS, tool_name="book")
    assert not told["allowed"]
    assert "for input" in told["steps"][-1]["reason"]
    await connect(market, acme, direction="output")  # connected anew, at once
    assert len(await offered(acme)) == 2


async def test_a_connection_goes_no_other_way_than_the_catalogue_says(market: Market) -> None:
    operator = await market.operator()
    await submit(market, operator, await market.add_app(Locked(definition("say"))))
    await connect(market, operator, OPERATORS)
    await approve(market, direction="input")
    acme = await market.user_token("acme")
    await market.call(acme, "install_mcp", server_name=ORDERS)
    for way in ("output", "both"):
        error = await refusal(connect(market, acme, direction=way))
        assert isinstance(error, InvalidInput)
        assert error.field == "direction"
    assert (await connect(market, acme)).direction == "input"


async def test_a_changed_tool_of_a_locked_server_is_noticed_with_the_credential(market: Market) -> None:
    upstream, acme, _ = await prepared(market)
    upstream.shown[SECRET] = [definition("say", "Only of this customer's workspaces."), definition("secret")]
    await connect(market, acme)
    review = await market.call(await market.operator(), "check_mcp", server_name=ORDERS)
    assert [tool["state"] for tool in review["tools"]] == ["approved"]  # a customer's key shows nothing to the others
    upstream.shown[OPERATORS] = [definition("say", "Something else.")]
    review = await market.call(await market.operator(), "check_mcp", server_name=ORDERS)
    assert [tool["state"] for tool in review["tools"]] == ["changed"]
    assert await say(market, acme) in {400, 404}


async def test_a_credential_is_sealed_in_the_database_and_bound_to_customer_and_server(
    market: Market, caplog: pytest.LogCaptureFixture
) -> None:
    _, acme, bolt = await prepared(market)
    await connect(market, acme)
    copied = (
        "INSERT INTO connections (customer_id, server_name, direction, header, sealed, saved_by) "
        "SELECT 'bolt', server_name, direction, header, sealed, saved_by FROM connections"
    )
    with pytest.raises(PlatformError):  # not even the platform writes for another customer
        await sql(market, copied)
    async with Database(market.urls.app) as db:
        async with db.session("bolt") as connection:
            row = await connection.fetchrow("SELECT count(*) AS n FROM connections")
        async with db.session("acme") as connection:
            sealed = await connection.fetchval("SELECT sealed FROM connections")
        async with db.session("bolt") as connection:
            await connection.execute(
                "INSERT INTO connections (customer_id, server_name, direction, header, sealed, saved_by) "
                "VALUES ('bolt', $1, 'both', 'authorization', $2, 'x')",
                ORDERS,
                sealed,
            )
    assert row["n"] == 0
    assert "canary" not in sealed
    assert await say(market, bolt) == 409  # acme's sealed text opens for acme alone
    assert "canary" not in caplog.text
    assert "canary" not in orjson.dumps([record.__dict__.get("msg") for record in caplog.records], default=str).decode()


async def test_a_credential_follows_a_server_to_no_other_address_and_whoever_is_connected_may_leave(
    market: Market,
) -> None:
    _, acme, _ = await prepared(market)
    await connect(market, acme)
    operator, elsewhere = await market.operator(), Locked(definition("say"))
    await submit(market, operator, await market.add_app(elsewhere))
    assert isinstance(await refusal(market.call(operator, "check_mcp", server_name=ORDERS)), Conflict)
    assert elsewhere.sent == []  # neither the customer's nor the operator's, before anybody has looked at it
    await connect(market, operator, OPERATORS)
    await approve(market)
    assert await say(market, acme) == 409
    assert (await market.post_call(acme, "com-example-orders__say")).status_code == 409
    assert SECRET not in elsewhere.sent
    await connect(market, acme)
    assert await say(market, await market.user_token("acme")) == 200  # of whom nothing is remembered
    await market.call(operator, "review_mcp", server_name=ORDERS, state="suspended")
    gone = await market.call(acme, "disconnect_mcp", Disconnected, server_name=ORDERS)
    taken = await market.call(acme, "uninstall_mcp", ServerUninstalled, server_name=ORDERS)
    assert (gone.was_connected, taken.was_installed) == (True, True)
    for tool in ("disconnect_mcp", "uninstall_mcp"):
        assert isinstance(await refusal(market.call(acme, tool, server_name=ORDERS)), NotFound)


@pytest.mark.requirement("A-10")
async def test_a_connection_is_saved_and_removed_together_with_its_entry_in_the_log_or_not_at_all(
    market: Market, postgres_server: Any
) -> None:
    _, acme, _ = await prepared(market)
    await connect(market, acme, direction="input")
    store = market.server.services.connections
    saving = ("acme", ORDERS, "https://x.example/mcp", "both", ("authorization", "Bearer other"), "usr_a")
    async with postgres_server.superuser(market.urls) as rows:
        before = await rows.fetch("SELECT * FROM connections ORDER BY customer_id")
        await rows.execute("ALTER TABLE audit RENAME TO audit_away")
        for change in (store.save(*saving), store.remove("acme", ORDERS, "usr_a")):
            with pytest.raises(PlatformError):
                await change
        assert await rows.fetch("SELECT * FROM connections ORDER BY customer_id") == before
        await rows.execute("ALTER TABLE audit_away RENAME TO audit")
        await market.call(acme, "disconnect_mcp", server_name=ORDERS)
        told = await rows.fetch(
            "SELECT verb, subject, detail FROM audit "
            "WHERE customer_id = 'acme' AND verb ~ '^connection' ORDER BY number"
        )
    assert [tuple(row)[:2] for row in told] == [("connection.saved", ORDERS), ("connection.removed", ORDERS)]
    assert "input" in told[0]["detail"]
    assert "canary" not in str(told)


async def test_headers_cannot_be_injected_and_own_servers_take_no_credential(market: Market) -> None:
    await prepared(market)
    acme = await market.user_token("acme")
    for wrong in ("a\r\nx-evil: 1", "a\n", " a", "", "ä"):
        assert isinstance(await refusal(connect(market, acme, wrong)), InvalidInput), wrong
    assert isinstance(await refusal(connect(market, acme, header="host")), InvalidInput)
    assert isinstance(await refusal(connect(market, acme, server_name="io.0711/tax")), Conflict)


async def test_a_session_that_was_opened_with_one_credential_is_not_gone_on_with_under_another(market: Market) -> None:
    """A server may go by its session alone: whoever had more rights when it was opened would keep them."""
    upstream, operator, acme = Locked(definition("say")), await market.operator(), await market.user_token("acme")
    upstream.era, other, used = "legacy", "Bearer another", list[tuple[str, str | None]]()
    upstream.shown[other] = upstream.tools

    async def seeing(scope: Any, receive: Any, send: Any) -> None:
        told = {name.decode(): value.decode() for name, value in scope["headers"]}
        used.append((told["authorization"], told.get("mcp-session-id")))
        await upstream(scope, receive, send)

    await submit(market, operator, await market.add_app(seeing))
    await connect(market, operator, OPERATORS)
    await approve(market)
    await market.call(acme, "install_mcp", server_name=ORDERS)
    sessions = []
    for credential in (SECRET, SECRET, other):
        await connect(market, acme, credential)
        assert await say(market, acme) == 200
        assert used[-1][0] == credential
        sessions.append(used[-1][1])
    assert sessions[0] == sessions[1] != sessions[2]
