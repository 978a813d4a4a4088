"""Tools for changes by a statement. Only the platform's approvals carry their scope: no key and no user holds it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from servers.instance.changes import Changes
from servers.instance.shelf import Shelf
from servers.instance.tools.versions import UPDATE_DEADLINE_S, serve_version
from servers.instance.versions import Versions
from shared.auth import principal
from shared.contracts.instance import ChangeProposed, ChangeShown, DatasetVersions
from shared.ids import Digest, Handle

SCOPE = "dataset:write"


def register(server: Any, versions: Versions, changes: Changes, shelf: Shelf) -> None:
    """Offers the tools on the server."""

    async def propose_change(
        statement: Annotated[str, Field(min_length=1, max_length=8000, description="One UPDATE or DELETE.")],
    ) -> ChangeProposed:
        """Count the rows that a statement would change, and keep it for a decision. Nothing is changed.

        Use it before apply_change; the marketplace's change_customer_database does both, with an approval between.
        """
        change_id, rows = await changes.propose(shelf.current(), principal().subject, statement)
        return ChangeProposed(change_id=change_id, rows=rows)

    async def show_change(change_id: Handle) -> ChangeShown:
        """Show the statement of a change that waits. Use it to decide on it."""
        found = changes.show(change_id)
        return ChangeShown(statement=found.statement, rows=found.rows)

    async def apply_change(
        change_id: Handle, statement_digest: Digest, rows: Annotated[int, Field(ge=0)]
    ) -> DatasetVersions:
        """Make a proposed change as a new version and serve it; use_version goes back. Use it once it is approved."""
        async with changes.turn:
            return await serve_version(versions, shelf, await changes.make(change_id, statement_digest, rows))

    server.tool(propose_change, scope=SCOPE, title="Propose a change", read_only=True)
    server.tool(show_change, scope=SCOPE, title="Show a change", read_only=True, idempotent=True)
    server.tool(apply_change, scope=SCOPE, title="Apply a change", destructive=True, deadline_s=UPDATE_DEADLINE_S)
