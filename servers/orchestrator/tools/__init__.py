"""The orchestrator's MCP tools: parse, one call of a service, shape the answer."""
