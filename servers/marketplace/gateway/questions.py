"""Questions that servers put to callers during a call: passed on, and the answers brought back.

A server of 2025-11-25 sends a request of its own in the stream of the call; one of 2026-07-28 ends the call with what
it wants to know, and is called again with it. A caller of the older era gets a request either way and posts its answer;
one of the newer era gets a result that asks, and calls again: the server's call is paused until then. Only forms of
`elicitation/create` are passed on. Everything else that a server asks (addresses to open, sampling, roots) is refused
at once, in words.

An answer has to reach the process that holds the call.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mcp_types.jsonrpc import INVALID_REQUEST, METHOD_NOT_FOUND

from servers.marketplace.gateway.eras import Answer, translation
from servers.marketplace.gateway.greeting import QUESTION
from servers.marketplace.gateway.message import Message, ProtocolError, invalid_params
from servers.marketplace.gateway.pausing import Pausing
from shared.errors import Overloaded, Unavailable

PREFIX = "0711-question-"
PAUSED = "0711-paused-"
KEY = "question"
"""The one key of `inputRequests` that the gateway itself makes."""
ANSWER_S = 300.0
"""Seconds that a call goes on for a person to answer."""
ROUNDS = 10
"""Questions of one call."""
OPEN = 10_000
NO_ANSWER: Mapping[str, Any] = {"error": {"code": INVALID_REQUEST, "message": "The client's answer is none."}}

Owner = tuple[str, str | None]
Reply = Callable[[Any, Mapping[str, Any]], Awaitable[None]]
"""Brings `result` or `error` to the server's own request of this id."""


