"""`Upstream`: one MCP server of the platform as a Python object."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from shared.client.connections import open_client, unavailable
from shared.client.exchange import OnProgress, call_body, call_headers, read_answer
from shared.client.tokens import StaticKey, Tokens
from shared.errors import DeadlineExceeded, Internal, Unauthenticated, Unavailable
from shared.telemetry import event
from shared.values import check_value

if TYPE_CHECKING:
    import aiohttp

Answer = TypeVar("Answer", bound=BaseModel)
DEADLINE_S = 60.0


class Upstream:
    """Calls the tools of one server; safe to use from many tasks. An async context manager, or `aclose` at the end.

    Args:
        url: address of the MCP endpoint; also the audience of its tokens.
        tokens: where tokens come from.
        key: a fixed key instead of tokens.
        name: what errors call it, such as `cradle`.
    """

    def __init__(
        self, url: str, tokens: Tokens | None = None, *, key: str | None = None, name: str | None = None
    ) -> None:
        if (tokens is None) == (key is None):
            raise TypeError("An upstream needs either a source of tokens or a key.")
        self._url = url
        self._tokens: Tokens = tokens if tokens is not None else StaticKey(key or "")
        self._name = name or f"server at {urlsplit(url).netloc}"
        self._client: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    @overload
    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        result: type[Answer],
        customer: str | None = None,
        on_progress: OnProgress | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Answer: ...

    @overload
    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        result: None = None,
        customer: str | None = None,
        on_progress: OnProgress | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> dict[str, Any]: ...

    async def call(
        self,
        tool: str,
        arguments: dict[str, Any],
        result: type[Answer] | None = None,
        customer: str | None = None,
        on_progress: OnProgress | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> Answer | dict[str, Any]:
        """Call a tool. A caller that is cancelled cancels the tool.

        Args:
            arguments: what JSON has; models by their `model_dump(mode="json")`.
            result: the contract that the tool answers with; None: its structured content as it is.
            customer: the customer that the call is for; goes into the token, never into the arguments.
            on_progress: gets done, total and a note; may be a coroutine function.

        Raises:
            PlatformError: what the tool raised, as the same class.
            Unavailable: the server does not answer.
            DeadlineExceeded: it took longer than `deadline_s`.
        """
        check_value(arguments)
        body = call_body(tool, arguments, on_progress is not None)
        deadline = asyncio.timeout(deadline_s)
        try:
            async with deadline:
                answer = await self._with_token(tool, body, customer, on_progress)
        except TimeoutError:
            if not deadline.expired():
                raise
            raise DeadlineExceeded(f"The {self._name} did not answer within {deadline_s:g} s: try again.") from None
        structured = answer.get("structuredContent")
        if result is None:
            return structured if isinstance(structured, dict) else {}
        try:
            return result.model_validate(structured)
        except ValidationError as error:
            event("unexpected_answer", tool=tool, error=error)
            raise Internal() from None

    async def _with_token(
        self, tool: str, body: bytes, customer: str | None, on_progress: OnProgress | None
    ) -> dict[str, Any]:
        token = await self._tokens.token(self._url, customer)
        try:
            return await self._exchange(call_headers(tool, token), body, on_progress)
        except Unauthenticated:
            if not self._tokens.forget(token):
                raise
        token = await self._tokens.token(self._url, customer)
        try:
            return await self._exchange(call_headers(tool, token), body, on_progress)
        except Unauthenticated:
            raise Unavailable(f"The {self._name} refuses this process's tokens: restart `0711 up`.") from None

    async def _exchange(self, headers: dict[str, str], body: bytes, on_progress: OnProgress | None) -> dict[str, Any]:
        import aiohttp

        if self._client is None:
            self._client = open_client()
        try:
            async with self._client.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                return await read_answer(response, on_progress)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise unavailable(self._name, error) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise Unavailable(f"The {self._name} broke off: try again.", retry_after=2) from None
