"""T-01 for the marketplace, generated from its tools: what is another customer's gets the answer of what is unknown.

Every argument of every tool is either an id, of which this file knows one of the other customer and an unknown one, or
filled from a list. A tool with an argument that is neither fails, so a new tool cannot be forgotten.
"""

from __future__ import annotations

from typing import Any

import pytest

from servers.marketplace.app import build
from servers.marketplace.approvals.store import ApprovalStore, Bound
from servers.marketplace.authorization.store import Authorization, AuthorizationStore
from shared.ids import new_handle
from shared.postgres.database import Database
from shared.settings import Settings
from tests.marketplace_rig import DIGEST, Changing, Credential, Market, definition
from tests.serving_rig import answer_of

NAMES = {
    "email": "new@example.com", "role": "customer_user", "query": "instance", "cursor": None, "limit": 50,
    "company_name": "Bolt AG", "contact_email": "it@bolt.example", "name": "instance", "image_digest": DIGEST,
    "url": None, "tools": [], "reviewed": DIGEST, "language": "sql", "statement": "SELECT 1", "approve": True,
    "tool_name": "say", "month": None, "start": 0, "title": "X", "description": "X", "version": "1", "state": "review",
    "tier": "business", "stars": 5, "updated_since": None, "needs_licence": None, "direction": None, "days": 1,
    "batch_id": new_handle("use"), "kept": False, "failed": False,
    "question": "instance", "credential": "Bearer x", "header": "authorization",
    "condition": "true", "arguments": None, "package": None,
}  # fmt: skip
IDS = {
    "customer_id": "nobody",
    "server_name": "io.0711.nobody/instance",
    "user_id": new_handle("usr"),
    "key_id": new_handle("key"),
    "session_id": new_handle("ses"),
    "partner": None,
    "approval_id": new_handle("apr"),
    "licence_id": new_handle("lic"),
    "invitation_id": new_handle("inv"),
    "rule_id": new_handle("rul"),
    "lines": [{"customer_id": "nobody", "day": "2026-11-26", "tool": "embed"}],
}


def arguments_of(tool: str) -> dict[str, Any]:
    return SCHEMAS[tool].get("properties", {})


def schemas() -> dict[str, dict[str, Any]]:
    server = build(Settings())
    return {tool.name: tool.parameters for tool in server.mcp._tool_manager.list_tools()}


SCHEMAS = schemas()
WITH_IDS = sorted(tool for tool in SCHEMAS if set(arguments_of(tool)) & set(IDS))


@pytest.mark.requirement("T-01")
def test_every_argument_of_every_tool_is_in_the_matrix() -> None:
    assert SCHEMAS
    for tool in SCHEMAS:
        assert set(arguments_of(tool)) <= set(NAMES) | set(IDS), tool


def filled(tool: str, ids: dict[str, Any]) -> dict[str, Any]:
    return {name: ids[name] if name in IDS else NAMES[name] for name in arguments_of(tool)}


async def asked_for(market: Market) -> str:
    """An approval of bolt that waits."""
    approval_id = new_handle("apr")
    bound = Bound("io.0711.bolt/instance", "apply_change", DIGEST, DIGEST, DIGEST)
    async with Database(market.urls.app) as database:
        await ApprovalStore(database).add("bolt", approval_id, new_handle("usr"), bound, new_handle("chg"), 1)
    return approval_id


@pytest.mark.requirement("T-01")
async def test_an_id_of_another_customer_gets_the_answer_of_an_unknown_one(market: Market) -> None:
    url = await market.add_app(Changing(definition("say")))
    bert = await market.add_user("customer_user", "bolt", "bert@bolt.example")
    theirs = {
        "customer_id": "bolt",
        "server_name": await market.add_instance("bolt", url),
        "user_id": bert.user_id,
        "key_id": bert.client_id,
        "session_id": await let_in_by(market, bert.user_id),
        "partner": None,
        "approval_id": await asked_for(market),
        "licence_id": await licence_of(market, "bolt"),
        "invitation_id": await invited_to(market, "bolt"),
        "rule_id": await rule_about(market, "io.0711.bolt/instance"),
        "lines": [{**IDS["lines"][0], "customer_id": "bolt"}],
    }
    callers = {
        "customer_admin": await market.user_token("acme"),
        "customer_user": await market.user_token("acme", "customer_user"),
        "service": await market.token(market.credential("orchestrator"), customer="acme"),
        "platform_admin": await market.token(market.credential("operator"), customer="acme"),
        "partner_admin": await partner_for(market, "carl"),
    }
    for caller, token in callers.items():
        for tool in WITH_IDS:
            foreign, unknown = [await market.post_call(token, tool, **filled(tool, ids)) for ids in (theirs, IDS)]
            assert (foreign.status_code, foreign.content) == (unknown.status_code, unknown.content), (caller, tool)
            refused = foreign.status_code == 403 or answer_of(foreign)["result"]["isError"]
            assert refused, (caller, tool)


async def let_in_by(market: Market, user_id: str) -> str:
    """A program that a user of bolt has let in."""
    session_id = new_handle("ses")
    place = "http://127.0.0.1:33418/back"
    given = Authorization(session_id, user_id, "bolt", bytes(32), market.resource, "", "x" * 43, place, True)
    async with Database(market.urls.app) as database:
        store = AuthorizationStore(database)
        await store.add(given, "bolt")
        assert await store.use_code(session_id)
    return session_id


async def partner_for(market: Market, customer: str) -> str:
    """A token of a partner who has brought this customer and acts for it."""
    made = await market.add_user("partner_admin", None, "partner@example.com")
    key = Credential(made.client_id, made.client_secret)
    who = {"customer_id": customer, "company_name": "Carl KG", "contact_email": "it@carl.example"}
    await market.call(await market.token(key), "register_customer", **who)
    return await market.token(key, customer=customer)


async def licence_of(market: Market, customer: str) -> str:
    issued = await market.call(
        await market.operator(), "issue_licence", customer_id=customer, server_name="io.0711/tax"
    )
    return issued["licence_id"]


async def invited_to(market: Market, customer: str) -> str:
    made = await market.call(
        await market.operator(), "invite_user", email="cara@bolt.example", role="customer_user", customer_id=customer
    )
    return made["invitation_id"]


async def rule_about(market: Market, server_name: str) -> str:
    made = await market.call(
        await market.operator(), "set_argument_rule", server_name=server_name, tool_name="say", condition="true"
    )
    return made["rule_id"]


@pytest.mark.requirement("T-01")
async def test_lists_and_searches_hold_nothing_of_another_customer(market: Market) -> None:
    await market.add_instance("bolt", None)
    token = await market.user_token("acme")
    for tool in sorted(set(SCHEMAS) - set(WITH_IDS)):
        answer = await market.post_call(token, tool, **filled(tool, IDS))
        assert "bolt" not in answer.text, tool
