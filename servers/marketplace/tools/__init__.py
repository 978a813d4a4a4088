"""The MCP tools of the marketplace."""
