"""The catalogue: MCP servers that can be installed, and what registering and installing answer. Holds no content."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest

SCOPE_OF_TOOL = "0711/scope"
"""In `_meta` of a tool's definition: the scope that a token needs for it."""
SERVER_NAME_PATTERN = r"^[a-z0-9][a-z0-9.-]*/[a-z0-9][a-z0-9._-]*$"
ServerIdentifier = Annotated[str, StringConstraints(pattern=SERVER_NAME_PATTERN, min_length=3, max_length=200)]
ServerArgument = Annotated[
    ServerIdentifier, Field(description="As list_marketplace_mcps shows it, such as io.0711/tax.")
]
ToolIdentifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$", min_length=1, max_length=128)]
EntryKind = Literal["platform", "instance", "external"]
Approval = Literal["submitted", "review", "approved", "suspended", "rejected"]
Tier = Literal["starter", "professional", "business", "enterprise"]
Direction = Literal["input", "output", "both"]


class CatalogueTool(Contract):
    """A tool and the digest of its definition's canonical JSON, where the definition is known."""

    name: ToolIdentifier
    digest: Digest | None = None


class CatalogueEntry(Contract):
    """One server of the catalogue as a caller sees it. `endpoint` is the marketplace's call-through address."""

    server_name: ServerIdentifier
    title: str
    description: str
    version: str
    kind: EntryKind
    customer_id: CustomerId | None = Field(None, description="The one customer that sees it; none: every customer.")
    approval: Approval
    tools: list[CatalogueTool]
    endpoint: str
    package: str | None = Field(None, description="What the platform itself runs; none: a server at an address.")
    reachable: bool = Field(description="An address is registered, so that the endpoint can be called.")
    installed: bool = Field(description="Installed for the caller's customer.")
    tier: Tier = Field("starter", description="The smallest tier of a customer that sees it.")
    direction: Direction = Field(
        "both", description="Whether it brings data in, takes data out, or both: the most that a connection may."
    )
    needs_licence: bool = False
    licensed: bool = Field(True, description="No licence is needed, or the caller's customer has one.")
    rating: float | None = Field(None, description="Mean of the customers' ratings, 1 to 5.")
    ratings: int = 0


class CataloguePage(Contract):
    """Entries in the order of their names, as many as one answer holds; `next_cursor` asks for the next page."""

    entries: list[CatalogueEntry]
    next_cursor: str | None = None
    note: str = Field("", description="Where a search finds nothing: what to try.")


class CustomerRegistered(Contract):
    """A customer that the marketplace knows."""

    customer_id: CustomerId
    already_there: bool


class InstanceRegistered(Contract):
    """A customer's instance that the catalogue holds and that is installed for this customer."""

    customer_id: CustomerId
    server_name: ServerIdentifier
    endpoint: str
    already_there: bool


class ServerInstalled(Contract):
    """A catalogue entry installed for a customer."""

    customer_id: CustomerId
    server_name: ServerIdentifier
    endpoint: str
    already_there: bool


class ServerUninstalled(Contract):
    """A catalogue entry that is not (or no longer) installed for a customer."""

    customer_id: CustomerId
    server_name: ServerIdentifier
    was_installed: bool
