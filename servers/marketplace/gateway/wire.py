"""One connection to an upstream: HTTP/1.1 (RFC 9112), one exchange at a time, on the parser that uvicorn reads with.

What comes is bounded: the head and everything else that is no body by `UNFRAMED` bytes, the body that nobody has taken
yet by `AHEAD` and one read. A connection is used again only after an answer that had an end of its own, with nothing
after it.
"""

from __future__ import annotations

import asyncio
import socket
from typing import cast

import httptools

from shared.version import VERSION

UNFRAMED = 65_536
"""Bytes of an answer's head, between two pieces of its body (chunks' sizes), or after it (trailers)."""
AHEAD = 262_144
"""Bytes of a body that are read before they are taken; then the upstream waits."""
PIECE = 64
"""Bytes that a piece of a body takes beside its own: an upstream may send a body in chunks of one byte."""
SMALL = 65_536
"""Bytes of a request's body that are sent with its head; a larger one is not copied."""
AGENT = f"0711-platform/{VERSION}"

Headers = list[tuple[str, str]]


class Lost(ConnectionError):
    """The connection ended before the answer did, or what came is no answer of HTTP."""


class Answer:
    """An answer on its way. Iterated, it gives the pieces of its body as they come.

    Attributes:
        status: 0 until the head is there.
        headers: names in lower case.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._held = self._unframed = 0
        self._paused = self._keeps = self._done = self._more = False
        self._error: str | None = None  # no exception: that holds the frame that it is raised in, which holds this
        self._waiting: asyncio.Future[None] | None = None

    @property
    def reusable(self) -> bool:
        """Whether the connection may carry another exchange."""
        return self._done and self._keeps and not (self._paused or self._more)

    def header(self, name: bytes) -> str | None:
        """The first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key == name:
                return value.decode("latin-1")
        return None

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters."""
        return (self.header(b"content-type") or "").partition(";")[0].strip().lower()

    async def begun(self) -> None:
        """Wait for the head.

        Raises:
            Lost: there will be none.
        """
        while not self.status:
            await self._wait()

    def __aiter__(self) -> Answer:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._done:
                raise StopAsyncIteration
            await self._wait()
        piece = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces, self._held = [], 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return piece

    async def _wait(self) -> None:
        if self._error is not None:
            raise Lost(self._error)
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        if self._done or self._error is not None:
            self._more = True
            return
        self._unframed += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("What the server answers is no HTTP.")
        if self._unframed > UNFRAMED:
            self._fail("The head of the server's answer is too large.")
        if self._held > AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        if self._done or self._error is not None:
            del self._parser  # which holds this answer: together they would be garbage for the collector of cycles

    def end(self, *, whole: bool) -> None:
        """The connection has ended, `whole`: as the upstream wanted it, which ends a body that names no other end."""
        if not self._done and self._error is None:
            del self._parser  # as in `feed`
        names = {name for name, _ in self.headers}
        if whole and self.status and self._error is None and not names & {b"content-length", b"transfer-encoding"}:
            self._done = True
            self._wake()
        self._fail("The server has closed the connection.")

    def _fail(self, why: str) -> None:
        self._more = True
        if not self._done and self._error is None:
            self._error = why
            self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    # what the parser calls

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._more = self._done

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; after the head they are trailers, which nobody needs."""
        if not self.status:
            self.headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """The head is there, unless it is an interim one (1xx)."""
        status = self._parser.get_status_code()
        if status < 200:
            self.headers = [] if not self.status else self.headers
        elif not self.status:
            self.status, self._keeps, self._unframed = status, self._parser.should_keep_alive(), 0
            self._wake()

    def on_body(self, data: bytes) -> None:
        """A piece of the body."""
        if self.status and not self._done:
            self._unframed = 0
            self._held += len(data) + PIECE
            self._pieces.append(data)
            self._wake()

    def on_message_complete(self) -> None:
        """The answer ends, unless it was an interim one."""
        if self.status:
            self._done = True
            self._wake()


class Connection(asyncio.Protocol):
    """A connection. `kept_since`: when its last exchange ended, in seconds of the loop's clock."""

    def __init__(self) -> None:
        self.closed = False
        self.kept_since = 0.0
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._unseen = False

    async def ask(self, head: bytes, body: bytes) -> Answer:
        """Send a request; its answer, once the head is there.

        Raises:
            Lost: there is none.
        """
        answer = self._answer = Answer(self._transport)
        if len(body) <= SMALL:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._transport.write(body)
            self._unseen = self._transport.get_extra_info("ssl_object") is not None
        await answer.begun()
        return answer

    def keep(self, now: float) -> bool:
        """Whether it may be used again, as the exchange is over; else it is closed.

        An answer may come before its request has been sent: what is left of that would be in the way of the next one,
        or be read as one. How much is left behind TLS is not to be seen, so after a large request none is kept there.
        """
        sent = not (self._unseen or self._transport.get_write_buffer_size())
        if self._answer is None or not self._answer.reusable or self.closed or not sent:
            self.close()
            return False
        self._answer, self.kept_since = None, now
        return True

    def close(self) -> None:
        """Close it at once: the upstream sees that nobody waits any more."""
        self.closed = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is open."""
        self._transport = cast("asyncio.Transport", transport)
        port = transport.get_extra_info("socket")
        if port is not None and port.family != socket.AF_UNIX:
            port.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data: bytes) -> None:
        """Something came; what nobody asked for ends the connection."""
        if self._answer is None:
            self.close()
        else:
            self._answer.feed(data)

    def eof_received(self) -> None:
        """The upstream closes it: with TLS it takes a while to end, and nothing may be sent meanwhile."""
        self.closed = True

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self.closed = True
        if self._answer is not None:
            self._answer.end(whole=exc is None)


def head_of(method: str, target: str, host: str, headers: Headers, length: int) -> bytes:
    """The head of a request whose body has so many bytes.

    Raises:
        ValueError: a header has a line break in it.
    """
    lines = [f"{method} {target} HTTP/1.1", f"host: {host}", f"user-agent: {AGENT}"]
    lines += [f"{name}: {value}" for name, value in headers]
    if length or method == "POST":
        lines.append(f"content-length: {length}")
    head = "\r\n".join(lines)
    if head.count("\n") != len(lines) - 1 or head.count("\r") != len(lines) - 1 or "\0" in head:
        raise ValueError("A header has a line break in it.")
    return head.encode() + b"\r\n\r\n"
