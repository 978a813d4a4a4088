"""Onboarding customers and looking at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from servers.orchestrator.access import known_customer, may_reach, partner_of
from servers.orchestrator.answers import CustomerLine, CustomerPage, CustomerView, JobLine
from servers.orchestrator.orders import DEFAULTS, Request
from servers.orchestrator.services import Services
from servers.orchestrator.store import Customer, JobStore
from servers.orchestrator.tools.arguments import CustomerArgument, KeyArgument, SourcesArgument, handle
from shared.answers import fitting
from shared.auth import CUSTOMER_ROLES, principal
from shared.contracts.catalogue import ServerArgument
from shared.contracts.installation import ParameterChoice
from shared.contracts.job import JobHandle
from shared.ids import CustomerId

RECENT_JOBS = 5


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def initialize_customer(
        company_name: Annotated[str, Field(max_length=200, description="As on the letterhead: 'Muster GmbH'.")],
        contact_email: Annotated[str, Field(max_length=254, description="The customer's contact address.")],
        data_sources: SourcesArgument,
        deployment_target: Annotated[
            Literal["package"],
            Field(description="'package': a folder to hand over that runs on any container engine."),
        ] = "package",
        mcps: Annotated[
            list[ServerArgument] | None,
            Field(max_length=50, description="Catalogue names of further MCP servers to install for the customer."),
        ] = None,
        installation_params: Annotated[
            ParameterChoice | None, Field(description="How documents are cut and read; leave out for the defaults.")
        ] = None,
        idempotency_key: KeyArgument = None,
    ) -> JobHandle:
        """Turn a new customer's files into a verified customer image. Returns a job at once; it runs for minutes.

        Use it once per customer. The same request again gives the same job, so repeat it freely. For further files of a
        customer that exists use process_new_documents.
        """
        request = Request(
            company_name, contact_email, data_sources, deployment_target, list(mcps or []),
            installation_params or DEFAULTS,
        )  # fmt: skip
        return handle(await services().orders.onboard(request, idempotency_key))

    async def list_customers(
        cursor: Annotated[CustomerId | None, Field(description="next_cursor of the page before.")] = None,
        limit: Annotated[int, Field(ge=1, le=200)] = 50,
    ) -> CustomerPage:
        """List the customers that you may work with, by id.

        Use it to find a customer_id. Details of one: get_customer.
        """
        found = await _customers(services().store, cursor or "", limit + 1)
        lines = fitting([_line(customer) for customer in found[:limit]])
        more = len(found) > len(lines)
        return CustomerPage(customers=lines, next_cursor=lines[-1].customer_id if more else None)

    async def get_customer(customer_id: CustomerArgument) -> CustomerView:
        """Show a customer: its state, its newest jobs, and digests and places of its newest image.

        Use it to find a customer's jobs or image. Progress of one job: get_job.
        """
        store = services().store
        return await customer_view(store, await known_customer(store, customer_id))

    server.tool(initialize_customer, scope="customers:write", title="Onboard a customer", idempotent=True)
    server.tool(list_customers, scope="customers:read", title="List customers", read_only=True, idempotent=True)
    server.tool(get_customer, scope="customers:read", title="Show a customer", read_only=True, idempotent=True)


async def customer_view(store: JobStore, customer: Customer) -> CustomerView:
    """A customer as callers see it."""
    async with store.session(customer.customer_id) as session:
        jobs = await session.jobs(customer.customer_id, RECENT_JOBS)
        delivered = await session.last_delivery(customer.customer_id)
    assert customer.created_at is not None and customer.updated_at is not None  # noqa: S101, PT018  it was read
    return CustomerView(
        customer_id=customer.customer_id,
        company_name=customer.company_name,
        contact_email=customer.contact_email,
        deployment_target=customer.deployment_target,
        mcps=list(customer.mcps),
        state=customer.state,
        sources_digest=customer.sources_digest,
        created_at=customer.created_at,
        updated_at=customer.updated_at,
        jobs=[JobLine(job_id=job.job_id, kind=job.kind, state=job.state, created_at=job.created_at) for job in jobs],
        delivered=delivered.result if delivered is not None else None,
    )


async def _customers(store: JobStore, after: str, limit: int) -> list[Customer]:
    caller = principal()
    if caller.role in CUSTOMER_ROLES or caller.customer is not None:
        own = await store.customer(caller.customer) if caller.customer else None
        return [own] if own is not None and own.customer_id > after and may_reach(caller, own) else []
    if caller.role not in {"platform_admin", "partner_admin"}:
        return []
    async with store.session(None) as session:
        return await session.customers(after, partner_of(caller), limit)


def _line(customer: Customer) -> CustomerLine:
    assert customer.created_at is not None  # noqa: S101  it was read
    return CustomerLine(
        customer_id=customer.customer_id,
        company_name=customer.company_name,
        state=customer.state,
        newest_job=customer.newest_job,
        created_at=customer.created_at,
    )
