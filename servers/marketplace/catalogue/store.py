"""The catalogue's rows: entries and what each customer has installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import orjson

from servers.marketplace.users.store import changed_rows
from shared.audit import AuditLog
from shared.contracts.catalogue import Approval, CatalogueTool, EntryKind
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "catalogue.sql")


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry as stored. `url` is the server's MCP endpoint and the audience of its tokens.

    `operated`: registered by the operator or a service of the platform, so its address may be loopback or private.
    """

    server_name: str
    title: str
    description: str
    version: str
    kind: EntryKind
    customer: str | None
    url: str | None
    approval: Approval
    tools: tuple[CatalogueTool, ...]
    installed: bool = False
    operated: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """Whose eyes a query has: what everyone sees, and what this customer sees, or all there is."""

    customer: str | None = None
    everything: bool = False


EVERYTHING = View(everything=True)


class CatalogueStore:
    """Reads and writes the catalogue. Each change is in the audit log, in the same transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def by_name(self, view: View, server_name: str) -> Entry | None:
        """The entry of a name, where the view holds it."""
        async with self._seen_by(view) as connection:
            row = await queries.entry_by_name(connection, customer=view.customer, server_name=server_name)
        return _entry(row) if row else None

    async def by_url(self, view: View, url: str) -> Entry | None:
        """The entry whose endpoint has this address, where the view holds it."""
        async with self._seen_by(view) as connection:
            row = await queries.entry_by_url(connection, customer=view.customer, url=url)
        return _entry(row) if row else None

    async def page(
        self, view: View, *, query: str, after: str, limit: int, installed_only: bool, any_approval: bool
    ) -> list[Entry]:
        """Up to `limit` entries in the order of their names, after the name `after`."""
        async with self._seen_by(view) as connection:
            rows = queries.list_entries(
                connection,
                customer=view.customer,
                query=query.lower(),
                after=after,
                limit=limit,
                installed_only=installed_only,
                any_approval=any_approval,
            )
            return [_entry(row) async for row in rows]

    async def put(self, entry: Entry, registered_by: str) -> bool:
        """Store an entry or replace its description, version, address and tools; the approval of a known one stays.

        Its tools are checked soon; those of another version are pinned anew.
        Returns False where the name belongs to an entry of another kind or customer; nothing is changed then.
        """
        async with self._seen_by(View(entry.customer, everything=entry.customer is None)) as connection:
            before = await queries.entry_by_name(connection, customer=entry.customer, server_name=entry.server_name)
            name = await queries.put_entry(
                connection,
                server_name=entry.server_name,
                title=entry.title,
                description=entry.description,
                version=entry.version,
                kind=entry.kind,
                customer_id=entry.customer,
                url=entry.url,
                approval=entry.approval,
                tools=orjson.dumps([tool.model_dump() for tool in entry.tools]).decode(),
                operated=entry.operated,
                registered_by=registered_by,
            )
            if name is None:
                return False
            await queries.add_check(connection, server_name=name, customer_id=entry.customer)
            if before is not None and before["version"] != entry.version:
                await queries.forget_tools(connection, server_name=name)
                await queries.unset_check(connection, server_name=name)
            if before is None or replace(_entry(before), installed=False, approval=entry.approval) != entry:
                await self._audit.append_in(
                    connection, registered_by, "server.registered", name, entry.customer, {"version": entry.version}
                )
        return True

    async def install(self, customer: str, server_name: str, installed_by: str) -> bool:
        """Install an entry for a customer. False where it was installed."""
        async with self._database.session(customer) as connection:
            status = await queries.add_install(
                connection, customer_id=customer, server_name=server_name, installed_by=installed_by
            )
            if changed_rows(status):
                await self._audit.append_in(connection, installed_by, "server.installed", server_name, customer)
        return changed_rows(status) == 1

    async def uninstall(self, customer: str, server_name: str, taken_by: str) -> bool:
        """Take an entry away from a customer. False where it was not installed."""
        async with self._database.session(customer) as connection:
            status = await queries.remove_install(connection, customer_id=customer, server_name=server_name)
            if changed_rows(status):
                await self._audit.append_in(connection, taken_by, "server.uninstalled", server_name, customer)
        return changed_rows(status) == 1

    @asynccontextmanager
    async def _seen_by(self, view: View) -> AsyncIterator[Any]:
        async with self._database.session(view.customer) as connection:
            if view.everything:
                await queries.enter_platform(connection)
            yield connection


def _entry(row: Any) -> Entry:
    tools = tuple(CatalogueTool(**tool) for tool in orjson.loads(row["tools"]))
    return Entry(
        row["server_name"],
        row["title"],
        row["description"],
        row["version"],
        row["kind"],
        row["customer_id"],
        row["url"],
        row["approval"],
        tools,
        row["installed"],
        row["operated"],
    )
