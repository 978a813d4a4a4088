"""Orchestrator: the MCP server that agents call. It conducts jobs; no customer content passes through it."""
