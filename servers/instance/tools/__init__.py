"""The instance's MCP tools: small functions over the library."""
