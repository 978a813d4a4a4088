"""The marketplace's public keys, which an instance gets at its start: it need not reach the marketplace itself."""

from __future__ import annotations

import asyncio

from shared.client.connections import open_client, unavailable
from shared.settings import Settings

DEADLINE_S = 10


async def token_keys(settings: Settings) -> str:
    """The JSON Web Key Set.

    Raises:
        Unavailable: the marketplace does not answer.
    """
    import aiohttp

    address = settings.url("marketplace") + "/.well-known/jwks.json"
    try:
        async with asyncio.timeout(DEADLINE_S), open_client() as client, client.get(address) as response:
            response.raise_for_status()
            return (await response.read()).decode()
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
        raise unavailable("marketplace") from None
