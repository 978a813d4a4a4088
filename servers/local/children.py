"""One server as a child process: started, watched, restarted when it dies, and stopped in good order."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from servers.local.logs import bound
from shared.errors import Unavailable

STOP_AFTER_S = 75.0  # a server drains for up to 20 s, and cradle ends an exchange of containers that has begun
LOOK_S = 5.0
RESTARTS = 5
RESTART_WINDOW_S = 60.0
HEALTHY = frozenset({"healthy", "ok", "ready"})
DEPENDENCY = "dependencies"


class Child:
    """`0711 serve NAME` in this process group. Its output goes to `log`; it dies with this process."""

    def __init__(self, name: str, env: dict[str, str], log: Path, notify: Callable[[str], None]) -> None:
        self.name = name
        self._env, self._log, self._notify = env, log, notify
        self._process: asyncio.subprocess.Process | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.failed = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def start(self) -> None:
        """Starts the process and its watcher."""
        await self._spawn()
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.name}")

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL if it does not end in time."""
        self._stop.set()
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), STOP_AFTER_S)
            except TimeoutError:
                self._process.kill()
        if self._watcher:
            await self._watcher

    def last_words(self) -> str:
        """The last line of its log, for an error message."""
        return last_words(self._log).removeprefix("0711: ")

    def gave_up(self) -> Unavailable:
        """What is said, once, of a server that has `failed`."""
        return Unavailable(f"{self.name} cannot run: {self.last_words()} Everything was stopped. Its log: {self._log}")

    async def _spawn(self) -> None:
        arm = _die_with(os.getpid())
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "servers", "serve", self.name,
                env=self._env, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=arm,
                process_group=0,  # Ctrl-C at the terminal is for `up` alone, which then lets each server drain
            )  # fmt: skip

    async def _watch(self) -> None:
        starts = [time.monotonic()]
        while self._process is not None:
            code = await self._ended(self._process)
            if self._stop.is_set():
                return
            starts = [each for each in starts if time.monotonic() - each < RESTART_WINDOW_S]
            if len(starts) >= RESTARTS or code == 2:  # 2: it cannot run as configured; trying again changes nothing
                self.failed.set()
                return
            self._notify(f"{self.name} ended (exit {code}); starting it again")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(8.0, 0.25 * 2 ** len(starts))):
                    await self._stop.wait()
            if self._stop.is_set():
                return
            starts.append(time.monotonic())
            try:
                await self._spawn()
            except OSError as error:  # no memory, no descriptor: it may go away, and counts as a start that failed
                self._notify(f"{self.name} could not be started: {error.strerror}")
            if self._stop.is_set() and self._process is not None:  # `stop` looked before this process was there
                self._process.terminate()

    async def _ended(self, process: asyncio.subprocess.Process) -> int:
        """Its exit code, once it has one; its log stays bounded until then."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    return await process.wait()
            await asyncio.to_thread(bound, self._log)


def last_words(log: Path) -> str:
    """The last line of a log; servers log no content."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:400] if lines else "nothing was logged"


def _die_with(parent: int) -> Callable[[], None]:
    """Linux only: the kernel sends SIGTERM when the parent is gone. Elsewhere the child stays until it is stopped."""

    def arm() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGTERM)
            if os.getppid() != parent:  # it went before the line above
                os._exit(0)

    return arm


async def healthy(url: str, child: Child, deadline_s: float) -> None:
    """Returns once `GET url` answers 200.

    Raises:
        Unavailable: it did not within the deadline, or the server gave up; says why.
    """
    import httpx2

    async with httpx2.AsyncClient(timeout=2.0, trust_env=False) as client:
        end, why = time.monotonic() + deadline_s, ""
        while time.monotonic() < end and not child.failed.is_set():
            try:
                answer = await client.get(url)
                if answer.status_code == 200:
                    return
                why = unwell(orjson.loads(answer.content))
            except (httpx2.HTTPError, ValueError, TypeError, AttributeError):  # away, or another program
                pass
            await asyncio.sleep(0.05)
    raise Unavailable(f"{child.name} did not become healthy: {why or child.last_words()}")


def unwell(told: dict[str, Any]) -> str:
    """The parts of a health answer that are not healthy, in which state they are, and why where they say so."""
    parts = {**told, **told.get(DEPENDENCY, {})}
    found = []
    for name, each in parts.items():
        state = each.get("status") if isinstance(each, dict) else each
        reason = each.get("reason") if isinstance(each, dict) else None
        if isinstance(state, str) and name not in {"status", "service", DEPENDENCY} and state not in HEALTHY:
            found.append(f"{name} {state}: {reason}" if reason else f"{name} {state}")
    return ", ".join(found)
