"""Resources: the same scope, deadline and errors as tools."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import Any

from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel

from shared.auth import require
from shared.errors import NotFound, PlatformError
from shared.serving.failures import platform_error, protocol_error, sentence


def guarded(fn: Callable[..., Awaitable[BaseModel]], scope: str, deadline_s: float) -> Callable[..., Awaitable[str]]:
    """`fn` with this platform's rules around it. Keeps its signature: the SDK reads a template's names from it."""

    @functools.wraps(fn)
    async def read(*args: Any, **kwargs: Any) -> str:
        try:
            require(scope)
            async with asyncio.timeout(deadline_s):
                return (await fn(*args, **kwargs)).model_dump_json(by_alias=True)
        except MCPError:
            raise
        except NotFound as error:
            raise ResourceNotFoundError(sentence(error)) from None
        except PlatformError as error:
            raise protocol_error(error) from None
        except Exception as error:  # noqa: BLE001  # translated and logged; nothing of it may reach the caller
            raise protocol_error(platform_error(error, route="resource")) from None

    return read
