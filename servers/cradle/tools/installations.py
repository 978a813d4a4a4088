"""The customer's store and installation parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import orjson
from pydantic import Field

from servers.cradle.processing.parameters import current_parameters
from servers.cradle.processing.sources import SourceList
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.installation import InstallationVersion, ParameterChoice
from shared.contracts.model import Contract
from shared.ids import Digest, canonical_digest
from shared.objects import CustomerStore

SOURCES = "sources.json"


class Prepared(Contract):
    """The customer's store is there and knows its sources."""

    sources_digest: Digest
    sources: int


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def prepare_customer(
        data_sources: Annotated[list[Annotated[str, Field(min_length=1, max_length=2000)]], Field(min_length=1, max_length=100)],
    ) -> Prepared:
        """Make the customer's bucket and record where its files are. Checks that each source exists and may be read.

        The sources stay in the customer's bucket; the answer holds their digest only.
        """
        held = services()
        checked = SourceList.parse(data_sources, held.settings)
        store = await CustomerStore.open(held.settings, require_customer(), create=True)
        await store.put(SOURCES, orjson.dumps(checked.uris))
        return Prepared(sources_digest=canonical_digest(checked.uris), sources=len(checked.uris))

    async def save_installation_params(choice: ParameterChoice) -> InstallationVersion:
        """Fix the customer's parameters as an immutable version. The same parameters give the same version again."""
        held = services()
        parameters = await current_parameters(choice, held.embedding, held.vision)
        return await held.installations.save(require_customer(), parameters, held.embedding)

    async def get_installation_params(version: Annotated[int | None, Field(ge=1)] = None) -> InstallationVersion:
        """Read a version of the customer's parameters; the newest if none is named."""
        return await services().installations.get(require_customer(), version)

    server.tool(
        prepare_customer, scope="process", title="Prepare a customer", read_only=False, idempotent=True, open_world=False
    )
    server.tool(
        save_installation_params,
        scope="installations:write", title="Save installation parameters", read_only=False, idempotent=True, open_world=False,
    )  # fmt: skip
    server.tool(
        get_installation_params,
        scope="installations:read", title="Read installation parameters", read_only=True, idempotent=True, open_world=False,
    )  # fmt: skip
