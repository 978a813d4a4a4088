"""The catalogue's rows: entries and what each customer has installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from servers.marketplace.catalogue.lifecycle import reaches
from servers.marketplace.licences.signing import LicenceKeys
from servers.marketplace.runners.package import Package, package_of
from shared.audit import AuditLog
from shared.contracts.catalogue import Approval, CatalogueTool, Direction, EntryKind, Tier
from shared.errors import Conflict
from shared.postgres.database import Database
from shared.postgres.queries import changed_rows, load_queries

queries: Any = load_queries("servers.marketplace", "catalogue.sql")
EVER = datetime(1970, 1, 1, tzinfo=UTC)
LAST = "\U0010ffff"  # after every character that a word can go on with
WORD_CHARS = 60
WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Listing:
    """What the platform says of an entry beside what its owner does, as the view's customer has it.

    `tier_reached`: the customer's tier has it. `licensed`: it needs no licence, or the customer has a valid one.
    """

    tier: Tier = "starter"
    needs_licence: bool = False
    direction: Direction = "both"
    stars: int = 0
    ratings: int = 0
    registered_by: str = ""
    created_at: datetime = EVER
    updated_at: datetime = EVER
    tier_reached: bool = True
    licensed: bool = True


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries a page holds: all, or those that words, a tool's name or a day restrict it to."""

    words: tuple[str, ...] = ()
    tool: str = ""
    since: datetime = EVER
    installed_only: bool = False


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a server that was published here."""

    version: str
    title: str
    description: str
    published_at: datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """A catalogue entry as stored. `url` is the server's MCP endpoint and the audience of its tokens.

    `operated`: registered by the operator or a service of the platform, so its address may be loopback or private.
    `package`: what the platform runs itself; `url` is then no URL but stands for exactly this package.
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
    package: Package | None = None
    listing: Listing = field(default_factory=Listing, compare=False)


@dataclass(frozen=True, slots=True)
class View:
    """Whose eyes a query has: what everyone sees, and what this customer sees, or all there is."""

    customer: str | None = None
    everything: bool = False


EVERYTHING = View(everything=True)


def seen_by(database: Database, view: View) -> AbstractAsyncContextManager[Any]:
    """A transaction in which row-level security shows what the view holds."""
    return database.session(view.customer, platform=view.everything)


