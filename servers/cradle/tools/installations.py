"""The customer's store and installation parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.cradle.installations.parameters import choice_of
from servers.cradle.onboarding import (
    check_choice,
    checked_sources,
    current_choice,
    record_sources,
    require_platform,
)
from servers.cradle.processing.sources import MAX_SOURCES
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.installation import InstallationVersion, ParameterChoice, ParameterHistory
from shared.contracts.processing import SourcesChecked, SourcesPrepared
from shared.ids import CustomerId, canonical_digest
from shared.serving import Server

Source = Annotated[str, Field(min_length=1, max_length=2000)]
Sources = Annotated[list[Source], Field(min_length=1, max_length=MAX_SOURCES)]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def prepare_customer(
        data_sources: Sources,
        add: Annotated[bool, Field(description="Keep the recorded ones beside them.")] = False,
    ) -> SourcesPrepared:
        """Make the customer's bucket and record where its files are. Checks that each source exists and may be read.

        Use it before an onboarding. The sources stay in the customer's bucket; the answer holds their digest only.
        """
        checked = await record_sources(services(), require_customer(), data_sources, add=add)
        return SourcesPrepared(sources_digest=canonical_digest(checked.uris), sources=len(checked.uris))

    async def check_customer(
        customer_id: CustomerId,
        data_sources: Sources,
        choice: ParameterChoice,
    ) -> SourcesChecked:
        """Check that each source of a customer exists and may be read, and that the choice can be met; change nothing.

        Use it before a customer is registered, with a token for no customer; prepare_customer checks again.
        """
        require_platform()
        await check_choice(services(), choice)
        return SourcesChecked(sources=len((await checked_sources(services(), customer_id, data_sources)).uris))

    async def save_installation_params(choice: ParameterChoice | None = None) -> InstallationVersion:
        """Fix the customer's parameters as an immutable version. The same parameters give the same version again.

        Use it at an installation; updates use the stored version. Without a choice, that of the newest version counts.
        """
        held, customer = services(), require_customer()
        if choice is None:
            choice = choice_of((await held.installations.get(customer, None)).parameters)
        return await held.installations.save(customer, await current_choice(held, choice), held.embedding)

    async def get_installation_params(version: Annotated[int | None, Field(ge=1)] = None) -> InstallationVersion:
        """Read a version of the customer's parameters; the one saved last if none is named. Use it before an update."""
        return await services().installations.get(require_customer(), version)

    async def list_installation_params(
        start: Annotated[int | None, Field(ge=1, le=2**31 - 1)] = None,
        limit: Annotated[int, Field(ge=1, le=50)] = 20,
    ) -> ParameterHistory:
        """List the customer's versions, newest first, each with what it changed. Use it to see why results differ."""
        return await services().installations.changes(require_customer(), start, limit)

    server.tool(check_customer, scope="process", title="Check a customer", read_only=True, idempotent=True)
    server.tool(prepare_customer, scope="process", title="Prepare a customer", idempotent=True)
    server.tool(
        save_installation_params,
        scope="installations:write",
        title="Save installation parameters",
        idempotent=True,
        deadline_s=server.settings.job_step_deadline_s,  # a job waits for a model that still loads
    )
    server.tool(
        get_installation_params,
        scope="installations:read",
        title="Read installation parameters",
        read_only=True,
        idempotent=True,
    )
    server.tool(
        list_installation_params,
        scope="installations:read",
        title="List versions of installation parameters",
        read_only=True,
        idempotent=True,
    )
