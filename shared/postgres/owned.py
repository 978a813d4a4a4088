"""Which rows of a database are one customer's: found in the database itself, so that no new table is forgotten."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

KEPT = "audit"
_COLUMNS = """
SELECT format('%I.%I', table_schema, table_name) AS place, array_agg(column_name::text) AS names
FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
WHERE table_type = 'BASE TABLE' AND table_schema NOT IN ('pg_catalog', 'information_schema') AND table_name <> $1
      AND column_name = ANY($2::text[])
GROUP BY 1 ORDER BY 1
"""
_OF_CUSTOMER = ["customer_id", "acts_for"]
_REFERENCES = """
SELECT format('%I.%I', n.nspname, c.relname) AS place, format('%I.%I', pn.nspname, p.relname) AS known,
       string_agg(format('k.%I = t.%I', pa.attname, a.attname), ' AND ') AS same,
       string_agg(format('t.%I IS NULL', a.attname), ' OR ') AS none
FROM pg_constraint f
JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class p ON p.oid = f.confrelid JOIN pg_namespace pn ON pn.oid = p.relnamespace
CROSS JOIN LATERAL unnest(f.conkey, f.confkey) AS pair (own, other)
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = pair.own
JOIN pg_attribute pa ON pa.attrelid = p.oid AND pa.attnum = pair.other
WHERE f.contype = 'f' AND format('%I.%I', pn.nspname, p.relname) = ANY($1::text[])
GROUP BY f.oid, 1, 2 ORDER BY 1, 2
"""


async def tables_with(connection: Any, columns: list[str], *, besides: str = "") -> dict[str, list[str]]:
    """Table → those of the columns that it has, of all tables with one; names are quoted by the database itself.

    Args:
        besides: the name of a table to leave out.
    """
    return {row["place"]: row["names"] for row in await connection.fetch(_COLUMNS, besides, columns)}


async def tables_of_customers(connection: Any, *, besides: str = "") -> dict[str, list[str]]:
    """Table → its columns that say whose a row is, of all tables that hold customers' rows."""
    return await tables_with(connection, _OF_CUSTOMER, besides=besides)


async def references(connection: Any, places: Iterable[str]) -> list[Any]:
    """Foreign keys to these tables: a row `t` of `place` refers to the row `k` of `known` for which `same` holds, and
    to none where `none` does."""
    return await connection.fetch(_REFERENCES, list(places))


def own(row: str, names: list[str]) -> str:
    """The condition that a row is the customer's, who is $1."""
    return " OR ".join(f"{row}.{name} = $1" for name in names) or "false"


def about(reference: Any, names: Mapping[str, list[str]]) -> str:
    """The condition that a row `t` is not the customer's and refers by this foreign key to a row that is."""
    return (
        f"EXISTS (SELECT FROM {reference['known']} k WHERE {reference['same']} AND"
        f" ({own('k', names[reference['known']])})) AND ({own('t', names.get(reference['place'], []))}) IS NOT TRUE"
    )
