"""Calling other servers of the platform.

upstream      Upstream: one MCP server, called from any number of tasks
tokens        TokenSource: this process's credential against tokens, one per server and customer
credentials   FileTokens: the same for a credential in the home folder
exchange      one JSON-RPC request over HTTP, its progress and its answer
stream        bodies and server-sent events, bounded
connections   the pooled HTTP client
"""

from shared.client.exchange import OnProgress
from shared.client.tokens import StaticKey, Tokens, TokenSource
from shared.client.upstream import Upstream

__all__ = ["OnProgress", "StaticKey", "TokenSource", "Tokens", "Upstream"]
