"""Installation parameters: the orchestrator passes them on; cradle fixes and keeps them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from servers.orchestrator.access import known_customer
from servers.orchestrator.services import Services
from servers.orchestrator.tools.arguments import CustomerArgument
from shared.contracts.installation import InstallationVersion, ParameterChoice, ParameterHistory


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def save_installation_params(
        customer_id: CustomerArgument,
        choice: Annotated[
            ParameterChoice | None,
            Field(description="Leave out to keep what was chosen, as after an upgrade of the platform."),
        ] = None,
    ) -> InstallationVersion:
        """Fix a customer's installation parameters as a new, immutable version. The same choice gives the same version.

        Use it to prepare a change of model, chunk size or OCR, and after an upgrade of the platform. A dataset keeps
        its version, until process_new_documents with parameter_version makes it anew.
        """
        held = services()
        await known_customer(held.store, customer_id)
        chosen = {} if choice is None else {"choice": choice.model_dump(mode="json")}
        return await held.cradle("save_installation_params", InstallationVersion, customer_id, **chosen)

    async def get_installation_params(
        customer_id: CustomerArgument,
        version: Annotated[
            int | None, Field(ge=1, le=2**31 - 1, description="Leave out for the one that was saved last.")
        ] = None,
    ) -> InstallationVersion:
        """Read a version of a customer's installation parameters: the model, chunker, OCR and extractors, exactly.

        Use it to see what decides the customer's results.
        """
        return await stored_parameters(services(), customer_id, version)

    async def list_installation_params(
        customer_id: CustomerArgument,
        start: Annotated[
            int | None, Field(ge=1, le=2**31 - 1, description="next_start of the page before; leave out at first.")
        ] = None,
        limit: Annotated[int, Field(ge=1, le=50)] = 20,
    ) -> ParameterHistory:
        """List the versions of a customer's installation parameters, newest first, each with the fields it changed.

        Use it to see what differs between two deliveries, or which version an earlier dataset was made with.
        """
        held = services()
        await known_customer(held.store, customer_id)
        page = {"limit": limit} if start is None else {"limit": limit, "start": start}
        return await held.cradle("list_installation_params", ParameterHistory, customer_id, **page)

    server.tool(
        save_installation_params, scope="installations:write", title="Save installation parameters", idempotent=True
    )
    server.tool(
        get_installation_params,
        scope="installations:read", title="Read installation parameters", read_only=True, idempotent=True,
    )  # fmt: skip
    server.tool(
        list_installation_params,
        scope="installations:read", title="List versions of installation parameters", read_only=True, idempotent=True,
    )  # fmt: skip


async def stored_parameters(held: Services, customer_id: str, version: int | None) -> InstallationVersion:
    """A version of a customer's parameters; the one saved last where none is named.

    Raises:
        NotFound: the customer or the version is not known.
    """
    await known_customer(held.store, customer_id)
    wanted = {} if version is None else {"version": version}
    return await held.cradle("get_installation_params", InstallationVersion, customer_id, **wanted)
