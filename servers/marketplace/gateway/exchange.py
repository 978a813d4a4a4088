"""A request on its way to an upstream, and the answer that comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from servers.marketplace.gateway.message import Message
from servers.marketplace.gateway.pausing import Pausing
from servers.marketplace.gateway.questions import Conversation, Reply
from servers.marketplace.gateway.route import Route

Headers = list[tuple[str, str]]
CallName = tuple[tuple[str, str | None], str, str | int]
"""Whose call it is (subject and customer), in which session, with which id."""


@dataclass(slots=True)
class Exchange:
    """One request on its way.

    Args:
        owner: who may use the session that the upstream opens: the caller's subject and customer, the server's name.
        until: monotonic seconds.
        talks: the gateway stands between: it translates between the eras, and passes questions on.
        renew: headers of a new session, where the upstream has forgotten the one in `headers`.
        tool: the tool that is called, as its server names it; its answer is metered.
        session: the session id of a caller of the older era, which cancels its calls by name.
        can_be_asked: the caller answers questions of the server.
    """

    owner: tuple[str, str | None, str]
    route: Route
    method: str
    headers: Headers
    body: bytes
    message: Message
    until: float
    talks: bool = False
    renew: Callable[[], Awaitable[Headers]] | None = None
    tool: str | None = None
    session: str | None = None
    can_be_asked: bool = False
    started: bool = False
    talk: Conversation | None = None
    call: Pausing | None = None

    @property
    def may_pause(self) -> bool:
        """The upstream may ask in the middle of a call, and the caller is asked between two requests."""
        return self.talks and self.can_be_asked and self.message.modern and self.route.era == "legacy"

    @property
    def name(self) -> CallName | None:
        """What a cancellation names it by; None: it cannot be."""
        if self.session is None or self.message.request_id is None:
            return None
        return self.owner[:2], self.session, self.message.request_id


@dataclass(frozen=True, slots=True)
class Arriving:
    """An answer on its way from an upstream: head and body as HTTP has them.

    Args:
        streams: the body is server-sent events.
        headers: names in lower case.
        session: the id of the session that the upstream opened.
        modern: the upstream speaks 2026-07-28.
        reply: brings an answer to a request of the upstream's own.
    """

    status: int
    streams: bool
    headers: list[tuple[bytes, bytes]]
    session: str | None
    chunks: AsyncIterator[bytes]
    modern: bool
    reply: Reply
