"""Resources: the same views as the tools give, by address."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import TypeAdapter, ValidationError

from servers.orchestrator.access import known_customer, known_job
from servers.orchestrator.answers import CustomerView
from servers.orchestrator.services import Services
from servers.orchestrator.tools.customers import customer_view
from servers.orchestrator.tools.jobs import job_view
from servers.orchestrator.tools.parameters import stored_parameters
from shared.contracts.installation import InstallationVersion
from shared.contracts.job import JobView
from shared.errors import NotFound
from shared.ids import CustomerId, JobId

_CUSTOMER = TypeAdapter(CustomerId)
_JOB = TypeAdapter(JobId)


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the resources on the server."""

    async def customer(customer_id: str) -> CustomerView:
        """A customer: its state, newest jobs and newest image."""
        store = services().store
        return await customer_view(store, await known_customer(store, _fits(_CUSTOMER, customer_id)))

    async def job(job_id: str) -> JobView:
        """A job: its steps, progress and result."""
        return job_view(await known_job(services().store, _fits(_JOB, job_id)), "detailed")

    async def parameters(customer_id: str, version: str) -> InstallationVersion:
        """A version of a customer's installation parameters; the version `latest` is the one saved last."""
        if version != "latest" and not (version.isdecimal() and len(version) < 10 and int(version) > 0):
            raise NotFound("This version is not known: versions are numbers from 1, or `latest`.")
        wanted = None if version == "latest" else int(version)
        return await stored_parameters(services(), _fits(_CUSTOMER, customer_id), wanted)

    server.resource("customer://{customer_id}", customer, scope="customers:read", title="Customer")
    server.resource("job://{job_id}", job, scope="jobs:read", title="Job")
    server.resource(
        "parameters://{customer_id}/{version}", parameters, scope="installations:read", title="Installation parameters"
    )


def _fits(kind: TypeAdapter[str], value: str) -> str:
    try:
        return kind.validate_python(value)
    except ValidationError:
        raise NotFound("There is nothing of this name.") from None
