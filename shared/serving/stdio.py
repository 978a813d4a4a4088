"""MCP over standard input and output."""

from __future__ import annotations

from mcp.server.mcpserver import MCPServer


async def run_stdio(server: MCPServer) -> None:
    """Serve until input ends."""
    await server.run_stdio_async()
