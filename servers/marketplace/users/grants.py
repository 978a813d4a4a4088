"""What a token may say: one server, the customer, and no more scopes than role and server have in common."""

from __future__ import annotations

from dataclasses import replace

from servers.marketplace import policy
from servers.marketplace.catalogue.catalogue import resource_of, view_of
from servers.marketplace.catalogue.own import FIRST_PARTY, kind_of_server, own_server
from servers.marketplace.catalogue.store import CatalogueStore, Entry
from servers.marketplace.tokens import Grant
from servers.marketplace.users.accounts import Accounts, Identity
from shared.errors import Forbidden, InvalidInput
from shared.settings import Settings


class Grants:
    """Turns a proven identity and what it asks for into a grant."""

    def __init__(self, settings: Settings, accounts: Accounts, catalogue: CatalogueStore) -> None:
        self._settings = settings
        self._accounts = accounts
        self._catalogue = catalogue

    async def grant(
        self, identity: Identity, resource: str, scopes: frozenset[str] | None, customer: str | None
    ) -> Grant:
        """The grant for one server.

        Args:
            resource: the address of the server's MCP endpoint, exactly as the server names itself.
            scopes: what is asked for; None: all that the role has there.
            customer: the customer to act for; None: the identity's own.

        Raises:
            InvalidInput: the server or the customer is not known (field `resource` or `customer`).
            Forbidden: nothing of what was asked for is allowed there.
        """
        customer = await self._accounts.customer_for(identity, customer)
        if own_server(self._settings, resource) is None:
            entry = await self._entry(identity, resource, customer)
            customer = customer or entry.customer
        kind = kind_of_server(self._settings, resource)
        if kind in FIRST_PARTY and identity.role != "platform_admin":
            raise InvalidInput(
                "This server is called through the gateway, which counts its calls: at its `endpoint`, with a token of "
                "the marketplace.",
                field="resource",
            )
        given = policy.granted(identity.role, identity.subject, kind, scopes)
        if not given:
            raise Forbidden("None of these scopes is allowed there for this role.", field="scope")
        return Grant(identity.subject, identity.role, resource, given, customer, identity.client_id)

    async def _entry(self, identity: Identity, resource: str, customer: str | None) -> Entry:
        holder = replace(identity, customer=customer)
        entry = await self._catalogue.by_url(view_of(holder), resource)
        if entry is None or not policy.decide(holder, "entry.call", resource_of(entry)).allowed:
            raise InvalidInput("No server that this account may use has this address.", field="resource")
        return entry
