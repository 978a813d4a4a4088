"""The ASGI application of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.errors import InvalidInput, NotFound
from shared.serving.failures import http_response
from shared.serving.guard import Access, Guard
from shared.serving.rest import Handler, json_response

Health = Callable[[], Awaitable[dict[str, Any]]]
HEALTHY = frozenset({"healthy", "ok", "ready"})


class Application:
    """The ASGI application of a server. `lifespan` opens what it needs; whoever runs it enters that once."""

    def __init__(
        self,
        routes: list[Route],
        mounts: list[tuple[Callable[[str], bool], ASGIApp]],
        access: Access,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self.lifespan = lifespan
        self._mounts = mounts
        self._starlette = Starlette(
            routes=routes, lifespan=lambda _: lifespan(), exception_handlers={HTTPException: _no_such_route}
        )
        self._starlette.router.redirect_slashes = False
        self._guard = Guard(self._dispatch, access)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._guard(scope, receive, send)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["path"]
            for serves, app in self._mounts:
                if serves(path):
                    await app(scope, receive, send)
                    return
        await self._starlette(scope, receive, send)


async def _no_such_route(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    if status == 404:
        return http_response(NotFound("There is nothing at this address."))
    refused = InvalidInput("This address does not take this method.")
    response = http_response(refused, dict(getattr(error, "headers", None) or {}))
    response.status_code = status
    return response


async def no_icon(request: Request) -> Response:
    """`GET /favicon.ico`, which browsers ask for without a token: there is none, and that is no refusal."""
    return Response(status_code=204, headers={"cache-control": "public, max-age=86400"})


def health_route(health: Health | None) -> Handler:
    """`GET /health`: what `health` says; 503 unless its `status` is one of `HEALTHY`."""

    async def answer(request: Request) -> Response:
        body = await health() if health is not None else {"status": "healthy"}
        return json_response(body, 200 if body.get("status") in HEALTHY else 503)

    return answer
