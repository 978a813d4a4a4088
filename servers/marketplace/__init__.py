"""Marketplace ("MCP Central"): users, tokens, the catalogue and the gateway to installed servers."""
