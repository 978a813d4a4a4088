"""A JSON document at an address of the marketplace, over one connection."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import httpx2

FETCH_DEADLINE_S = 5.0


class RemoteDocument:
    """Fetches it each time that it is asked for.

    Args:
        largest: bytes of an answer that is taken.
    """

    def __init__(self, url: str, largest: int) -> None:
        self._url = url
        self._largest = largest
        self._client: httpx2.AsyncClient | None = None

    async def fetch(self) -> dict[str, Any]:
        """The document.

        Raises:
            Exception: whatever is wrong with the connection or the answer.
        """
        import httpx2

        if self._client is None:
            # An SSL context takes 20–58 ms to build; a plain address needs none.
            verify = ssl.create_default_context() if self._url.startswith("https:") else False
            self._client = httpx2.AsyncClient(
                timeout=FETCH_DEADLINE_S, trust_env=False, follow_redirects=False, verify=verify
            )
        response = await self._client.get(self._url)
        response.raise_for_status()
        if len(response.content) > self._largest:
            raise ValueError("too large")
        document = orjson.loads(response.content)
        if not isinstance(document, dict):
            raise TypeError("not an object")
        return document

    async def aclose(self) -> None:
        """Close the connection."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None
