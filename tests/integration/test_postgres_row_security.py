"""Every table with a customer's rows, in every package that has migrations, is closed by row-level security."""

from __future__ import annotations

import asyncpg
import pytest

TABLES = """
SELECT c.relname AS name, c.relrowsecurity AS enabled, c.relforcerowsecurity AS forced,
       pg_get_userbyid(c.relowner) AS owner,
       coalesce((SELECT bool_and(p.polqual IS NOT NULL AND (p.polwithcheck IS NOT NULL OR p.polcmd IN ('r', 'd')))
                 FROM pg_policy p WHERE p.polrelid = c.oid), false) AS both_ways
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname = 'public'
  AND EXISTS (SELECT 1 FROM pg_attribute a
              WHERE a.attrelid = c.oid AND a.attname IN ('customer_id', 'customer') AND NOT a.attisdropped)
ORDER BY 1
"""
ROLE = "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user"
MEMBERSHIPS = (
    "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = current_user"
)
OWNED = "SELECT count(*) FROM pg_class c WHERE pg_get_userbyid(c.relowner) = current_user"
DEFINERS = """
SELECT count(*) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname = 'public' AND p.prosecdef AND p.proconfig IS NULL
"""


@pytest.mark.requirement("T-02")
async def test_every_table_with_a_customer_is_closed_both_ways_even_for_its_owner(database, migrated_package) -> None:
    made = await database(migrated_package)
    connection = await asyncpg.connect(made.urls.owner)
    try:
        tables = await connection.fetch(TABLES)
        owner = await connection.fetchval("SELECT current_user")
    finally:
        await connection.close()
    for table in tables:
        assert table["enabled"], f"{table['name']}: ENABLE ROW LEVEL SECURITY is missing"
        assert table["forced"], f"{table['name']}: FORCE ROW LEVEL SECURITY is missing"
        assert table["both_ways"], f"{table['name']}: a policy lacks USING or WITH CHECK"
        assert table["owner"] == owner


@pytest.mark.requirement("T-02")
async def test_an_open_table_would_be_found(database) -> None:
    made = await database("shared", migrated=False)
    connection = await asyncpg.connect(made.urls.owner)
    try:
        await connection.execute("CREATE TABLE open (customer_id text); CREATE TABLE other (id integer)")
        assert [tuple(row)[:3] for row in await connection.fetch(TABLES)] == [("open", False, False)]
        await connection.execute(
            "ALTER TABLE open ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON open WITH CHECK (true)"
        )
        found = (await connection.fetch(TABLES))[0]
        assert (found["enabled"], found["forced"], found["both_ways"]) == (True, False, False)
    finally:
        await connection.close()


@pytest.mark.requirement("T-02")
async def test_the_application_role_owns_nothing_and_bypasses_nothing(database, migrated_package) -> None:
    made = await database(migrated_package)
    async with made.db.session() as connection:
        assert not any(await connection.fetchrow(ROLE))
        assert await connection.fetchval(MEMBERSHIPS) == 0
        assert await connection.fetchval(OWNED) == 0
        assert await connection.fetchval(DEFINERS) == 0, "a SECURITY DEFINER function without a fixed search_path"
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(f"SET ROLE {made.urls.owner.partition('://')[2].partition(':')[0]}")


@pytest.mark.requirement("T-02")
async def test_after_a_transaction_the_customer_is_empty_and_sees_nothing(database) -> None:
    made = await database("shared", migrated=False)
    owner = await asyncpg.connect(made.urls.owner)
    try:
        await owner.execute(
            """
            CREATE TABLE things (customer_id text);
            ALTER TABLE things ENABLE ROW LEVEL SECURITY;
            ALTER TABLE things FORCE ROW LEVEL SECURITY;
            CREATE POLICY own ON things USING (customer_id = nullif(current_setting('app.customer', true), ''))
            WITH CHECK (customer_id = nullif(current_setting('app.customer', true), ''));
            """
        )
        assert await owner.fetchval("SELECT count(*) FROM things") == 0
    finally:
        await owner.close()
    async with made.db.session("acme") as connection:
        await connection.execute("INSERT INTO things VALUES ('acme')")
        assert await connection.fetchval("SELECT count(*) FROM things") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("INSERT INTO things VALUES ('')")
    for _ in range(3):  # the same pooled connection, whose setting is '' by now
        async with made.db.session() as connection:
            assert await connection.fetchval("SELECT count(*) FROM things") == 0
