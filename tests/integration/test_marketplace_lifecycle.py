"""The way of a server into the catalogue and to customers: review, tiers, licences, ratings, the registry's API."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import pytest

from servers.marketplace.catalogue.lifecycle import FOLLOWING, TIERS, reaches
from servers.marketplace.catalogue.store import EVER, EVERYTHING, CatalogueStore, queries
from servers.marketplace.catalogue.tools import ToolStore
from servers.marketplace.tools.access import AccessExplained
from servers.marketplace.tools.licences import LicenceList, LicenceShown
from servers.marketplace.tools.publishing import RegistryImported
from servers.marketplace.tools.review import ServerReviewed
from shared.contracts.catalogue import CatalogueEntry, CataloguePage
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound
from shared.postgres.database import Database
from shared.postgres.migrations import apply, migrate, migrations_of
from tests.marketplace_rig import Changing, Credential, Market, answer_json, definition, refusal
from tests.serving_rig import HEARS_S

ORDERS = "com.example/orders"


async def submit(market: Market, token: str, url: str, **changes: Any) -> CatalogueEntry:
    told = {"server_name": ORDERS, "title": "Orders", "description": "Reads orders.", "version": "1.0", "url": url}
    return await market.call(token, "submit_mcp", CatalogueEntry, **(told | changes))


async def approve(market: Market, name: str = ORDERS, **changes: Any) -> CatalogueEntry:
    operator = await market.operator()
    await market.call(operator, "review_mcp", CatalogueEntry, server_name=name, state="review")
    seen = await market.call(operator, "check_mcp", ServerReviewed, server_name=name)
    told = {"server_name": name, "state": "approved", "reviewed": seen.reviewed} | changes
    return await market.call(operator, "review_mcp", CatalogueEntry, **told)


async def listed(market: Market, token: str, **arguments: Any) -> list[str]:
    page = await market.call(token, "list_marketplace_mcps", CataloguePage, **arguments)
    return [entry.server_name for entry in page.entries]


async def say(market: Market, token: str, name: str = ORDERS) -> int:
    """The status of a call through the gateway."""
    return (await market.post_call(token, "say", f"/servers/{name}/mcp")).status_code


async def sql(market: Market, statement: str, *values: Any) -> None:
    """Change what is remembered from outside; back once the marketplace has heard of it."""
    changes = market.server.services.changes
    before = changes.epoch
    async with Database(market.urls.app) as db, db.session(platform=True) as connection:
        await connection.execute(statement, *values)
    async with asyncio.timeout(HEARS_S):
        while changes.epoch == before:  # noqa: ASYNC110  # it tells nobody that waits
            await asyncio.sleep(0.005)


async def keep_notifications_back(market: Market) -> None:
    """Let the database tell nobody any more of a change."""
    owner = await asyncpg.connect(market.urls.owner)
    silent = "CREATE OR REPLACE FUNCTION tell_replicas() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NULL; END$$"
    await owner.execute(silent)
    await owner.close()


def test_an_entry_is_approved_only_after_a_review() -> None:
    assert [state for state, following in FOLLOWING.items() if "approved" in following] == ["review"]
    assert [[reaches(held, needed) for needed in TIERS] for held in ("starter", "business")] == [
        [True, False, False, False],
        [True, True, True, False],
    ]


async def test_a_proposed_server_is_seen_by_its_author_alone_until_it_is_approved_as_it_was_reviewed(
    market: Market,
) -> None:
    operator, acme = await market.operator(), await market.user_token("acme")
    entry = await submit(market, operator, await market.add_app(Changing(definition("say"))))
    assert (entry.approval, entry.kind) == ("submitted", "external")
    assert ORDERS not in await listed(market, acme)
    unreviewed = {"server_name": ORDERS, "state": "approved"}
    seen = await market.call(operator, "check_mcp", ServerReviewed, server_name=ORDERS)
    too_soon = market.call(operator, "review_mcp", **unreviewed, reviewed=seen.reviewed)
    assert isinstance(await refusal(too_soon), Conflict)
    await market.call(operator, "review_mcp", server_name=ORDERS, state="review")
    assert isinstance(await refusal(market.call(operator, "review_mcp", **unreviewed)), InvalidInput)
    approved = await approve(market, tier="starter", direction="input")
    assert [tool.name for tool in approved.tools] == ["say"]
    assert (approved.approval, approved.direction) == ("approved", "input")
    assert ORDERS in await listed(market, acme)
    assert await listed(market, acme, tool_name="say") == [ORDERS]
    assert await listed(market, acme, query="ord read") == [ORDERS]
    await market.call(acme, "install_mcp", server_name=ORDERS)
    assert await say(market, acme) == 200
    await market.call(operator, "review_mcp", server_name=ORDERS, state="suspended")
    assert await say(market, acme) == 404
    await approve(market)
    again = await submit(market, operator, await market.add_app(Changing(definition("say"))), version="2.0")
    assert again.approval == "submitted"  # another address: looked at anew
    assert await say(market, acme) == 404


async def test_a_name_belongs_to_who_proposed_it_and_addresses_inside_are_the_operators_alone(market: Market) -> None:
    partners = [await market.add_user("partner_admin", None, f"{name}@partner.example") for name in ("a", "b")]
    first, second = [await market.token(Credential(each.client_id, each.client_secret)) for each in partners]
    await submit(market, first, "https://orders.example.com/mcp")
    assert isinstance(await refusal(submit(market, second, "https://other.example.com/mcp")), Conflict)
    assert ORDERS not in await listed(market, second)
    for url in ("http://127.0.0.1:9312/mcp", "http://169.254.169.254/mcp", "https://localhost/mcp"):
        assert isinstance(await refusal(submit(market, first, url)), InvalidInput)
    for name in ("io.0711/other", "io.0711.bolt/instance"):
        assert isinstance(
            await refusal(submit(market, first, "https://x.example.com/mcp", server_name=name)), InvalidInput
        )
    review = market.call(first, "review_mcp", server_name=ORDERS, state="review")
    assert isinstance(await refusal(review), Forbidden)
    acme = await market.user_token("acme")
    own = await submit(market, acme, "https://erp.acme.example.com/mcp", server_name="com.acme/erp")
    assert own.customer_id == "acme"  # a customer's own server: nobody else ever sees it
    bolt = await market.user_token("bolt")
    assert "com.acme/erp" not in await listed(market, bolt)
    same = {"server_name": "com.bolt/erp", "url": "https://erp.acme.example.com/mcp"}
    assert (await submit(market, bolt, **same)).customer_id == "bolt"  # nor does it learn where that one stands
    taken = await refusal(submit(market, bolt, "https://x.example.com/mcp", server_name="com.acme/erp"))
    assert isinstance(taken, Conflict)
    assert taken.as_dict() == (await refusal(submit(market, bolt, "https://x.example.com/mcp"))).as_dict()
    with pytest.raises(InvalidInput):
        await submit(market, bolt, "http://erp.bolt.example.com/mcp", server_name="com.bolt/plain")


async def test_an_address_that_comes_while_the_entry_is_being_approved_is_not_approved_with_it(market: Market) -> None:
    operator = await market.operator()
    await submit(market, operator, await market.add_app(Changing(definition("say"))))
    async with Database(market.urls.app) as db:
        store = CatalogueStore(db)
        before = await store.by_name(EVERYTHING, ORDERS)
        assert before is not None
        await approve(market)
        assert await store.put(replace(before, url="https://evil.example.com/mcp"), before.listing.registered_by)
        after = await store.by_name(EVERYTHING, ORDERS)
        assert after is not None
        assert after.approval == "submitted"
        assert (await ToolStore(db).of(EVERYTHING, ORDERS)).tools == ()  # what was reviewed stood elsewhere


async def test_a_tier_decides_what_a_customer_sees_installs_and_calls(market: Market) -> None:
    operator, acme = await market.operator(), await market.user_token("acme")
    await submit(market, operator, await market.add_app(Changing(definition("say"))))
    await approve(market, tier="business")
    hidden = await refusal(market.call(acme, "install_mcp", server_name=ORDERS))
    unknown = await refusal(market.call(acme, "install_mcp", server_name="com.example/none"))
    assert hidden.as_dict() == unknown.as_dict()
    assert ORDERS not in await listed(market, acme)
    await market.call(operator, "set_customer_tier", customer_id="acme", tier="enterprise")
    assert ORDERS in await listed(market, acme)
    await market.call(acme, "install_mcp", server_name=ORDERS)
    assert await say(market, acme) == 200
    await market.call(operator, "set_customer_tier", customer_id="acme", tier="professional")
    assert await say(market, acme) == 404
    assert isinstance(
        await refusal(market.call(acme, "set_customer_tier", customer_id="acme", tier="enterprise")), Forbidden
    )
    partner = await market.add_user("partner_admin", None, "p@partner.example")
    token = await market.token(Credential(partner.client_id, partner.client_secret))
    who = {"customer_id": "third", "company_name": "Third GmbH", "contact_email": "it@third.example"}
    await market.call(token, "register_customer", **who)
    raised = market.call(token, "set_customer_tier", customer_id="third", tier="enterprise")
    assert isinstance(await refusal(raised), Forbidden)  # not even for a customer that it brought


@pytest.mark.requirement("A-04")
async def test_a_replica_sees_what_it_changed_itself_before_the_notification_of_it_comes(market: Market) -> None:
    operator, acme = await market.operator(), await market.user_token("acme")
    user = await market.add_user("customer_admin", "acme", "short@acme.example")
    ends = await market.token(Credential(user.client_id, user.client_secret))
    await submit(market, operator, await market.add_app(Changing(definition("say"))))
    await approve(market)
    await market.call(acme, "install_mcp", server_name=ORDERS)
    await keep_notifications_back(market)
    assert (await say(market, acme), await say(market, ends)) == (200, 200)
    await market.call(operator, "disable_user", user_id=user.user_id)
    assert await say(market, ends) == 401
    await market.call(acme, "uninstall_mcp", server_name=ORDERS)
    assert await say(market, acme) == 404
    await market.call(acme, "install_mcp", server_name=ORDERS)
    assert await say(market, acme) == 200
    await market.call(operator, "review_mcp", server_name=ORDERS, state="suspended")
    assert await say(market, acme) == 404


async def test_a_licence_is_checked_at_use_and_a_forged_expired_or_revoked_one_is_none(market: Market) -> None:
    operator = await market.operator()
    tokens = {name: await market.user_token(name) for name in ("acme", "bolt")}
    await submit(market, operator, await market.add_app(Changing(definition("say"))))
    await approve(market, needs_licence=True)
    refused = await refusal(market.call(tokens["acme"], "install_mcp", server_name=ORDERS))
    assert isinstance(refused, Forbidden)
    assert "licence" in refused.message

    async def issue(customer: str, days: int = 30) -> LicenceShown:
        told = {"customer_id": customer, "server_name": ORDERS, "days": days}
        return await market.call(operator, "issue_licence", LicenceShown, **told)

    given = {name: await issue(name) for name in tokens}
    for token in tokens.values():
        await market.call(token, "install_mcp", server_name=ORDERS)
        assert await say(market, token) == 200
    (own,) = (await market.call(tokens["acme"], "list_licences", LicenceList)).licences
    assert own == given["acme"]
    for token, cursor in ((tokens["acme"], given["bolt"].licence_id), (operator, "lic_" + "a" * 26)):
        with pytest.raises(InvalidInput, match="not one of ours"):  # another customer's, and one that nobody gave
            await market.call(token, "list_licences", LicenceList, cursor=cursor)
    read_on = await market.call(tokens["acme"], "list_licences", LicenceList, cursor=own.licence_id)
    assert (read_on.licences, read_on.next_cursor) == ([], None)
    await market.call(operator, "revoke_licence", licence_id=given["acme"].licence_id)
    assert (await say(market, tokens["acme"]), await say(market, tokens["bolt"])) == (404, 200)
    told = await market.call(tokens["acme"], "explain_access", AccessExplained, server_name=ORDERS)
    assert ["licence" in step.reason for step in told.steps if not step.allowed] == [True]
    assert isinstance(
        await refusal(market.call(operator, "revoke_licence", licence_id=given["acme"].licence_id)), NotFound
    )
    ends = datetime.now(UTC) + timedelta(days=9)
    copied = (
        "INSERT INTO licences "
        "(licence_id, customer_id, server_name, document, key_id, signature, issued_by, expires_at) "
        "SELECT 'lic_' || repeat('a', 26), 'acme', server_name, document, key_id, signature, issued_by, $1 "
        "FROM licences WHERE customer_id = 'bolt'"
    )
    await sql(market, copied, ends)
    assert await say(market, tokens["acme"]) == 404  # bolt's document in a row of acme's
    await sql(market, "UPDATE licences SET document = replace(document, 'bolt', 'acme') WHERE customer_id = 'acme'")
    assert await say(market, tokens["acme"]) == 404  # and with its name written over
    short = await issue("acme", days=20)
    assert await say(market, tokens["acme"]) == 200
    assert short.valid
    await sql(market, "UPDATE licences SET revoked_at = now() WHERE licence_id = $1", short.licence_id)
    assert await say(market, tokens["acme"]) == 404


async def test_each_customer_has_one_rating_of_a_server_that_it_has_installed(market: Market) -> None:
    tokens = {name: await market.user_token(name) for name in ("acme", "bolt")}
    tax = "io.0711/tax"
    assert isinstance(await refusal(market.call(tokens["acme"], "rate_mcp", server_name=tax, stars=5)), NotFound)
    for token in tokens.values():
        await market.call(token, "install_mcp", server_name=tax)
    for name, stars in (("acme", 1), ("acme", 5), ("bolt", 4)):
        await market.call(tokens[name], "rate_mcp", server_name=tax, stars=stars)
    (entry,) = (await market.call(tokens["acme"], "list_marketplace_mcps", CataloguePage, query="tax")).entries
    assert (entry.rating, entry.ratings) == (4.5, 2)


async def test_the_registry_answers_with_versions_digests_and_what_was_changed_since(market: Market) -> None:
    operator, acme = await market.operator(), await market.user_token("acme")
    headers = {"authorization": f"Bearer {acme}"}

    async def get(path: str, **query: str) -> Any:
        return await market.http.get(f"{market.base}/v0.1/servers{path}", params=query, headers=headers)

    url = await market.add_app(Changing(definition("say")))
    await submit(market, operator, url)
    await approve(market)
    before = datetime.now(UTC).isoformat()
    await submit(market, operator, url, version="1.1")
    await approve(market)
    name = ORDERS.replace("/", "%2F")
    versions = (await get(f"/{name}/versions")).json()["servers"]
    assert [each["server"]["version"] for each in versions] == ["1.1", "1.0"]
    latest, named = (await get(f"/{name}/versions/latest")).json(), (await get(f"/{ORDERS}/versions/1.1")).json()
    assert latest == named
    meta = latest["_meta"]
    assert meta["io.modelcontextprotocol.registry/official"]["isLatest"] is True
    (tool,) = meta["io.0711/catalogue"]["tools"]
    assert (tool["name"], tool["digest"][:7]) == ("say", "sha256:")
    assert (await get(f"/{name}/versions/1.0")).json()["_meta"]["io.modelcontextprotocol.registry/official"][
        "isLatest"
    ] is False
    assert (await get(f"/{name}/versions/9")).status_code == 404
    assert (await get("/com.example%2Fnone/versions")).status_code == 404
    changed = (await get("", updated_since=before)).json()
    assert [each["server"]["name"] for each in changed["servers"]] == [ORDERS]
    assert (await get("", version="latest", search="orders")).json()["metadata"]["count"] == 1
    for wrong in ({"version": "1.0"}, {"updated_since": "yesterday"}, {"search": "%_"}, {"cursor": "x"}):
        assert (await get("", **wrong)).status_code == 400, wrong


async def test_ten_thousand_entries_are_read_by_their_indexes(database: Any) -> None:
    made = await database("servers.marketplace", "shared")
    fill = """
        INSERT INTO catalogue_entries
            (server_name, title, description, version, kind, url, approval, tools, registered_by)
        SELECT 'com.example' || n || '/server', 'Server ' || n, 'Does thing ' || n || ' of ' || md5(n::text), '1',
               'external', NULL, 'approved', '[]', 'test'
        FROM generate_series(1, 10000) n;
        INSERT INTO server_tools (server_name, name, place, pin, seen)
        SELECT server_name, 'tool_' || substr(server_name, 12, 3), 0, NULL, NULL FROM catalogue_entries;
        INSERT INTO entry_words (word, server_name)
        SELECT DISTINCT word, server_name
        FROM catalogue_entries, regexp_split_to_table(lower(description), '[^a-z0-9]+') word;
        ANALYZE;
    """
    import asyncpg

    owner = await asyncpg.connect(made.urls.owner)
    try:
        await owner.execute("SELECT set_config('app.platform', 'on', false)")
        await owner.execute(fill)
    finally:
        await owner.close()
    asked = {
        queries.page_names: (None, "com.example5", False, False, "x", EVER, 100),
        queries.search_names: (["777", "thing"], ["777~", "thing~"], "", False, "x", 100),
        queries.tool_names: ("tool_77", "", False, "x", 100),
        queries.name_by_url: ("https://x.example/mcp",),
    }
    async with made.db.session("acme") as connection:
        for query, values in asked.items():
            rows = await connection.fetch("EXPLAIN " + query.sql, *values)
            plan = "\n".join(row[0] for row in rows)
            assert "Seq Scan on catalogue_entries" not in plan, plan
            assert "Seq Scan on server_tools" not in plan, plan
            assert "Seq Scan on entry_words" not in plan, plan


def server_json(
    name: str, url: str | None, version: str = "1.0", status: str = "active", **more: Any
) -> dict[str, Any]:
    remotes = [] if url is None else [{"type": "streamable-http", "url": url}]
    told = {"name": name, "description": "Does things.", "version": version, "remotes": remotes, **more}
    return {"server": told, "_meta": {"io.modelcontextprotocol.registry/official": {"status": status}}}


class Registry:
    """Another registry: pages of two servers."""

    def __init__(self, *servers: Any) -> None:
        self.servers = list(servers)
        self.asked: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        query = dict(parse_qsl(scope["query_string"].decode()))
        self.asked.append(scope["path"])
        start = int(query.get("cursor", "0"))
        metadata = {"nextCursor": str(start + 2)} if start + 2 < len(self.servers) else {}
        await answer_json(send, {"servers": self.servers[start : start + 2], "metadata": metadata})


async def test_another_registry_becomes_proposals_and_what_it_deletes_is_suspended(market: Market) -> None:
    operator, acme = await market.operator(), await market.user_token("acme")
    registry = Registry(
        server_json("com.example/a", "https://a.example.com/mcp"),
        server_json("com.example/b", None),
        server_json("io.0711/cradle", "https://evil.example.com/mcp"),
        server_json("com.example/c", "http://169.254.169.254/mcp"),
        {"server": "nonsense"},
        server_json("com.example/v", "https://v.example.com/mcp", version="1 0"),
        server_json("com.example/d", "https://d.example.com/mcp", version="1.0+5", title="D" * 999),
        server_json("COM.Example/E", "https://e.example.com/mcp"),
    )
    url = (await market.add_app(registry)).removesuffix("/mcp")

    async def mirrored(token: str = operator) -> RegistryImported:
        return await market.call(token, "import_registry", RegistryImported, url=url)

    first = await mirrored()
    assert (first.proposed, first.next_cursor) == (2, None)
    assert first.skipped == {
        "no address to call": 1, "a name that is not allowed here": 2, "an address that is not allowed": 1,
        "not in the registry's form": 1, "a version that is not allowed here": 1,
    }  # fmt: skip
    assert set(registry.asked) == {"/v0.1/servers"}
    assert (await mirrored()).unchanged == 2
    assert await listed(market, acme, query="example") == []
    await sql(market, "UPDATE catalogue_entries SET approval = 'approved' WHERE server_name LIKE 'com.example/%'")
    assert await listed(market, acme, query="example") == ["com.example/a", "com.example/d"]
    registry.servers = [
        server_json("com.example/a", "https://other.example.com/mcp", version="2.0"),
        server_json("com.example/d", "https://d.example.com/mcp", status="deleted"),
    ]
    second = await mirrored()
    assert (second.proposed, second.suspended) == (1, 1)
    assert await listed(market, acme, query="example") == []
    partner = await market.add_user("partner_admin", None, "p@partner.example")
    assert isinstance(
        await refusal(mirrored(await market.token(Credential(partner.client_id, partner.client_secret)))), Forbidden
    )
    registry.servers = []
    assert (await mirrored()).next_cursor is None
    for wrong in ("http://169.254.169.254", "file:///etc/passwd"):
        assert isinstance(await refusal(market.call(operator, "import_registry", url=wrong)), InvalidInput)


async def test_without_a_token_only_what_is_for_everybody_can_be_known(market: Market) -> None:
    await market.add_instance("acme", None)
    told = (await market.http.get(market.base + "/.well-known/ai-catalog.json")).json()
    names = [entry["identifier"].removeprefix("urn:mcp:server:") for entry in told["entries"]]
    assert names == ["io.0711/cradle", "io.0711/marketplace", "io.0711/orchestrator", "io.0711/tax"]
    for entry in told["entries"]:
        card = await market.http.get(entry["url"])
        assert card.headers["content-type"] == "application/mcp-server-card+json"
        assert entry["url"] == card.json()["remotes"][0]["url"] + "/server-card"
    for hidden in ("/servers/io.0711.acme/instance/mcp/server-card", "/servers/com.example/none/mcp/server-card"):
        assert (await market.http.get(market.base + hidden)).status_code == 404


async def test_entries_of_customers_are_taken_over_by_the_migration(database: Any) -> None:
    urls = (await database("servers.marketplace", migrated=False)).urls
    migrations = migrations_of("servers.marketplace")
    await apply(urls.owner, "servers.marketplace", migrations[:6])
    async with Database(urls.app) as db:
        async with db.session("acme") as connection:
            await connection.execute("INSERT INTO customers VALUES ('acme', 'Acme GmbH', 'it@acme.example')")
            await connection.execute(
                "INSERT INTO catalogue_entries (server_name, title, description, version, kind, customer_id, approval, "
                "registered_by) VALUES ('io.0711.acme/instance', 'a', 'b', '1', 'instance', 'acme', 'approved', 'x')"
            )
        await migrate(urls.owner, "servers.marketplace")
        async with db.session("acme") as connection:
            assert await connection.fetchval("SELECT count(*) FROM server_versions") == 1
            assert await connection.fetchval("SELECT count(*) FROM server_checks") == 1
            assert await connection.fetchval("SELECT count(*) FROM entry_words WHERE word = 'instance'") == 1
