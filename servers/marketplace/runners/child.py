"""A server over stdio: MCP on the pipes of one process, for many calls at once, in the era that it speaks.

Each request gets an id and a progress token of this process's own, so that callers cannot meet. What a server says that
belongs to no call is dropped, and one that says too much of it is ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from mcp_types.jsonrpc import METHOD_NOT_FOUND

from servers.marketplace.catalogue.definitions import MAX_TOOLS, Definition, Era, read_definitions
from servers.marketplace.gateway.eras import ASKED, CLIENT, LEGACY, MODERN, envelope
from servers.marketplace.runners.command import Command
from servers.marketplace.runners.process import GuardedProcess
from shared.errors import Overloaded, PlatformError, Unavailable

STRAY = 2**20
"""Bytes that a server may say between two answers without belonging to a call."""
WAITING = 64
"""Messages that wait for one caller; further progress is left out."""
UNREAD = 64 * 2**20
"""Bytes that wait until a server reads them."""
MAX_PAGES = 50
STILL_THERE_S = 5.0

Value = dict[str, Any]


class Call:
    """A request on its way: what the server says of it, the answer last."""

    def __init__(self, child: Child, request: Value) -> None:
        self.answered = False
        self._child = child
        self._id = request.get("id")
        self._token = _token(request)
        self._said: asyncio.Queue[Value | PlatformError] = asyncio.Queue()

    async def messages(self) -> AsyncIterator[Value]:
        """Progress and questions as they come, and the answer, with the caller's own id and progress token.

        Raises:
            Unavailable: the server has ended, or its answer is none.
        """
        while True:
            said = await self._said.get()
            if isinstance(said, PlatformError):
                raise said
            yield said
            if self.answered and self._said.empty():
                return

    async def answer(self, question: Any, reply: Mapping[str, Any]) -> None:
        """Pass on the answer (`result` or `error`) to a question of the server."""
        await self._child.send({"jsonrpc": "2.0", "id": question, **reply})

    def tell(self, value: Value) -> bool:
        """Something of the server's for this call. False where it is left out, because too much waits."""
        params = value.get("params")
        if value.get("method") == "notifications/progress" and isinstance(params, dict):
            if self._token is None or self._said.qsize() >= WAITING:
                return False
            value = {**value, "params": {**params, "progressToken": self._token}}
        self._said.put_nowait(value)
        return True

    def finish(self, value: Value) -> None:
        """The server's answer."""
        self.answered = True
        good = isinstance(value.get("result"), dict) != isinstance(value.get("error"), dict)
        self._said.put_nowait({**value, "id": self._id} if good else Unavailable("The server's answer is none."))

    def fail(self, error: PlatformError) -> None:
        """There will be no answer."""
        self.answered = True
        self._said.put_nowait(error)