@dataclass(slots=True)
class _Open:
    owner: Owner
    answered: Callable[[Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Resumed:
    """A call that goes on: what answers the question, and the request that waits now."""

    told: Mapping[str, Any]
    message: Message


@dataclass(slots=True)
class Paused:
    """A call whose caller was asked and has to call again: whose it is, of what, and who waits for that."""

    owner: Owner
    called: tuple[str, str | None, object]
    resumed: asyncio.Future[Resumed]
    call: Pausing


class Questions:
    """The questions of this process that wait for an answer, and the calls that are paused for one."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._paused: dict[str, Paused] = {}

    def pause(self, call: Paused) -> str:
        """What the caller names a paused call by when it calls again.

        Raises:
            Overloaded: too many wait.
        """
        if len(self._paused) >= OPEN:
            raise Overloaded("Too many questions wait for an answer: try again later.", retry_after=5.0)
        name = PAUSED + secrets.token_urlsafe(16)
        self._paused[name] = call
        return name

    def paused(self, owner: Owner, called: tuple[str, str | None, object], message: Message) -> Paused | None:
        """The call that this one goes on with; None: it is a call of its own.

        Raises:
            ProtocolError: that call is over, or was another one.
        """
        name = message.params.get("requestState")
        if not message.modern or not isinstance(name, str) or not name.startswith(PAUSED):
            return None
        found = self._paused.get(name)
        if found is None or (found.owner, found.called) != (owner, called) or found.resumed.done():
            raise invalid_params("This call is over: call the tool anew, without requestState.", message)
        self.forget(name)
        return found

    def put(self, owner: Owner, answered: Callable[[Mapping[str, Any]], Awaitable[None]]) -> str:
        """A question's id, which nobody can guess.

        Raises:
            Overloaded: too many wait.
        """
        if len(self._open) >= OPEN:
            raise Overloaded("Too many questions wait for an answer: try again later.", retry_after=5.0)
        name = PREFIX + secrets.token_urlsafe(16)
        self._open[name] = _Open(owner, answered)
        return name

    def forget(self, name: str) -> None:
        """Nobody waits for this answer any more."""
        self._open.pop(name, None)
        self._paused.pop(name, None)

    async def answer(self, owner: Owner, message: Message) -> bool:
        """Bring an answer to the server that waits for it. False where it is to none of these questions."""
        name = message.request_id
        if message.method or not isinstance(name, str) or not name.startswith(PREFIX):
            return False
        found = self._open.get(name)
        if found is not None and found.owner == owner:
            self.forget(name)
            told = {key: message.value[key] for key in ("result", "error") if isinstance(message.value.get(key), dict)}
            await found.answered(told if len(told) == 1 else NO_ANSWER)
        return True


class Conversation:
    """One call between two eras, and what is asked in it.

    Args:
        modern: what the server speaks.
        can_be_asked: the caller answers `elicitation/create`.
        extend: lets the call go on for this many seconds.
    """

    def __init__(
        self, questions: Questions, owner: Owner, message: Message, *, modern: bool, can_be_asked: bool,
        extend: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.wanted: Answer | None = None
        self.question: tuple[Answer, Reply] | None = None
        self._questions = questions
        self._owner = owner
        self._message = message
        self._modern = modern
        self._can_be_asked = can_be_asked
        self._extend = extend
        self._change = translation(message, upstream_modern=modern)
        self._mine: set[str] = set()
        self._refusals: set[asyncio.Task[None]] = set()
        self._rounds = 0

    @property
    def same(self) -> bool:
        """Nothing has to be looked into: the caller answers such a server by calling again."""
        return self._message.modern and self._modern

    def said(self, value: Answer, reply: Reply) -> Answer | None:
        """What the caller gets of something that the server says; None: nothing."""
        if "method" in value:
            return self._asked(value, reply) if "id" in value else self._told(value)
        value = {**value, "id": self._message.request_id}
        result = value.get("result")
        asks = isinstance(result, dict) and result.get("resultType") == "input_required"
        if asks and not self._message.modern and self._can_be_asked:
            self.wanted = result
            return None
        return self._change(value) if self._change else value

    async def ask_back(self, tell: Callable[[Answer], Awaitable[None]]) -> Message:
        """Put the questions that a server of 2026-07-28 ended its call with; the call that brings the answers.

        Raises:
            Unavailable: the server asks what is not passed on, or without an end.
            ProtocolError: the caller does not answer.
        """
        wanted, self.wanted = self.wanted or {}, None
        asked = wanted.get("inputRequests") or {}
        if not isinstance(asked, dict) or any(not _passed_on(each) for each in asked.values()):
            raise Unavailable("The server asks for something that the gateway does not pass on: only forms are.")
        self._count(len(asked) or 1)
        answers: dict[str, asyncio.Future[Mapping[str, Any]]] = {}
        for key, request in asked.items():
            answers[key] = asyncio.get_running_loop().create_future()
            name = self._put(_into(answers[key]))
            await tell({"jsonrpc": "2.0", "id": name, "method": QUESTION, "params": request.get("params") or {}})
        given = {key: await future for key, future in answers.items()}
        refused = next((each["error"] for each in given.values() if "error" in each), None)
        if refused is not None:
            raise ProtocolError(
                INVALID_REQUEST, "The question of the server was not answered.", self._message.request_id, status=200
            )
        params = {**self._message.params, "inputResponses": {key: each["result"] for key, each in given.items()}}
        if wanted.get("requestState") is not None:
            params["requestState"] = wanted["requestState"]
        value = {**self._message.value, "params": params}
        return Message(self._message.request_id, self._message.method, value, self._message.modern)

    def pause(self, call: Paused) -> Answer:
        """The result that asks the caller, and ends its request but not the server's call."""
        assert self.question is not None  # noqa: S101
        name = self._questions.pause(call)
        self._mine.add(name)
        asked = {KEY: {"method": QUESTION, "params": self.question[0].get("params") or {}}}
        result = {"resultType": "input_required", "inputRequests": asked, "requestState": name}
        return {"jsonrpc": "2.0", "id": self._message.request_id, "result": result}

    async def resume(self, with_: Resumed) -> None:
        """Bring the answer to the server; what it says from now on is for the new request."""
        assert self.question is not None  # noqa: S101
        (request, reply), self.question = self.question, None
        self._message = with_.message
        await reply(request["id"], with_.told)

    async def close(self) -> None:
        """Nothing of this call is waited for any more."""
        for name in self._mine:
            self._questions.forget(name)
        for task in self._refusals:
            task.cancel()
        await asyncio.gather(*self._refusals, return_exceptions=True)

    def _told(self, notification: Answer) -> Answer | None:
        """Progress, with the token of the request that waits now; nothing else is passed on."""
        params = notification.get("params")
        if notification["method"] != "notifications/progress" or not isinstance(params, dict):
            return None
        meta = self._message.params.get("_meta")
        token = meta.get("progressToken") if isinstance(meta, dict) else None
        return None if token is None else {**notification, "params": {**params, "progressToken": token}}

    def _asked(self, request: Answer, reply: Reply) -> Answer | None:
        """A request of a server of 2025-11-25."""
        if _passed_on(request) and self._can_be_asked:
            self._count(1)
            if self._message.modern:
                self.question = (request, reply)
                return None

            async def answered(told: Mapping[str, Any]) -> None:
                await reply(request["id"], told)

            return {**request, "id": self._put(answered)}
        text = f"This client answers no {str(request['method'])[:60]}."
        task = asyncio.create_task(_refuse(reply, request["id"], text))
        self._refusals.add(task)
        task.add_done_callback(self._refusals.discard)
        return None

    def _count(self, more: int) -> None:
        self._rounds += more
        if self._rounds > ROUNDS:
            raise Unavailable(f"The server asks more than {ROUNDS} questions in one call.")
        self._extend(ANSWER_S)

    def _put(self, answered: Callable[[Mapping[str, Any]], Awaitable[None]]) -> str:
        name = self._questions.put(self._owner, answered)
        self._mine.add(name)
        return name


def answer_in(message: Message) -> Mapping[str, Any]:
    """What a call that goes on says to the question (`result`), or that it says nothing."""
    given = message.params.get("inputResponses")
    told = given.get(KEY) if isinstance(given, dict) else None
    return {"result": told} if isinstance(told, dict) else NO_ANSWER


def _passed_on(request: object) -> bool:
    """A form. An address that a server wants opened is not: no server was told that it may ask for that, and the caller
    would see it as the platform's."""
    if not isinstance(request, dict) or request.get("method") != QUESTION:
        return False
    params = request.get("params")
    return not isinstance(params, dict) or params.get("mode", "form") == "form"


def _into(future: asyncio.Future[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
    async def answered(told: Mapping[str, Any]) -> None:
        if not future.done():
            future.set_result(told)

    return answered


async def _refuse(reply: Reply, request_id: Any, text: str) -> None:
    await reply(request_id, {"error": {"code": METHOD_NOT_FOUND, "message": text}})
