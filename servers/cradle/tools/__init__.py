"""Cradle's MCP tools: parse, one call of a service, shape the answer. The customer always comes from the token."""
