"""One exchange with an upstream: the request goes as it is, the answer comes as it comes.

A relay, not a re-implementation. What changes is the token (the caller's never travels upstream), the session id
(sealed for this caller) and an error of the way (one JSON-RPC error).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
from starlette.types import Message as Event
from starlette.types import Receive, Send

from servers.marketplace.gateway.asking import DEADLINE_S, SESSION
from servers.marketplace.gateway.breaker import Breakers
from servers.marketplace.gateway.client import CONNECTIONS_PER_HOST
from servers.marketplace.gateway.eras import Answer, Translate, modern_request, translated_body, translated_event
from servers.marketplace.gateway.events import Events
from servers.marketplace.gateway.exchange import Arriving, CallName, Exchange, Headers
from servers.marketplace.gateway.message import Message, ProtocolError, error_body, error_event, event_of
from servers.marketplace.gateway.outgoing import Outgoing, unreachable
from servers.marketplace.gateway.pausing import Pausing
from servers.marketplace.gateway.questions import Conversation, Paused, Questions, Reply, Resumed, answer_in
from servers.marketplace.gateway.route import Route
from servers.marketplace.gateway.running import child_answer
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.gateway.shares import Shares
from servers.marketplace.gateway.watching import Watches
from servers.marketplace.metering.units import computed_units
from servers.marketplace.runners.pool import Runners
from shared.auth import Principal
from shared.errors import DeadlineExceeded, Internal, PlatformError, StorageFull, Unavailable
from shared.metering.meter import Meter
from shared.metering.units import Units
from shared.serving.calls import REQUEST_CANCELLED
from shared.serving.failures import platform_error

DOWN = frozenset({b"content-type", b"content-encoding", b"cache-control", b"retry-after", b"allow"})
PLAIN = "identity"
"""Content coding of what is looked into: a message in another one would pass unseen."""
SESSION_NAME = SESSION.encode()
REFUSALS = frozenset({401, 403, 407})
OWN_FAULTS = frozenset({Internal.code, Unavailable.code, DeadlineExceeded.code})


class _Waiting:
    """The caller of the present task's call. It ends the call by hanging up or by name: the task is cancelled, and with
    it the upstream's connection closes, which is how a call is cancelled there."""

    def __init__(self) -> None:
        self.gone = False
        self._ended = False
        self._task = asyncio.current_task()

    def hang_up(self) -> None:
        self.gone = True
        self.cancel()

    def cancel(self) -> None:
        self._ended = True
        if self._task is not None:
            self._task.cancel()

    def ended_it(self) -> bool:
        """Whether the task was cancelled by the caller; then it goes on."""
        if self._ended and self._task is not None:
            self._task.uncancel()
        return self._ended


