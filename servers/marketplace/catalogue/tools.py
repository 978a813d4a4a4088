"""The stored definitions of each server's tools, and what a check of the server changes in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from servers.marketplace.catalogue.definitions import Definition, Era, PinnedTool, digest_of_seen
from servers.marketplace.catalogue.store import Entry, View, seen_by
from shared.audit import AuditLog
from shared.contracts.catalogue import CatalogueTool
from shared.errors import Conflict
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "tools.sql")

CHECK_EVERY_S = 300.0
"""Seconds between two checks of a server: the longest that a changed definition goes unnoticed."""
CLAIM_S = 60.0


@dataclass(frozen=True, slots=True)
class ServerTools:
    """A server's tools in its own order. `era`: what it speaks; `checked`: it was asked for its tools at least once."""

    tools: tuple[PinnedTool, ...]
    era: Era
    checked: bool


class ToolStore:
    """Reads and writes definitions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def of(self, view: View, server_name: str) -> ServerTools:
        """What is stored of a server's tools, where the view holds it."""
        async with seen_by(self._database, view) as connection:
            check = await queries.check_of(connection, server_name=server_name)
            tools = await _tools(connection, server_name)
        return ServerTools(tools, (check and check["era"]) or "modern", bool(check and check["checked"]))

    async def of_entry(self, entry: Entry) -> ServerTools:
        """What is stored of an entry's tools, for who has found the entry."""
        return await self.of(View(entry.customer, everything=entry.customer is None), entry.server_name)

    async def pins(self, view: View, server_names: Sequence[str]) -> dict[str, list[CatalogueTool]]:
        """The tools of these servers that may be called, each with the digest that was approved."""
        found: dict[str, list[CatalogueTool]] = {name: [] for name in server_names}
        async with seen_by(self._database, view) as connection:
            async for row in queries.pins_of(connection, names=list(server_names)):
                found[row["server_name"]].append(CatalogueTool(name=row["name"], digest=row["pin"]))
        return found

    async def begin(self, entry: Entry) -> int | None:
        """The number of a check that begins now; None where the server is no longer registered as this entry has it."""
        async with self._database.of(entry.customer) as connection:
            return await queries.begin_check(
                connection, server_name=entry.server_name, url=entry.url, version=entry.version
            )

    async def record(self, entry: Entry, number: int, era: Era, found: Sequence[Definition]) -> bool:
        """Store what a check found. False where one that began later has told already, of this replica or another, or
        the server was registered anew meanwhile: nothing is changed then.

        The first check of a server pins what it finds, or the digests that came with the registration. Later ones pin
        nothing: a new or changed tool stays blocked until `approve`.
        """
        async with self._database.of(entry.customer) as connection:
            check = await queries.lock_check(connection, server_name=entry.server_name)
            if check is None or number <= check["told"]:
                return False
            registered = {tool.name: tool.digest for tool in entry.tools if tool.digest}
            for place, definition in enumerate(found):
                await queries.put_seen(
                    connection,
                    server_name=entry.server_name,
                    customer_id=entry.customer,
                    name=definition.name,
                    place=place,
                    seen=definition.digest,
                    seen_definition=definition.text,
                    **_first_pin(definition, None if check["checked"] else registered),
                )
            await queries.mark_gone(connection, server_name=entry.server_name, names=[each.name for each in found])
            await queries.put_check(
                connection, server_name=entry.server_name, era=era, due_s=CHECK_EVERY_S, told=number
            )
        return True

    async def approve(self, entry: Entry, reviewed: str, approved_by: str) -> None:
        """Pin what was seen last.

        Args:
            reviewed: the digest of what the approver looked at.

        Raises:
            Conflict: the server has said something else since.
        """
        async with self._database.of(entry.customer) as connection:
            await queries.lock_check(connection, server_name=entry.server_name)
            if digest_of_seen(await _tools(connection, entry.server_name)) != reviewed:
                raise Conflict("The server's tools are not what was reviewed: look at them again.", field="reviewed")
            await queries.approve_seen(connection, server_name=entry.server_name, approved_by=approved_by)
            await queries.forget_gone(connection, server_name=entry.server_name)
            await self._audit.append_in(
                connection, approved_by, "tools.approved", entry.server_name, entry.customer, {"reviewed": reviewed}
            )

    async def claim_due(self) -> str | None:
        """A server whose check is due; no other replica gets it for a while. None: nothing is due."""
        async with self._database.of(None) as connection:
            return await queries.claim_due(connection, hold_s=CLAIM_S)


async def _tools(connection: Any, server_name: str) -> tuple[PinnedTool, ...]:
    rows = queries.tools_of(connection, server_name=server_name)
    return tuple([PinnedTool(**dict(row)) async for row in rows])


def _first_pin(definition: Definition, registered: Mapping[str, str] | None) -> dict[str, str | None]:
    if registered is None:
        return {"pin": None, "pinned": None}
    pin = registered.get(definition.name, definition.digest)
    return {"pin": pin, "pinned": definition.text if pin == definition.digest else None}
