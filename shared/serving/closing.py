"""An answer after which the connection closes, given before the request's body was read."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.errors import TooLarge

LINGER_S = 30.0
IDLE_S = 5.0


class ClosingResponse(Response):
    """Answers at once, and throws away what still comes before it closes.

    A system resets a connection that is closed with bytes unread, and the reset takes the answer from a client that
    has not read it yet: one that sends its whole body first would never learn why it was refused. So the rest is
    taken in until the client closes, is silent for `IDLE_S`, or `LINGER_S` have passed.
    """

    def __init__(self, content: bytes, status: int, headers: dict[str, str], media_type: str) -> None:
        super().__init__(content, status, {**headers, "connection": "close"}, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while await self._more(receive):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    @staticmethod
    async def _more(receive: Receive) -> bool:
        try:
            async with asyncio.timeout(IDLE_S):
                message = await receive()
        except TooLarge:  # only now: a route has a lower limit than its server, and refused first
            return True
        return bool(message.get("more_body"))
