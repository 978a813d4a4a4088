"""Everything between a socket and a tool: the only room that speaks the protocol and HTTP.

server     Server: what a server offers (tools, resources, routes) and its ASGI application
tools      one call of a tool: caller, arguments, deadline, answer
audited    what changes something is in the audit log first
progress   `report` inside a tool
elicitation  a web page that a person is asked to open
failures   errors → MCP results and HTTP answers, without leak
guard      every HTTP request: host, origin, token (denied unless listed as public)
endpoint   `/mcp`: scopes before the work, cancellation in both eras
rest       routes beside MCP
hanging_up a caller that no longer waits
stdio      MCP over standard input and output, both eras
process    ports, signals, draining
"""

from shared.serving.elicitation import answered_key, opens_pages, page_asked
from shared.serving.process import run_loop, serve
from shared.serving.progress import report
from shared.serving.rest import json_response, read_body, read_json, read_model
from shared.serving.server import Server

__all__ = [
    "Server", "answered_key", "json_response", "opens_pages", "page_asked", "read_body", "read_json", "read_model",
    "report", "run_loop", "serve",
]  # fmt: skip
