"""Who may see and order what for which customer. What is not the caller's looks like what does not exist."""

from __future__ import annotations

from servers.orchestrator.store import Customer, Job, JobStore
from shared.auth import CUSTOMER_ROLES, Principal, principal
from shared.errors import NotFound


def may_name(caller: Principal, customer_id: str) -> bool:
    """Whether the caller's role and token allow naming this customer at all."""
    if caller.role in CUSTOMER_ROLES:
        return caller.customer == customer_id
    return caller.role in {"platform_admin", "partner_admin"} and caller.customer in {None, customer_id}


def may_reach(caller: Principal, customer: Customer) -> bool:
    """Whether the caller may work with this customer: a partner with those that it brought."""
    if not may_name(caller, customer.customer_id):
        return False
    return caller.role != "partner_admin" or customer.partner == caller.subject


def partner_of(caller: Principal) -> str | None:
    """The partner that customers of this caller belong to."""
    return caller.subject if caller.role == "partner_admin" else None


async def known_customer(store: JobStore, customer_id: str) -> Customer:
    """A customer that exists and that the caller may work with.

    Raises:
        NotFound: it is not both.
    """
    caller = principal()
    customer = await store.customer(customer_id) if may_name(caller, customer_id) else None
    if customer is None or not may_reach(caller, customer):
        raise NotFound(
            "This customer is not known: list_customers shows the ones that you may work with.", field="customer_id"
        )
    return customer


async def known_job(store: JobStore, job_id: str) -> Job:
    """A job of a customer that the caller may work with.

    Raises:
        NotFound: there is none.
    """
    caller = principal()
    job = await store.job(job_id, caller.customer)
    customer = await store.customer(job.customer_id) if job is not None else None
    if job is None or customer is None or not may_reach(caller, customer):
        raise NotFound("This job is not known: get_customer shows a customer's jobs.", field="job_id")
    return job
