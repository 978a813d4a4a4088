"""The catalogue: what a caller sees, registers and installs. Every answer is decided by `policy.decide`."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import replace

from servers.marketplace import policy
from servers.marketplace.catalogue.address import check_address
from servers.marketplace.catalogue.store import EVERYTHING, CatalogueStore, Entry, Listing, Version, View, Wanted
from servers.marketplace.changes import Changes, Remembered, soon
from servers.marketplace.cursors import unknown_cursor
from servers.marketplace.runners.package import check_package
from servers.marketplace.users.accounts import unknown_customer
from servers.marketplace.users.store import UserStore
from shared.contracts.catalogue import SERVER_NAME_PATTERN, Approval, CatalogueTool, Tier
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound

MAX_TOOLS = 500
MOST_WAITING = 50
"""Proposals of one customer that wait for a review."""
PAGE = 200
RESERVED = ("io.0711/", "io.0711.")
SHOWN_TO_EVERYBODY = 1000
OPERATORS = frozenset({"platform_admin", "service"})
"""Roles whose servers may stand on loopback or private addresses; a partner's may not."""
SERVER_NAME = re.compile(SERVER_NAME_PATTERN)


class Catalogue:
    """Entries and installs."""

    def __init__(self, store: CatalogueStore, users: UserStore, changes: Changes) -> None:
        self._store = store
        self._users = users
        self._shown: Remembered[None, list[Entry]] = Remembered(changes)

    async def page(
        self, caller: policy.Caller, wanted: Wanted, cursor: str | None, limit: int
    ) -> tuple[list[Entry], str | None]:
        """Entries that the caller sees, in the order of their names, and the cursor of the next page."""
        entries = await self._page(caller, wanted, _read_cursor(cursor), limit + 1)
        visible = [entry for entry in entries[:limit] if self._sees(caller, entry)]
        return visible, cursor_after(entries[limit - 1].server_name) if len(entries) > limit else None

    async def seen(self, caller: policy.Caller, names: Sequence[str], limit: int) -> list[Entry]:
        """The first entries of these names that the caller sees, in their order."""
        found: list[Entry] = []
        for start in range(0, len(names), PAGE):
            entries = await self._store.named(view_of(caller), names[start : start + PAGE])
            found += [entry for entry in entries if self._sees(caller, entry)]
            if len(found) >= limit:
                break
        return found[:limit]

    async def installed(self, caller: policy.Caller) -> list[Entry]:
        """Every entry that is installed for the caller's customer and that it may call, in the order of their names."""
        found: list[Entry] = []
        after = ""
        while True:
            page = await self._page(caller, Wanted(installed_only=True), after, PAGE)
            found += [each for each in page if policy.decide(caller, "entry.call", resource_of(each)).allowed]
            if len(page) < PAGE:
                return found
            after = page[-1].server_name

    async def _page(self, caller: policy.Caller, wanted: Wanted, after: str, limit: int) -> list[Entry]:
        admin = caller.role == "platform_admin"
        return await self._store.page(
            view_of(caller), wanted=wanted, after=after, limit=limit, subject=caller.subject, any_approval=admin
        )

    def _sees(self, caller: policy.Caller, entry: Entry) -> bool:
        return policy.decide(caller, "entry.see", resource_of(entry)).allowed

    async def find(self, caller: policy.Caller, action: policy.Action, server_name: str) -> Entry:
        """The entry of a name, if the caller may do this with it.

        Raises:
            NotFound: it is unknown, or nothing that this caller may know of.
            Forbidden: the caller sees it but lacks the scope or the role.
        """
        known = SERVER_NAME.fullmatch(server_name) is not None
        entry = await self._store.by_name(view_of(caller), server_name) if known else None
        decision = policy.decide(caller, action, resource_of(entry) if entry else policy.Resource())
        if not decision.allowed and decision.visible:
            raise Forbidden(decision.reason)
        if entry is None or not decision.allowed:
            raise unknown_server()
        return entry

    async def install(self, caller: policy.Caller, customer: str, server_name: str) -> tuple[Entry, bool]:
        """Install an entry for a customer; True where it was not installed before."""
        entry = await self.find(caller, "entry.install", server_name)
        return entry, await self._store.install(customer, entry.server_name, caller.subject)

    async def uninstall(self, caller: policy.Caller, customer: str, server_name: str) -> bool:
        """Take an entry away from a customer; True where it was installed."""
        if await self._store.uninstall(customer, server_name, caller.subject):
            return True  # whoever has it may leave it, whatever has become of the entry
        await self.find(caller, "entry.see", server_name)
        return False

    async def submit(self, caller: policy.Caller, entry: Entry) -> Entry:
        """Propose a server of someone else's for the catalogue, or a new version of one that the caller proposed.

        Raises:
            InvalidInput: the name is one of the platform's, or the address or the package is not allowed.
            Conflict: the name belongs to another entry, or too many of the caller's wait for a review.
        """
        if entry.server_name.startswith(RESERVED):
            raise InvalidInput(
                "Names that begin with io.0711 are the platform's: use your own domain.", field="server_name"
            )
        operated = caller.role in OPERATORS
        if entry.package is None:
            address = check_address(entry.url or "", inside=operated)
        else:
            address = check_package(entry.package).address(entry.server_name)
        proposed = replace(entry, url=address, operated=operated, customer=caller.customer, approval="submitted")
        _check_holder(await self._store.by_url(view_of(caller), address), proposed)
        try:
            stored = await self._store.put(proposed, caller.subject, None if operated else MOST_WAITING)
        except Forbidden:  # of Postgres: the row is another customer's
            stored = False
        if not stored:
            raise Conflict("This name belongs to another server of the catalogue: choose another.", field="server_name")
        return proposed

    async def review(self, caller: policy.Caller, entry: Entry, approval: Approval, listing: Listing) -> None:
        """Move an entry on its way (`lifecycle.check_step` allows it) and set its tier, direction and licence.

        Raises:
            Conflict: someone else has just changed its state.
        """
        if not await self._store.set_listing(entry, approval, listing, caller.subject):
            raise Conflict("The entry's state has just been changed: look at it again.", field="state")

    async def rate(self, caller: policy.Caller, customer: str, server_name: str, stars: int) -> None:
        """A customer's rating of a server that it has installed."""
        entry = await self.find(caller, "entry.see", server_name)
        if not entry.installed:
            raise unknown_server()
        await self._store.rate(customer, entry.server_name, stars, caller.subject)

    async def set_tier(self, caller: policy.Caller, customer_id: str, tier: Tier) -> bool:
        """A customer's tier, which the operator alone sets. False where it was the same."""
        self.check_reviewer(caller)
        await self.check_customer(caller, customer_id)
        return await self._store.set_tier(customer_id, tier, caller.subject)

    async def versions(self, caller: policy.Caller, entry: Entry) -> list[Version]:
        """The versions of an entry that `find` gave, the newest first."""
        return await self._store.versions(view_of(caller), entry.server_name)

    async def for_everybody(self) -> list[Entry]:
        """The entries that every customer sees: what may be known without a token. `SHOWN_TO_EVERYBODY` at most. They
        are remembered: anybody can ask for them as often as they like."""
        return await self._shown.ask(None, lambda: soon(self._store.for_everybody(SHOWN_TO_EVERYBODY)))

    def check_reviewer(self, caller: policy.Caller) -> None:
        """Refuse who does not review entries.

        Raises:
            Forbidden: the caller's role does not.
        """
        decision = policy.decide(caller, "entry.review", policy.Resource())
        if not decision.allowed:
            raise Forbidden(decision.reason)

    async def check_customer(self, caller: policy.Caller, customer_id: str) -> None:
        """Refuse what the caller may not do for a customer as for an unknown one.

        Raises:
            NotFound: the caller may not learn whether there is such a customer, or there is none.
            Forbidden: the caller's role does not act for customers.
        """
        customer = await self._users.customer(customer_id)
        partner = customer.partner if customer else None
        decision = policy.decide(caller, "instance.register", policy.Resource(customer_id, partner))
        if not decision.visible or (decision.allowed and customer is None):
            raise unknown_customer()
        if not decision.allowed:
            raise Forbidden(decision.reason)

    async def register_instance(
        self,
        caller: policy.Caller,
        customer_id: str,
        name: str,
        url: str | None,
        image_digest: str,
        tools: list[CatalogueTool],
    ) -> tuple[Entry, bool]:
        """Put a customer's instance into the catalogue and install it for this customer.

        The same call again changes nothing; another address, image or tool list replaces what is stored. Without an
        address the one that is known stays.
        Returns the entry and whether exactly this was there already.
        """
        await self.check_customer(caller, customer_id)
        _check_tools(tools)
        operated = caller.role in OPERATORS
        address = check_address(url, inside=operated) if url else None
        entry = replace(_instance_entry(customer_id, name, address, image_digest, tools), operated=operated)
        before = await self._store.by_name(View(customer_id), entry.server_name)
        if before is not None and url is None:
            entry = replace(entry, url=before.url, operated=before.operated)
        if url:
            _check_holder(await self._store.by_url(EVERYTHING, url), entry)
        same = before is not None and replace(before, installed=False, approval=entry.approval) == entry
        if not same and not await self._store.put(entry, caller.subject):
            raise Conflict("This name belongs to another server of the catalogue: choose another.", field="name")
        installed_now = await self._store.install(customer_id, entry.server_name, caller.subject)
        return entry, same and not installed_now


