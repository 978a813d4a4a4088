"""What the orchestrator's tools answer beside jobs. Holds no content."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from servers.orchestrator.store import CustomerState
from shared.contracts.job import JobKind, JobResult, JobState
from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest, JobId


class CustomerLine(Contract):
    """A customer in a list."""

    customer_id: CustomerId
    company_name: str
    state: CustomerState
    newest_job: JobState | None = Field(None, description="How its newest job is or ended; get_customer names the job.")
    created_at: datetime


class CustomerPage(Contract):
    """Customers in the order of their ids; ask again with cursor=next_cursor for more."""

    customers: list[CustomerLine]
    next_cursor: str | None = None


class JobLine(Contract):
    """A job in a list."""

    job_id: JobId
    kind: JobKind
    state: JobState
    created_at: datetime


class CustomerView(Contract):
    """A customer, its newest jobs, and what the newest job that delivered an image made."""

    customer_id: CustomerId
    company_name: str
    contact_email: str
    deployment_target: str
    mcps: list[str]
    state: CustomerState
    sources_digest: Digest
    created_at: datetime
    updated_at: datetime
    jobs: list[JobLine]
    delivered: JobResult | None = Field(None, description="Counts, digests and places of the newest delivered image.")


class PartStatus(Contract):
    """One part of the platform."""

    name: str
    healthy: bool
    detail: str = ""


class PlatformStatus(Contract):
    """The platform and its parts, each asked just now."""

    healthy: bool
    parts: list[PartStatus]
