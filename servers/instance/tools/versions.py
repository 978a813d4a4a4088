"""Tools for updates: receive one, merge it, go back to another version. Only what the signer signed is taken in."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from pydantic import Field

from servers.instance.shelf import Shelf
from servers.instance.updates import Updates
from servers.instance.versions import Versions
from shared.contracts.instance import DatasetVersions, UpdatePart
from shared.errors import InvalidInput
from shared.ids import Digest
from shared.telemetry import event

SCOPE = "dataset:update"
MAX_PART = 512 * 1024
UPDATE_DEADLINE_S = 3700.0


def register(server: Any, versions: Versions, updates: Updates, shelf: Shelf) -> None:
    """Offers the tools on the server."""

    async def put_update(
        update_digest: Annotated[Digest, Field(description="SHA-256 of the whole update.")],
        position: Annotated[int, Field(ge=0, description="Where in the update this part belongs, in bytes.")],
        data_base64: Annotated[str, Field(min_length=4, max_length=MAX_PART * 4 // 3 + 4)],
    ) -> UpdatePart:
        """Send a part of a signed update, in order. Use it until all parts are here, then apply_update."""
        try:
            data = base64.b64decode(data_base64, validate=True)
        except ValueError:
            raise InvalidInput("The part is not base64. Encode its bytes and send it again.") from None
        return UpdatePart(received=await updates.receive(update_digest, position, data))

    async def apply_update(update_digest: Digest) -> DatasetVersions:
        """Merge a received update and serve the new version. Answers go on meanwhile; calls that run are not cut.

        Use it after put_update. An update that is damaged, not signed, or not for this instance changes nothing.
        """
        async with updates.turn:
            return await serve_version(versions, shelf, await updates.apply(update_digest))

    async def use_version(dataset_digest: Digest) -> DatasetVersions:
        """Serve another version that the instance has, an older one too. Use it to roll an update back.

        It waits for a change or an update that is being made, and comes after it.
        """
        async with updates.turn:
            return await serve_version(versions, shelf, dataset_digest)

    async def list_versions() -> DatasetVersions:
        """List the versions of the dataset that this instance has: the image's own and its updates.

        Use it to see which version answers; the operator goes back with rollback_customer.
        """
        return DatasetVersions(versions=versions.listed())

    server.tool(put_update, scope=SCOPE, title="Send an update", idempotent=True)
    server.tool(apply_update, scope=SCOPE, title="Apply an update", idempotent=True, deadline_s=UPDATE_DEADLINE_S)
    server.tool(
        use_version, scope=SCOPE, title="Use a version", idempotent=True, destructive=True, deadline_s=UPDATE_DEADLINE_S
    )
    server.tool(list_versions, scope="dataset:read", title="List versions", read_only=True, idempotent=True)


async def serve_version(versions: Versions, shelf: Shelf, dataset_digest: str) -> DatasetVersions:
    """Serve a version that is here, now and from the next start on. The caller holds the turn.

    It is noted before it answers: what is raised leaves the version before it, which answers and is noted.
    """
    before = versions.current()
    versions.choose(dataset_digest)
    try:
        await shelf.serve(dataset_digest)
    except BaseException:
        versions.choose(before)
        raise
    event("dataset_version_served")
    return DatasetVersions(versions=versions.listed())
