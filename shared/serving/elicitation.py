"""Asking the person behind a client to open a web page, in the form of 2026-07-28: the call's answer is that it needs
something first, and the client calls again with what came of it."""

from __future__ import annotations

from mcp_types import ElicitRequest, ElicitRequestURLParams, InputRequiredResult
from mcp_types.version import is_version_at_least

from shared.serving.progress import current_context

FIRST_VERSION = "2026-07-28"


def opens_pages() -> bool:
    """Whether the client of the current call says that it can ask its person to open a page."""
    context = current_context()
    if context is None or not is_version_at_least(context.protocol_version or "", FIRST_VERSION):
        return False
    asked = context.client_capabilities and context.client_capabilities.elicitation
    return bool(asked and asked.url is not None)


def page_asked(key: str, message: str, url: str) -> InputRequiredResult:
    """The answer that asks for a page to be opened; the client's next call brings `key` back."""
    params = ElicitRequestURLParams(message=message, url=url)
    return InputRequiredResult(input_requests={key: ElicitRequest(params=params)})


def answered_key() -> str | None:
    """The key of what the current call answers; it comes from the client, who may have made it up."""
    context = current_context()
    return next(iter((context and context.input_responses) or {}), None)
