"""What a caller of 2025-11-25 said of itself at its greeting, kept in the session id that it sends with each request.

The id is sealed, so that no replica has to remember it; it tells one client's calls from another's too.
"""

from __future__ import annotations

from collections.abc import Sequence

from servers.marketplace.gateway.asking import SESSION
from servers.marketplace.gateway.eras import ENVELOPE
from servers.marketplace.gateway.message import Message
from servers.marketplace.gateway.sessions import SessionSeal
from shared.auth import Principal
from shared.errors import NotFound

PURPOSE = "greeting"
BRIDGED = "between."
"""How the session id of a caller begins whose era its server does not speak."""
ASKS, PLAIN = "elicitation", ""
QUESTION = "elicitation/create"
"""The one request of a server that the gateway passes on to a caller."""


def session_for(seal: SessionSeal, caller: Principal, greeting: Message) -> str:
    """The session id for a caller that greets."""
    told = ASKS if _elicits(greeting.params.get("capabilities")) else PLAIN
    return seal.seal(told, PURPOSE, caller.subject, caller.customer)


def session_of(headers: Sequence[tuple[str, str]]) -> str | None:
    """The session id that a request carries."""
    return next((value for name, value in headers if name == SESSION), None)


def can_be_asked(seal: SessionSeal, caller: Principal, headers: Sequence[tuple[str, str]], message: Message) -> bool:
    """Whether the caller of this request answers `elicitation/create`.

    Raises:
        NotFound: its session between the eras is over, or another's; it greets again.
    """
    if message.modern:
        meta = message.params.get("_meta")
        return isinstance(meta, dict) and _elicits(meta.get(ENVELOPE + "clientCapabilities"))
    session = session_of(headers)
    if session is None:
        return False
    try:
        return seal.open(session.removeprefix(BRIDGED), PURPOSE, caller.subject, caller.customer) == ASKS
    except NotFound:
        if session.startswith(BRIDGED):
            raise
        return False


def _elicits(capabilities: object) -> bool:
    return isinstance(capabilities, dict) and isinstance(capabilities.get("elicitation"), dict)
