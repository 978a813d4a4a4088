"""Asking `query_worker` processes: each statement has a deadline at which its process is killed and replaced."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from typing import Any

import orjson

from shared.dataset.complaints import narrower, told
from shared.dataset.query_worker import OUT_OF_MEMORY
from shared.errors import DeadlineExceeded, InvalidInput, PlatformError, Unavailable

WORKERS = 2
START_S = 120.0
MAX_CHARS = 200_000
MAX_FRAME = 16 * 2**20
KEPT = ("LD_LIBRARY_PATH", "PYTHONHOME", "SSL_CERT_FILE")  # without them an image's Python and its TLS do not work


class QueryWorkers:
    """Up to two processes with the same configuration, started when first needed. One owner closes it."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._idle: list[asyncio.subprocess.Process] = []
        self._busy: set[asyncio.subprocess.Process] = set()
        self._free = asyncio.Semaphore(WORKERS)

    async def ask(self, query: str, limit: int, deadline: float, chars: int = MAX_CHARS) -> dict[str, Any]:
        """The worker's answer: at most `limit` rows and about `chars` characters, at most `deadline` seconds after the
        call; where a process has to start, after that.

        On a slow machine a start may take longer than a query: if it counted, no query would ever be answered.

        Raises:
            DeadlineExceeded: it took longer; its process was killed.
            InvalidInput: the engine refused the statement, or it needed more memory than one statement may have.
            Unavailable: the process ended otherwise; or the engine is a server, and it does not answer or holds other
                data.
        """
        try:
            async with asyncio.timeout(deadline) as within, self._free:
                process = self._taken()
                if process is None:
                    within.reschedule(None)
                    process = await self._start()
                    within.reschedule(asyncio.get_running_loop().time() + deadline)
                return await self._ask(process, query, limit, deadline, chars)
        except TimeoutError:
            raise DeadlineExceeded(
                f"The query was stopped after {deadline:g} seconds. {narrower(self._config['engine'])}"
            ) from None

    def _known(self) -> str:
        """What a statement may name: with it a wrong one is mended without another call."""
        if self._config["engine"] == "sql":
            return f"The tables are {', '.join(sorted(self._config['tables']))}."
        return "All nodes are (:Node {id, kind, name, number, document_id}), all relations [:Edge {kind, label}]."

    async def close(self) -> None:
        """Ends all processes."""
        for process in (*self._idle, *self._busy):
            await _end(process)
        self._idle.clear()

    def _taken(self) -> asyncio.subprocess.Process | None:
        """An idle process; one that has ended meanwhile is none."""
        while self._idle:
            if (process := self._idle.pop()).returncode is None:
                return process
        return None

    async def _ask(
        self, process: asyncio.subprocess.Process, query: str, limit: int, seconds: float, chars: int
    ) -> dict[str, Any]:
        self._busy.add(process)
        kept = False
        try:
            _send(process, {"query": query, "limit": limit, "chars": chars, "seconds": seconds})
            answer = await _receive(process)
            kept = True
        except (EOFError, ConnectionError, RuntimeError):  # uvloop: RuntimeError for a closed pipe
            raise _ended(await process.wait(), self._config["engine"]) from None
        finally:
            self._busy.discard(process)
            if kept:
                self._idle.append(process)
            else:
                await _end(process)
        if "unavailable" in answer:
            raise Unavailable(str(answer["unavailable"]))
        if "error" in answer:
            said = told(self._config["engine"], str(answer["error"]), query)
            raise InvalidInput(f"The query cannot be answered: {said}. {self._known()}", field="query")
        return answer

    async def _start(self) -> asyncio.subprocess.Process:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": os.pathsep.join(entry or str(os.getcwd()) for entry in sys.path),  # noqa: PTH109
            "PYTHONDONTWRITEBYTECODE": "1",
            **{name: os.environ[name] for name in KEPT if name in os.environ},
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "shared.dataset.query_worker",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=environment,
            limit=MAX_FRAME,
        )
        self._busy.add(process)
        try:
            async with asyncio.timeout(START_S):
                _send(process, self._config)
                await _receive(process)
        except (EOFError, ConnectionError, TimeoutError, RuntimeError):  # uvloop: RuntimeError for a closed pipe
            await _end(process)
            raise Unavailable("The query process of this dataset did not start. Look at the server's memory.") from None
        except BaseException:
            await _end(process)
            raise
        finally:
            self._busy.discard(process)
        return process


def _ended(code: int, engine: str) -> PlatformError:
    """What is said of a process that ended with this code while it had a query."""
    if code in (OUT_OF_MEMORY, -signal.SIGABRT):
        return InvalidInput(f"The query needs more memory than one query may have. {narrower(engine)}", field="query")
    return Unavailable(
        "The process of this query was ended before it answered, as on a machine that is short of memory. Try again, "
        "and if that fails too, narrow the query.",
        retry_after=1,
    )


def _send(process: asyncio.subprocess.Process, message: dict[str, Any]) -> None:
    data = orjson.dumps(message)
    assert process.stdin is not None  # noqa: S101 - a pipe, as asked for
    process.stdin.write(struct.pack(">I", len(data)) + data)


async def _receive(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101
    (size,) = struct.unpack(">I", await process.stdout.readexactly(4))
    return orjson.loads(await process.stdout.readexactly(size))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.wait()
