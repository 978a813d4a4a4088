"""Migrations on a real Postgres: applied once, in order, whole or not at all; an edited file is refused by name."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path

import asyncpg
import pytest

from shared.errors import Conflict, Internal, PlatformError, StorageFull, Unavailable
from shared.postgres.migrations import apply, migrate, migrations_of

SCHEMA = """
SELECT 'column ' || c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod) || ' '
       || a.attnotnull || ' ' || a.attidentity::text || a.attgenerated::text || ' '
       || coalesce(pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'table ' || relname || ' ' || relkind::text || ' ' || relrowsecurity || ' '
       || relforcerowsecurity || ' ' || coalesce(relacl::text, '')
FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION ALL SELECT 'index ' || indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT 'constraint ' || conrelid::regclass::text || ' ' || conname::text || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint WHERE connamespace = 'public'::regnamespace
UNION ALL SELECT 'policy ' || tablename || ' ' || policyname || ' ' || cmd || ' ' || coalesce(qual, '') || ' '
       || coalesce(with_check, '') FROM pg_policies WHERE schemaname = 'public'
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION ALL SELECT 'function ' || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
ORDER BY 1
"""

FIRST = "CREATE TABLE a (id integer PRIMARY KEY, name text);"
SECOND = "ALTER TABLE a ADD COLUMN size integer; CREATE INDEX a_by_size ON a (size);"


async def schema_of(url: str) -> str:
    """Everything that migrations may have made, one line each."""
    connection = await asyncpg.connect(url)
    try:
        return "\n".join(row[0] for row in await connection.fetch(SCHEMA))
    finally:
        await connection.close()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package on disk with two migrations; gives its name and its `sql` folder."""
    folder = tmp_path / "migrated_room" / "sql"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").write_text("")
    (folder / "0001_first.sql").write_text(FIRST)
    (folder / "0002_second.sql").write_text(SECOND)
    (folder / "queries.sql").write_text("-- name: nothing()\nSELECT 1;\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield "migrated_room", folder
    sys.modules.pop("migrated_room", None)


@pytest.fixture
async def urls(database):
    return (await database("shared", migrated=False)).urls


@pytest.mark.requirement("F-12")
async def test_three_migrators_at_once_apply_each_file_once(urls, package) -> None:
    applied = await asyncio.gather(*(migrate(urls.owner, package[0]) for _ in range(3)))
    assert sorted(applied) == [0, 0, 2]
    assert await migrate(urls.owner, package[0]) == 0


@pytest.mark.requirement("F-12")
@pytest.mark.parametrize("change", ["edit", "rename", "remove"])
async def test_an_applied_migration_that_was_touched_is_refused_by_name(urls, package, change) -> None:
    name, folder = package
    await migrate(urls.owner, name)
    file = folder / "0002_second.sql"
    if change == "edit":
        file.write_text(SECOND + " ")
    elif change == "rename":
        file.rename(folder / "0002_other.sql")
    else:
        file.unlink()
    (folder / "0003_third.sql").write_text("CREATE TABLE never (id integer)") if change != "remove" else None
    with pytest.raises(Conflict) as caught:
        await migrate(urls.owner, name)
    assert "0002_" in caught.value.message
    assert "never" not in await schema_of(urls.owner)


@pytest.mark.requirement("F-12")
@pytest.mark.parametrize(
    "breaks",
    [
        "SELECT missing FROM a;",
        "ALTER TABLE migration.applied ADD CHECK (number < 3) NOT VALID;",  # its SQL succeeds, the note of it fails
    ],
)
async def test_a_migration_that_fails_leaves_nothing_of_itself_and_can_be_mended(urls, package, breaks) -> None:
    name, folder = package
    (folder / "0003_third.sql").write_text(f"CREATE TABLE half (id integer); {breaks}")
    with pytest.raises(Internal, match=r"0003_third\.sql"):
        await migrate(urls.owner, name)
    assert "half" not in await schema_of(urls.owner)
    (folder / "0003_third.sql").write_text("CREATE TABLE whole (id integer);")
    assert await migrate(urls.owner, name) == 1


@pytest.mark.parametrize(("state", "error"), [("53100", StorageFull), ("53200", Unavailable), ("57P01", Unavailable)])
async def test_a_migration_is_not_blamed_for_a_full_disk_or_a_server_that_ends(
    urls, package, state: str, error: type[PlatformError]
) -> None:
    name, folder = package
    full = f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{state}'; END $$;"
    (folder / "0003_third.sql").write_text(f"CREATE TABLE third (id integer); {full}")
    with pytest.raises(error):
        await migrate(urls.owner, name)
    (folder / "0003_third.sql").write_text("CREATE TABLE third (id integer);")
    assert await migrate(urls.owner, name) == 1


def test_numbers_must_follow_each_other(package) -> None:
    name, folder = package
    (folder / "0004_gap.sql").write_text("SELECT 1")
    with pytest.raises(Conflict, match=r"0004_gap\.sql .* 0003"):
        migrations_of(name)


@pytest.mark.requirement("F-12")
async def test_the_schema_grown_step_by_step_equals_the_schema_made_at_once(database, migrated_package) -> None:
    at_once, by_steps = await database(migrated_package), await database(migrated_package, migrated=False)
    migrations = migrations_of(migrated_package)
    assert migrations
    for count in range(1, len(migrations) + 1):
        assert await apply(by_steps.urls.owner, migrated_package, migrations[:count]) == 1
    assert await schema_of(by_steps.urls.owner) == await schema_of(at_once.urls.owner)


async def test_the_comparison_of_schemas_would_see_a_difference(urls, package) -> None:
    await migrate(urls.owner, package[0])
    before = await schema_of(urls.owner)
    connection = await asyncpg.connect(urls.owner)
    await connection.execute("ALTER TABLE a ALTER COLUMN size SET DEFAULT 3")
    await connection.close()
    assert await schema_of(urls.owner) != before


async def test_the_application_role_can_use_but_not_change_what_was_migrated(urls, package) -> None:
    await migrate(urls.owner, package[0])
    connection = await asyncpg.connect(urls.app)
    try:
        await connection.execute("INSERT INTO a VALUES (1, 'x')")
        for statement in ("DROP TABLE a", "ALTER TABLE a ADD COLUMN b text", "CREATE TABLE c (id integer)"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("UPDATE migration.applied SET checksum = 'x'")
    finally:
        await connection.close()
