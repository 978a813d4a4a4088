"""Instance: one customer's dataset behind an MCP server and a web console, baked into that customer's image."""