class Child:
    """A running server.

    Args:
        asks: its questions are passed on. They do not say which call they belong to, so such a child has one call at a
            time, of one caller.
    """

    def __init__(self, process: GuardedProcess, *, asks: bool = False) -> None:
        self.asks = asks
        self.era: Era = "modern"
        self.definitions: tuple[Definition, ...] = ()
        self.turn = asyncio.Lock()
        self.used = time.monotonic()
        self._process = process
        self._calls: dict[int, Call] = {}
        self._ids = itertools.count(1)
        self._stray = 0
        self._ended: PlatformError | None = None
        self._reading = asyncio.create_task(self._read(), name="runner")
        self._looking: asyncio.Task[None] | None = None
        self._greeted = False

    @classmethod
    async def start(cls, command: Command, uid: int, start_s: float, *, asks: bool = False) -> Child:
        """Start a server and learn what it speaks and which tools it has.

        Raises:
            Unavailable: it cannot be started, does not answer in time, or its tools cannot be used.
        """
        child = cls(await GuardedProcess.start(command, uid), asks=asks)
        try:
            async with asyncio.timeout(start_s):
                await child._greet(start_s / 2)
        except BaseException as error:
            await child.stop()
            if isinstance(error, TimeoutError):
                raise Unavailable("The server did not answer within P0711_RUNNER_START_S.") from None
            raise
        return child

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return self._ended is None

    async def stop(self) -> None:
        """End it and everything that it has started; its calls fail."""
        self._process.end()
        await asyncio.shield(self._reading)
        if self._looking is not None:
            await asyncio.gather(self._looking, return_exceptions=True)

    @asynccontextmanager
    async def call(self, request: Value) -> AsyncIterator[Call]:
        """Ask; left before the answer, the call is cancelled at the server.

        Raises:
            Unavailable: it has ended.
            Overloaded: it does not read what it is sent.
        """
        if self._ended is not None:
            raise self._ended
        number, call = next(self._ids), Call(self, request)
        self._calls[number] = call
        try:
            await self.send(_numbered(request, number))
            yield call
        finally:
            self._calls.pop(number, None)
            self.used = time.monotonic()
            if not call.answered and self._ended is None and self._greeted:
                self._give_up(number)

    async def send(self, value: Value) -> None:
        """One message to the server."""
        self._put(value)
        with contextlib.suppress(OSError, RuntimeError):  # the reader sees its end, and says why
            await self._process.stdin.drain()

    def _put(self, value: Value) -> None:
        stdin = self._process.stdin
        if stdin.transport.get_write_buffer_size() > UNREAD:
            raise Overloaded("The server does not read what it is sent: try again later.", retry_after=1.0)
        with contextlib.suppress(OSError, RuntimeError):
            stdin.write(orjson.dumps(value) + b"\n")

    async def ask(self, method: str, params: Value) -> Value:
        """The answer to a request of the gateway itself, an error too."""
        meta = {} if self.era == "legacy" else {"_meta": envelope()}
        async with self.call({"jsonrpc": "2.0", "id": 0, "method": method, "params": {**params, **meta}}) as call:
            async for value in call.messages():
                if "method" not in value:
                    return value
        raise Unavailable("The server's answer is none.")

    async def _greet(self, patience_s: float) -> None:
        found: Value = {}
        with contextlib.suppress(TimeoutError):  # a server of the older era may say nothing to what it does not know
            async with asyncio.timeout(patience_s):
                found = await self.ask("server/discover", {})
        versions = (found.get("result") or {}).get("supportedVersions")
        if not isinstance(versions, list) or MODERN not in versions:
            self.era = "legacy"
            told = ASKED if self.asks else {}
            greeting = {"protocolVersion": LEGACY, "capabilities": told, "clientInfo": CLIENT}
            if "result" not in await self.ask("initialize", greeting):
                raise Unavailable("The server speaks no version of MCP that the gateway knows.")
            await self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.definitions = await self._tools()
        self._greeted = True

    async def _tools(self) -> tuple[Definition, ...]:
        tools: list[Any] = []
        params: Value = {}
        for _ in range(MAX_PAGES):
            result = (await self.ask("tools/list", params)).get("result")
            if not isinstance(result, dict) or not isinstance(result.get("tools"), list):
                raise Unavailable("The server does not list its tools: its operator has to look into it.")
            tools += result["tools"]
            params = {"cursor": result.get("nextCursor")}
            if not params["cursor"] or len(tools) > MAX_TOOLS:
                return read_definitions(tools)
        raise Unavailable("The server's list of tools does not end.")

    async def _read(self) -> None:
        error: PlatformError | None = None
        try:
            while line := await self._process.stdout.readline():
                self._take(line)
        except (ValueError, OSError, PlatformError):  # a line without an end, too much of what nobody asked for
            error = Unavailable("The server said more than it may and was ended.")
        finally:
            self._process.end()
            self._ended = Unavailable("The server was ended: try again later.")
            why = await self._process.gone()
            self._ended = error or Unavailable(why)
            for call in self._calls.values():
                if not call.answered:
                    call.fail(self._ended)

    def _take(self, line: bytes) -> None:
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            value = None
        call = self._calls.get(_number(value)) if isinstance(value, dict) else None
        if isinstance(value, dict) and "method" not in value and call is not None and not call.answered:
            self._stray = 0
            call.finish(value)
            return
        told = call is not None and isinstance(value, dict) and "method" in value and call.tell(value)
        if not told:
            self._stray += len(line)
            if self._stray > STRAY:
                raise Unavailable("too much")
        if isinstance(value, dict) and "method" in value and "id" in value:
            self._asked(value)

    def _asked(self, request: Value) -> None:
        """A request of the server's own. It has to read the answers: what waits is bounded."""
        asking = [call for call in self._calls.values() if not call.answered]
        if request["method"] == "ping":
            self._put({"jsonrpc": "2.0", "id": request["id"], "result": {}})
        elif request["method"] == "elicitation/create" and self.asks and len(asking) == 1:
            asking[0].tell(request)
        else:
            told = f"This client answers no {str(request['method'])[:60]}."
            error = {"code": METHOD_NOT_FOUND, "message": told}
            self._put({"jsonrpc": "2.0", "id": request["id"], "error": error})

    def _give_up(self, number: int) -> None:
        """Tell the server that nobody waits, and look whether it is there at all."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look(number), name="runner: still there")
        else:
            with contextlib.suppress(Overloaded):
                self._put(_cancelled(number))

    async def _look(self, number: int) -> None:
        try:
            async with asyncio.timeout(STILL_THERE_S):
                await self.send(_cancelled(number))
                await self.ask("ping" if self.era == "legacy" else "server/discover", {})
        except (TimeoutError, PlatformError):
            self._process.end()


def _cancelled(number: int) -> Value:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}}


def _token(request: Value) -> Any:
    meta = (request.get("params") or {}).get("_meta")
    return meta.get("progressToken") if isinstance(meta, dict) else None


def _numbered(request: Value, number: int) -> Value:
    """The request with an id and a progress token that no other call of this server has."""
    if _token(request) is None:
        return {**request, "id": number}
    params = request["params"]
    return {**request, "id": number, "params": {**params, "_meta": {**params["_meta"], "progressToken": number}}}


def _number(value: Value) -> int:
    """The number of the call that a message belongs to; -1: of none."""
    params = value.get("params")
    if value.get("method") == "notifications/progress" and isinstance(params, dict):
        told = params.get("progressToken")
    else:
        told = None if "method" in value else value.get("id")
    return told if type(told) is int else -1