class CatalogueStore:
    """Reads and writes the catalogue. Each change is in the audit log, in the same transaction."""

    def __init__(self, database: Database, licences: LicenceKeys | None = None) -> None:
        self._database = database
        self._licences = licences
        self._audit = AuditLog(database)

    async def by_name(self, view: View, server_name: str) -> Entry | None:
        """The entry of a name, where the view holds it."""
        async with seen_by(self._database, view) as connection:
            return next(iter(await self._named(connection, view, [server_name])), None)

    async def named(self, view: View, names: Sequence[str]) -> list[Entry]:
        """The entries of these names that the view holds, in the order of the names."""
        async with seen_by(self._database, view) as connection:
            found = {entry.server_name: entry for entry in await self._named(connection, view, list(names))}
        return [found[name] for name in names if name in found]

    async def by_url(self, view: View, url: str) -> Entry | None:
        """The entry whose endpoint has this address, where the view holds it."""
        async with seen_by(self._database, view) as connection:
            name = await queries.name_by_url(connection, url=url)
            return next(iter(await self._named(connection, view, [name])), None) if name else None

    async def page(
        self, view: View, *, wanted: Wanted, after: str, limit: int, subject: str, any_approval: bool
    ) -> list[Entry]:
        """Up to `limit` entries in the order of their names, after the name `after`.

        Args:
            subject: who asks: sees what it registered itself, approved or not.
        """
        common = {"after": after, "limit": limit, "subject": subject, "any_approval": any_approval}
        async with seen_by(self._database, view) as connection:
            if wanted.words:
                rows = queries.search_names(
                    connection, words=wanted.words, ends=[word + LAST for word in wanted.words], **common
                )
            elif wanted.tool:
                rows = queries.tool_names(connection, tool=wanted.tool, **common)
            else:
                rows = queries.page_names(
                    connection,
                    customer=view.customer,
                    installed_only=wanted.installed_only,
                    since=wanted.since,
                    **common,
                )
            return await self._named(connection, view, [row["server_name"] async for row in rows])

    async def for_everybody(self, limit: int) -> list[Entry]:
        """Approved entries of no customer, for every tier and without a licence."""
        async with seen_by(self._database, View()) as connection:
            names = [row["server_name"] async for row in queries.names_for_everybody(connection, limit=limit)]
            return await self._named(connection, View(), names)

    async def versions(self, view: View, server_name: str) -> list[Version]:
        """The versions of a server, the newest first."""
        async with seen_by(self._database, view) as connection:
            return [Version(**dict(row)) async for row in queries.versions_of(connection, server_name=server_name)]

    async def put(self, entry: Entry, registered_by: str, most: int | None = None) -> bool:
        """Store an entry or replace its description, version, address and tools.

        The approval of a known one stays, but for a server of someone else's: that one gets the entry's, in the same
        statement as the address. Its tools are checked soon; those of another version, or of someone else's server at
        another address, are pinned anew.
        Returns False where the name belongs to an entry of another kind or customer; nothing is changed then.

        Args:
            most: so many of the customer's, or of who registers for none, may wait for a review.

        Raises:
            Conflict: so many wait.
        """
        async with seen_by(self._database, View(entry.customer, everything=entry.customer is None)) as connection:
            view = View(entry.customer)
            before = next(iter(await self._named(connection, view, [entry.server_name])), None)
            if most is not None and before is None:
                await _require_room(connection, entry.customer, registered_by, most)
            name = await queries.put_entry(connection, registered_by=registered_by, **_columns(entry))
            if name is None:
                return False
            await queries.put_version(
                connection, server_name=name, version=entry.version, customer_id=entry.customer, title=entry.title,
                description=entry.description,
            )  # fmt: skip
            await queries.forget_versions(connection, server_name=name)
            await queries.forget_words(connection, server_name=name)
            await queries.put_words(
                connection, server_name=name, customer_id=entry.customer, words=_words_of_entry(entry)
            )
            await queries.add_check(connection, server_name=name, customer_id=entry.customer)
            if before is not None and _asked_anew(before, entry):
                await queries.forget_tools(connection, server_name=name)
                await queries.unset_check(connection, server_name=name)
            if before is None or replace(entry, approval=_approval(before, entry)) != replace(before, installed=False):
                detail = {"version": entry.version, "state": _approval(before, entry)}
                await self._audit.append_in(
                    connection, registered_by, "server.registered", name, entry.customer, detail
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

    async def set_listing(self, entry: Entry, approval: Approval, listing: Listing, changed_by: str) -> bool:
        """Change an entry's state, tier, licence and direction. False where its state is no longer `entry.approval`."""
        async with seen_by(self._database, EVERYTHING) as connection:
            name = await queries.set_listing(
                connection, server_name=entry.server_name, before=entry.approval, approval=approval, tier=listing.tier,
                needs_licence=listing.needs_licence, direction=listing.direction,
            )  # fmt: skip
            if name is not None:
                detail = {"before": entry.approval, "after": approval, "tier": listing.tier}
                await self._audit.append_in(connection, changed_by, "server.state", name, entry.customer, detail)
        return name is not None

    async def rate(self, customer: str, server_name: str, stars: int, rated_by: str) -> None:
        """A customer's rating of a server; a new one replaces the one before."""
        async with seen_by(self._database, View(customer, everything=True)) as connection:
            await queries.lock_entry(connection, server_name=server_name)  # two ratings at once would count wrong
            await queries.rate(connection, customer_id=customer, server_name=server_name, stars=stars)
            await self._audit.append_in(connection, rated_by, "server.rated", server_name, customer, {"stars": stars})

    async def set_tier(self, customer: str, tier: Tier, set_by: str) -> bool:
        """A customer's tier. False where it was the same."""
        async with seen_by(self._database, View(customer)) as connection:
            changed = await queries.set_tier(connection, customer_id=customer, tier=tier)
            if changed is not None:
                await self._audit.append_in(connection, set_by, "customer.tier", customer, customer, {"tier": tier})
        return changed is not None

    async def _named(self, connection: Any, view: View, names: list[str]) -> list[Entry]:
        rows = queries.entries_named(connection, customer=view.customer, names=names)
        return [_entry(row, self._licensed(row, view.customer)) async for row in rows]

    def _licensed(self, row: Any, customer: str | None) -> bool:
        if not row["needs_licence"] or customer is None:
            return True
        if row["document"] is None or self._licences is None:
            return False
        return self._licences.good(row["document"], row["key_id"], row["signature"], customer, row["server_name"])


async def _require_room(connection: Any, customer: str | None, registered_by: str, most: int) -> None:
    """Let nobody keep more than `most` entries waiting; calls of one owner take turns from here on.

    Raises:
        Conflict: so many wait.
    """
    await queries.take_turn(connection, owner=customer or registered_by)
    if await queries.count_waiting(connection, customer_id=customer, registered_by=registered_by) >= most:
        raise Conflict(f"{most} servers wait for the operator's review already: wait until some are decided.")


def _asked_anew(before: Entry, entry: Entry) -> bool:
    moved = entry.kind == "external" and before.url != entry.url
    return moved or before.version != entry.version


def _approval(before: Entry | None, entry: Entry) -> Approval:
    return entry.approval if before is None or entry.kind == "external" else before.approval


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, each once: what a search compares, as the beginning of a word of an entry."""
    return tuple(dict.fromkeys(word[:WORD_CHARS] for word in WORD.findall(text.casefold())))


def _words_of_entry(entry: Entry) -> tuple[str, ...]:
    tools = " ".join(tool.name for tool in entry.tools)
    return words_of(f"{entry.server_name} {entry.title} {entry.description} {tools}")


def _columns(entry: Entry) -> dict[str, Any]:
    """What an entry is stored as; `_entry` reads it."""
    return {
        "server_name": entry.server_name,
        "title": entry.title,
        "description": entry.description,
        "version": entry.version,
        "kind": entry.kind,
        "customer_id": entry.customer,
        "url": entry.url,
        "approval": entry.approval,
        "tools": orjson.dumps([tool.model_dump() for tool in entry.tools]).decode(),
        "operated": entry.operated,
        "package": orjson.dumps(entry.package.as_stored()).decode() if entry.package else None,
    }


def _entry(row: Any, licensed: bool) -> Entry:
    tools = tuple(CatalogueTool(**tool) for tool in orjson.loads(row["tools"]))
    listing = Listing(
        tier=row["tier"],
        needs_licence=row["needs_licence"],
        direction=row["direction"],
        stars=row["stars"],
        ratings=row["ratings"],
        registered_by=row["registered_by"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        tier_reached=reaches(row["customer_tier"], row["tier"]),
        licensed=licensed,
    )
    return Entry(
        server_name=row["server_name"],
        title=row["title"],
        description=row["description"],
        version=row["version"],
        kind=row["kind"],
        customer=row["customer_id"],
        url=row["url"],
        approval=row["approval"],
        tools=tools,
        installed=row["installed"],
        operated=row["operated"],
        package=package_of(orjson.loads(row["package"])) if row["package"] else None,
        listing=listing,
    )
