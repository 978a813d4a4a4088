"""Routes beside MCP: the same callers, the same errors. Bodies are read up to a limit, never further."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shared.auth import require
from shared.errors import Internal, InvalidInput, PlatformError, TooLarge
from shared.serving.failures import More, http_response, invalid_arguments, platform_error
from shared.telemetry import event
from shared.values import check_value, problem_of

Handler = Callable[[Request], Awaitable[Any]]
Model = TypeVar("Model", bound=BaseModel)
LIMIT = "0711.limit"
"""Where the scope of a request has the largest body that its server takes."""
DEFAULT_LIMIT = 32 * 2**20


def route(path: str, handler: Handler, methods: list[str], scope: str | None, more: More | None = None) -> Route:
    """A route whose handler may return a response, a model or anything that JSON has, and may raise `PlatformError`."""

    async def endpoint(request: Request) -> Response:
        try:
            if scope is not None:
                require(scope)
            answer = await handler(request)
            return answer if isinstance(answer, Response) else json_response(answer)
        except PlatformError as error:
            return http_response(error, more=more)
        except Exception as error:  # noqa: BLE001  # translated and logged; nothing of it may reach the caller
            return http_response(platform_error(error, route=path), more=more)

    return Route(path, endpoint, methods=methods, name=path)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A value as JSON; models by their aliases.

    Raises:
        Internal: it holds a number that JSON has not, which would be `null`.
    """
    return Response(orjson.dumps(_sound(value), default=_plain), status, headers, media_type="application/json")


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _sound(value.model_dump(mode="json", by_alias=True))
    raise TypeError(type(value).__name__)


def _sound(value: Any) -> Any:
    if (problem := problem_of(value)) is not None:
        event("bad_output", code=problem.split(":")[0])
        raise Internal()
    return value


async def read_body(request: Request, limit: int | None = None) -> bytes:
    """The body.

    Args:
        limit: largest size in bytes; default: the server's.

    Raises:
        TooLarge: it is larger; what is over the limit was not read.
    """
    most = int(limit if limit is not None else request.scope.get(LIMIT, DEFAULT_LIMIT))
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > most:
        raise too_large(most)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise too_large(most)
    return bytes(body)


def too_large(limit: int) -> TooLarge:
    """The error of a body over `limit` bytes."""
    return TooLarge(f"The body is over {limit} bytes: send less at once, and its Content-Length.")


async def read_json(request: Request, limit: int | None) -> Any:
    """The body as JSON.

    Raises:
        InvalidInput: it is not JSON, or holds what `check_value` refuses.
        TooLarge: it is over the limit.
    """
    body = await read_body(request, limit)
    try:
        value = orjson.loads(body)
    except ValueError:
        raise InvalidInput(
            "The body is not valid JSON. NaN, Infinity and half characters (lone surrogates) are not JSON either."
        ) from None
    check_value(value)
    return value


async def read_model(request: Request, model: type[Model], limit: int | None = None) -> Model:
    """The body as a model.

    Raises:
        InvalidInput: it does not fit; says which field and why, never the value.
        TooLarge: it is over the limit.
    """
    value = await read_json(request, limit)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise invalid_arguments(error, model.model_json_schema()) from None
