"""A small MCP server over stdio, made with the official SDK: it speaks both eras. Tests run it as a package."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Annotated

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, ListRoots, Resolve
from mcp_types import ListRootsResult
from pydantic import BaseModel

server = MCPServer("small")


class Colour(BaseModel):
    colour: str


def which() -> Elicit[Colour]:
    return Elicit("Which colour?", Colour)


def where() -> ListRoots:
    return ListRoots()


@server.tool(description="Order something, after asking for its colour.")
def order(thing: str, told: Annotated[Colour, Resolve(which)]) -> str:
    return f"{told.colour} {thing}"


@server.tool(description="Ask for the client's roots.")
def roots(found: Annotated[ListRootsResult, Resolve(where)]) -> str:
    return str(len(found.roots))


@server.resource("orders://last", mime_type="text/plain")
def last() -> str:
    return "grey cable"


@server.prompt(description="Praise a thing.")
def praise(thing: str) -> str:
    return f"Praise the {thing}."


@server.tool(description="Say who runs.")
def say() -> str:
    return f"{os.getpid()} {os.environ.get('KEY', '')}"


@server.tool(description="Report progress.")
async def count(steps: int, ctx: Context) -> str:
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    return str(steps)


@server.tool(description="Wait until it is cancelled, and note both in files.")
async def wait(started: str, cancelled: str) -> str:
    Path(started).touch()  # noqa: ASYNC240
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        Path(cancelled).touch()  # noqa: ASYNC240
        raise
    return ""


@server.tool(description="Fail.")
def fail() -> str:
    raise ValueError("canary of an error")


if __name__ == "__main__":
    sys.stderr.write("canary of standard error\n" * 20_000)  # more than a pipe holds
    server.run("stdio")