def resource_of(entry: Entry, *, pinned: bool = True) -> policy.Resource:
    """An entry as the policy sees it. An entry that row-level security let through is the caller's or everyone's."""
    approved = entry.approval == "approved"
    listing = entry.listing
    return policy.Resource(
        entry.customer,
        approved=approved,
        installed=entry.installed,
        pinned=pinned,
        registered_by=listing.registered_by,
        tier_reached=listing.tier_reached,
        licensed=listing.licensed,
    )


def unknown_server() -> NotFound:
    """The one answer for a server that does not exist, is hidden, or is not installed."""
    return NotFound("This server is not known or not installed: see list_marketplace_mcps.", field="server_name")


def view_of(caller: policy.Caller) -> View:
    """What a caller's queries see: its customer's rows, or all rows for those who act for every customer."""
    for_all = caller.role == "service" and caller.subject in policy.SERVICES_FOR_CUSTOMERS
    everything = caller.customer is None and (for_all or caller.role == "platform_admin")
    return View(caller.customer, everything)


def _instance_entry(
    customer_id: str, name: str, url: str | None, image_digest: str, tools: list[CatalogueTool]
) -> Entry:
    return Entry(
        server_name=f"io.0711.{customer_id}/{name}",
        title=f"{customer_id}: {name}",
        description="Searches this customer's documents, tables and graph and answers with citations.",
        version=image_digest.removeprefix("sha256:")[:16],
        kind="instance",
        customer=customer_id,
        url=url,
        approval="approved",
        tools=tuple(sorted(tools, key=lambda tool: tool.name)),
    )


def _check_holder(holder: Entry | None, entry: Entry) -> None:
    """Refuse a second server at an address. What a customer proposed for itself alone is in nobody else's way."""
    if holder is None or holder.server_name == entry.server_name:
        return
    if holder.kind != "external" or holder.customer in (None, entry.customer):
        raise Conflict("Another server is registered at this address: give each its own.", field="url")


def _check_tools(tools: list[CatalogueTool]) -> None:
    if len(tools) > MAX_TOOLS:
        raise InvalidInput(f"A server has at most {MAX_TOOLS} tools.", field="tools")
    if len({tool.name for tool in tools}) != len(tools):
        raise InvalidInput("Two tools have the same name: every tool has its own.", field="tools")


def cursor_after(name: str) -> str:
    """The cursor of the page that begins after the entry of this name."""
    return base64.urlsafe_b64encode(name.encode()).rstrip(b"=").decode()


def _read_cursor(cursor: str | None) -> str:
    if not cursor:
        return ""
    try:
        name = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        name = ""
    if not SERVER_NAME.fullmatch(name):
        raise unknown_cursor()
    return name
