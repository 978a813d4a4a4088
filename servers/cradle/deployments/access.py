"""How the platform reaches a customer's instances, and whom these trust."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from servers.cradle.deployments.access_keys import access_key
from shared.client import Upstream
from shared.errors import Conflict, Unauthenticated
from shared.settings import Settings
from shared.signatures import Verifier

OTHER_KEY = "The instance takes another access key than the platform has. Call deploy_customer to give it this one."


class Access:
    """Instances take one access key, and updates that the platform's key has signed.

    Args:
        token_keys: gives the marketplace's public keys, a JSON Web Key Set, with which instances check its tokens;
            None: they take their access key alone.
    """

    def __init__(self, settings: Settings, verifier: Verifier, token_keys: Callable[[], Awaitable[str]] | None) -> None:
        self._settings = settings
        self._verifier = verifier
        self._token_keys = token_keys

    @asynccontextmanager
    async def instance(self, customer: str, address: str, port: int) -> AsyncIterator[Upstream]:
        """The customer's instance at an engine's address and a port.

        Raises:
            Conflict: it was started with another access key than the platform has now.
        """
        key = await asyncio.to_thread(access_key, self._settings.home, customer)
        async with Upstream(f"http://{address}:{port}/mcp", key=key, name="instance") as upstream:
            try:
                yield upstream
            except Unauthenticated:  # to the caller of cradle it would mean that its own token is refused
                raise Conflict(OTHER_KEY) from None

    async def environment(self, customer: str, address: str, port: int) -> dict[str, str]:
        """What a container is started with that serves the customer there."""
        key = await asyncio.to_thread(access_key, self._settings.home, customer)
        found = {"INSTANCE_ACCESS_KEY": key, "INSTANCE_SIGNER": self._verifier.text}
        if self._token_keys is not None:
            found["INSTANCE_ISSUER"] = self._settings.url("marketplace")
            found["INSTANCE_RESOURCE"] = f"http://{address}:{port}/mcp"
            found["INSTANCE_KEYS"] = await self._token_keys()
        return found
