"""The catalogue of MCP servers and what each customer has installed."""