class Relay:
    """Sends exchanges to upstreams."""

    def __init__(
        self, outgoing: Outgoing, seal: SessionSeal, limit: int, meter: Meter, cradle: str, runners: Runners
    ) -> None:
        self._outgoing = outgoing
        self._seal = seal
        self._limit = limit
        self._meter = meter
        self._cradle = cradle
        self._breakers = Breakers()
        self._shares = Shares(CONNECTIONS_PER_HOST // 2)
        self._runners = runners
        self._watches = Watches()
        self.questions = Questions()
        self._calls: set[asyncio.Future[str]] = set()
        self._named: dict[CallName, Callable[[], None]] = {}

    async def close(self) -> None:
        """End the calls that are paused."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    async def hear(self, caller: Principal, session: str | None, message: Message) -> bool:
        """Take what a caller says of calls on their way: an answer to a question of a server (True, whether or not
        anybody waits for it), or that one of its own calls is cancelled."""
        owner = (caller.subject, caller.customer)
        if await self.questions.answer(owner, message):
            return True
        called = message.params.get("requestId")
        if message.method == "notifications/cancelled" and session is not None and isinstance(called, str | int):
            self._named.get((owner, session, called), lambda: None)()
        return False

    async def run(self, exchange: Exchange, receive: Receive, send: Send) -> str:
        """Relay until the answer ends or the caller is gone; the outcome's code.

        Raises:
            PlatformError: nothing has been answered yet.
        """
        paused = self.questions.paused(exchange.owner[:2], _called(exchange), exchange.message)
        if paused is not None:
            paused.call.go_on(send)
            paused.resumed.set_result(Resumed(answer_in(exchange.message), exchange.message))
            return await paused.call.served(receive)
        if exchange.may_pause:
            call = exchange.call = Pausing(send, lambda sending: self._answered(exchange, sending))
            self._calls.add(call.task)
            call.task.add_done_callback(self._calls.discard)
            return await call.served(receive)
        return await self._while_wanted(exchange, receive, send)

    async def _while_wanted(self, exchange: Exchange, receive: Receive, send: Send) -> str:
        """Relay until the answer ends, the caller is gone, or it cancels the call by its name."""
        caller, name = _Waiting(), exchange.name
        watch = self._watches.begin(receive, caller.hang_up)
        if name is not None:
            self._named[name] = caller.cancel
        try:
            return await self._answered(exchange, send)
        except asyncio.CancelledError:
            if not caller.ended_it():
                raise
            if not caller.gone:
                await self._cancelled(exchange, send)
            return "cancelled"
        finally:
            self._watches.end(watch)
            if name is not None:
                self._named.pop(name, None)

    async def _cancelled(self, exchange: Exchange, send: Send) -> None:
        """End the answer of a call that its caller has cancelled by name."""
        error = ProtocolError(REQUEST_CANCELLED, "Request cancelled", status=200)
        if not exchange.started:
            head = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send(part(error_body(error, exchange.message.request_id)))
        else:
            await send(part(error_event(error, exchange.message.request_id)))

    async def _answered(self, exchange: Exchange, send: Send) -> str:
        try:
            await self._forward(exchange, send)
        except Exception as cause:  # noqa: BLE001  # translated and logged; the caller gets one clear error
            error = cause if isinstance(cause, ProtocolError) else platform_error(cause, route="gateway")
            self._note(exchange, error)
            if not exchange.started:
                raise error from None
            await send(part(error_event(error, exchange.message.request_id)))
            return error.code if isinstance(error, PlatformError) else "refused"
        finally:
            if exchange.talk is not None:
                await exchange.talk.close()
        return "ok"

    async def _forward(self, exchange: Exchange, send: Send) -> None:
        route = exchange.route
        if route.package is None:  # a child's failures are counted where it is started
            self._breakers.admit(_circuit(route))
        try:
            async with asyncio.timeout_at(_loop_time() + exchange.until - time.monotonic()) as deadline:
                renewed = await self._once(exchange, deadline, send)
                if renewed is not None:
                    exchange.headers, exchange.renew = renewed, None
                    await self._once(exchange, deadline, send)
                while exchange.talk is not None and exchange.talk.wanted is not None:
                    await self._ask_back(exchange, exchange.talk, send)
                    await self._once(exchange, deadline, send)
        except TimeoutError:
            raise self._failed(route, DeadlineExceeded("The server did not finish in time.")) from None
        except (OSError, ValueError) as error:
            raise self._failed(route, unreachable(error)) from None

    def _failed(self, route: Route, why: PlatformError) -> PlatformError:
        if route.package is None:
            self._breakers.failed(_circuit(route), why)
        return why

    async def _ask_back(self, exchange: Exchange, talk: Conversation, send: Send) -> None:
        """Ask the caller what the upstream wants to know, and make the next call of it."""

        async def tell(question: Answer) -> None:
            if not exchange.started:
                exchange.started = True
                head = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
                await send({"type": "http.response.start", "status": 200, "headers": head})
            await send(part(event_of(orjson.dumps(question)), more=True))

        exchange.message = await talk.ask_back(tell)
        if exchange.route.package is None:
            exchange.body = modern_request(exchange.message, exchange.tool, asks=True)[0]

    async def _once(self, exchange: Exchange, deadline: asyncio.Timeout, send: Send) -> Headers | None:
        """One request. Headers to try again with, where the upstream has forgotten the session."""
        route = exchange.route
        if route.package is not None:
            async with child_answer(self._runners, exchange) as answer:
                return await self._arrived(exchange, answer, deadline, send)
        client = self._outgoing.client(route.url, operated=route.operated)
        with self._shares.held(*_circuit(route)):
            async with client.request(exchange.method, route.url, exchange.headers, exchange.body) as response:
                if exchange.talks and (response.header(b"content-encoding") or PLAIN).lower() != PLAIN:
                    raise Unavailable("The server answers in another encoding than it was asked for.")
                streams, session = response.content_type == "text/event-stream", response.header(SESSION_NAME)
                modern = route.era == "modern"
                reply = self._reply_to(exchange)
                answer = Arriving(response.status, streams, response.headers, session, response, modern, reply)
                return await self._arrived(exchange, answer, deadline, send)

    async def _arrived(
        self, exchange: Exchange, response: Arriving, deadline: asyncio.Timeout, send: Send
    ) -> Headers | None:
        if response.status == 404 and exchange.renew is not None:
            return await exchange.renew()
        self._check(exchange.route, response.status)
        if exchange.talks and exchange.talk is None:
            exchange.talk = Conversation(
                self.questions, exchange.owner[:2], exchange.message, modern=response.modern,
                can_be_asked=exchange.can_be_asked, extend=_extending(deadline),
            )  # fmt: skip
        answer = self._answer_in_events if response.streams else self._answer_at_once
        await answer(exchange, response, send)
        return None

    def _reply_to(self, exchange: Exchange) -> Reply:
        """Answers go to the upstream as the call went: to its address, with its headers."""

        async def reply(question: Any, told: Mapping[str, Any]) -> None:
            route, body = exchange.route, orjson.dumps({"jsonrpc": "2.0", "id": question, **told})
            client = self._outgoing.client(route.url, operated=route.operated)
            try:
                async with (
                    asyncio.timeout(DEADLINE_S),
                    client.request("POST", route.url, exchange.headers, body) as response,
                ):
                    self._check(route, response.status)
            except (OSError, ValueError) as error:
                raise unreachable(error) from None

        return reply

    def _check(self, route: Route, status: int) -> None:
        if route.package is not None:
            return
        answers = Unavailable(f"The server answers with HTTP status {status}: try again later.")
        if status >= 500:
            raise self._failed(route, answers)
        self._breakers.succeeded(_circuit(route))
        if status in REFUSALS:
            raise Unavailable("The server refuses the platform's token: its operator has to look into it.")
        if 300 <= status < 400:
            raise answers

    async def _answer_in_events(self, exchange: Exchange, response: Arriving, send: Send) -> None:
        self._served(exchange, response, Units(calls=1))
        await self._begin(exchange, response, send)
        async for events in self._events(response):
            self._served(exchange, response, Units(bytes=len(events)), events)
            await send(part(_as_wanted(events, _translate(exchange, response)), more=True))
            if exchange.talk is not None and exchange.talk.question is not None:
                await self._pause(exchange, exchange.talk, response, send)
        if exchange.talk is None or exchange.talk.wanted is None:
            await send(part(b""))

    async def _answer_at_once(self, exchange: Exchange, response: Arriving, send: Send) -> None:
        body = await self._whole(response)
        self._served(exchange, response, Units(calls=1, bytes=len(body)), body)
        translate = _translate(exchange, response)
        body = translated_body(body, translate) if translate else body
        if exchange.talk is not None and exchange.talk.wanted is not None:
            return
        if exchange.started:  # a question has begun the stream
            await send(part(event_of(body)))
            return
        head = self._head(exchange, response)
        head["headers"].append((b"content-length", str(len(body)).encode()))  # else it is sent in chunks
        await send(head)
        await send(part(body))

    async def _pause(self, exchange: Exchange, talk: Conversation, response: Arriving, send: Send) -> None:
        """End the caller's request with a question, and go on when it calls again with the answer."""
        assert exchange.call is not None  # noqa: S101 - only such a call is asked so
        resumed = asyncio.get_running_loop().create_future()
        asked = talk.pause(Paused(exchange.owner[:2], _called(exchange), resumed, exchange.call))
        await send(part(event_of(orjson.dumps(asked)), more=True))
        await send(part(b""))
        exchange.started = False
        exchange.call.pause()
        told: Resumed = await resumed
        exchange.message = told.message
        await self._begin(exchange, response, send)
        await talk.resume(told)

    async def _begin(self, exchange: Exchange, response: Arriving, send: Send) -> None:
        if not exchange.started:
            exchange.started = True
            await send(self._head(exchange, response))

    def _served(self, exchange: Exchange, response: Arriving, units: Units, body: bytes = b"") -> None:
        """Meter a tool's answer before it leaves."""
        route = exchange.route
        if exchange.tool is not None and response.status == 200:
            if body and route.url == self._cradle:
                units += computed_units(body)
            self._meter.served(exchange.owner[1], route.server_name, exchange.tool, units)

    def _note(self, exchange: Exchange, error: PlatformError | ProtocolError) -> None:
        """Count a call that failed by the server's fault, which is what the alert of it counts too."""
        if exchange.tool is not None and error.code in OWN_FAULTS:
            with suppress(StorageFull):  # the caller has the error that matters
                self._meter.served(exchange.owner[1], exchange.route.server_name, exchange.tool, Units(failures=1))

    def _head(self, exchange: Exchange, response: Arriving) -> Event:
        headers = [
            (name, value)
            for name, value in response.headers
            if name in DOWN or (name.startswith(b"mcp-") and name != SESSION_NAME)
        ]
        session = response.session
        if session and exchange.renew is None and not exchange.talks:
            headers.append((SESSION_NAME, self._seal.seal(session, *exchange.owner).encode()))
        return {"type": "http.response.start", "status": response.status, "headers": headers}

    async def _whole(self, response: Arriving) -> bytes:
        parts, size = [], 0
        async for chunk in response.chunks:
            size += len(chunk)
            if size > self._limit:
                raise self._too_large()
            parts.append(chunk)
        return b"".join(parts)

    async def _events(self, response: Arriving) -> AsyncIterator[bytes]:
        """Events as they come. Only whole ones are passed, so that an error can still follow them."""
        passed, events = 0, Events()
        async for chunk in response.chunks:
            passed += len(chunk)
            if passed > self._limit:
                raise self._too_large()
            if whole := events.add(chunk):
                yield whole
        if rest := events.rest:
            yield rest

    def _too_large(self) -> PlatformError:
        return Unavailable(f"The server's answer is over {self._limit} bytes.")


def part(body: bytes, *, more: bool = False) -> Event:
    """A piece of an answer's body."""
    return {"type": "http.response.body", "body": body, "more_body": more}


def _translate(exchange: Exchange, response: Arriving) -> Translate | None:
    """What becomes of each message of the upstream; None: it passes as it is."""
    talk = exchange.talk
    if talk is None or talk.same:
        return None
    return lambda value: talk.said(value, response.reply)


def _circuit(route: Route) -> tuple[str, str | None]:
    """Whose trouble with which server it is: neither failures nor open calls of one customer are another's."""
    return route.url, route.grant.customer


def _called(exchange: Exchange) -> tuple[str, str | None, object]:
    """What a call is of: server, tool and arguments."""
    return exchange.route.server_name, exchange.tool, exchange.message.params.get("arguments")


def _extending(deadline: asyncio.Timeout) -> Callable[[float], None]:
    """Lets a call go on longer, never shorter."""

    def extend(seconds: float) -> None:
        deadline.reschedule(max(deadline.when() or 0.0, _loop_time() + seconds))

    return extend


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


def _as_wanted(events: bytes, translate: Translate | None) -> bytes:
    if translate is None:
        return events
    each = events.replace(b"\r\n", b"\n").split(b"\n\n")
    return b"".join(translated_event(event + b"\n\n", translate) for event in each if event)
