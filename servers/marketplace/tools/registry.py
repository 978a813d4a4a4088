"""Tools for services and administrators: making customers and their instances known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.marketplace import policy
from servers.marketplace.services import Services
from servers.marketplace.tools.accounts import Email
from servers.marketplace.tools.shapes import CustomerArgument, endpoint
from servers.marketplace.users.accounts import unknown_customer
from servers.marketplace.users.store import Customer
from shared.auth import principal
from shared.contracts.catalogue import (
    CatalogueTool,
    CustomerRegistered,
    InstanceRegistered,
    ToolIdentifier,
)
from shared.errors import Forbidden
from shared.ids import Digest
from shared.serving import Server

Company = Annotated[str, Field(min_length=1, max_length=200)]
InstanceName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=80)]
Partner = Annotated[str | None, Field(pattern=r"^usr_[a-z2-7]{26}$", description="User id of the partner.")]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offer the tools."""

    async def register_customer(
        customer_id: CustomerArgument, company_name: Company, contact_email: Email, partner: Partner = None
    ) -> CustomerRegistered:
        """Make a customer known to the platform. Safe to repeat.

        Use it for a customer who has users before it has data; onboarding one does it by itself.
        A partner's own customers always belong to this partner.
        """
        caller = principal()
        partner = caller.subject if caller.role == "partner_admin" else partner
        decision = policy.decide(caller, "customer.register", policy.Resource(customer_id, partner))
        if not decision.allowed:
            raise Forbidden(decision.reason) if decision.visible else unknown_customer()
        customer = Customer(customer_id, company_name, contact_email, partner)
        fresh = await services().accounts.register_customer(customer, caller.subject)
        return CustomerRegistered(customer_id=customer_id, already_there=not fresh)

    async def register_instance(
        customer_id: CustomerArgument,
        name: InstanceName,
        image_digest: Digest,
        url: Annotated[str | None, Field(max_length=500, description="Its MCP endpoint, once it runs.")] = None,
        tools: Annotated[list[ToolIdentifier | CatalogueTool], Field(max_length=500)] = [],  # noqa: B006
    ) -> InstanceRegistered:
        """Put a customer's instance into the catalogue and install it for this customer. Safe to repeat.

        Use it again with `url` when the instance runs, and with the new digest after an update.
        """
        pins = [CatalogueTool(name=tool) if isinstance(tool, str) else tool for tool in tools]
        entry, same = await services().catalogue.register_instance(
            principal(), customer_id, name, url, image_digest, pins
        )
        return InstanceRegistered(
            customer_id=customer_id,
            server_name=entry.server_name,
            endpoint=endpoint(services().settings, entry),
            already_there=same,
        )

    server.tool(register_customer, scope="registry:write", title="Register a customer", idempotent=True)
    server.tool(register_instance, scope="registry:write", title="Register an instance", idempotent=True)
