"""The process that starts the workers, watches them, and starts one again that died or that hung and was killed.

It loads the program once and forks: workers share the memory of what is loaded, and one that died is back within
moments. So it has no threads, no loop and no connections, ever. It binds the port and does not serve: connections wait
in one queue, from which whichever worker is free takes the next, and none is lost with a worker that dies.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from servers.marketplace.workers.line import FAILED, REACHED, Line
from servers.marketplace.workers.peers import private
from servers.marketplace.workers.watchdog import BEAT_S, Watchdog, beating
from servers.marketplace.workers.worker import ENDED, HUNG, Worker
from shared.dumps import forbid_dumps
from shared.errors import PlatformError, Unavailable
from shared.serving import Server, run_loop, serve
from shared.serving.ports import BACKLOG, bind
from shared.settings import Settings
from shared.telemetry import configure, event

DEATHS = 5
WINDOW_S = 60.0
LONGEST_WAIT_S = 4.0
END_S = 30.0
"""For workers that were told to end, which drain for up to 20 s; then they are killed."""
TOLD = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class _Place:
    """One worker's place. `again`: when it is forked, where it does not run."""

    number: int
    private: socket.socket
    pid: int | None = None
    end: socket.socket | None = None
    reached: int = 0
    gone_on: int = 0
    again: float = 0.0
    why: str = ""
    hung: bool = False
    deaths: list[float] = field(default_factory=list)


class Supervisor:
    """Runs workers.

    Args:
        count: how many.
        silence_s: how long a worker's loop may not turn, before it is killed.
    """

    def __init__(self, count: int, silence_s: float) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="0711-workers-"))  # 0700: nobody else reaches the sockets in it
        lines = [self._folder / str(number) for number in range(count)]
        self.worker = Worker(count, lines)
        self._watchdog = Watchdog(self.worker, silence_s, time.monotonic())
        self._places = [_Place(number, _listening(path)) for number, path in enumerate(lines)]
        self._stopping = False
        self._until = float("inf")
        self._failure = ""

    @property
    def private(self) -> socket.socket:
        """Where this worker takes requests of the others."""
        return self._places[self.worker.number].private

    def run(self) -> Line | None:
        """Returns in every worker that is forked, with its line; in the supervisor None, once all have ended.

        Raises:
            Unavailable: a worker cannot run, or dies again and again.
        """
        gc.freeze()  # what is loaded stays, and a walk through it would copy what is shared
        told = _signals()
        while not self._stopping or any(place.pid for place in self._places):
            for place in self._places:
                if place.pid is None and not self._stopping and time.monotonic() >= place.again:
                    line = self._fork(place, told)
                    if line is not None:
                        return line
            ends = {place.end: place for place in self._places if place.end is not None}
            ready, _, _ = select.select([told, *ends], [], [], self._patience())
            for end in ready:
                if end is not told:
                    self._hear(ends[end])
            if told in ready and told.recv(64):
                self._stop()
            self._go_on()
            self._watch()
            if time.monotonic() > self._until:
                self._signal(signal.SIGKILL)
        self.tidy()
        if self._failure:
            raise Unavailable(self._failure)
        event("stopped")
        return None

    def tidy(self) -> None:
        """Remove the folder of the workers' sockets."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _fork(self, place: _Place, told: socket.socket) -> Line | None:
        """The line in the worker, None in the supervisor. A signal meanwhile waits until it is clear whose it is."""
        if threading.active_count() > 1:
            raise RuntimeError("a thread runs, which a fork would leave in the middle of what it does")
        sys.stdout.flush()
        sys.stderr.flush()
        here, there = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, TOLD)
        try:
            pid = os.fork()
        except OSError:  # no memory, no process: it may go away, and counts as a death
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
            here.close()
            there.close()
            self._died(place, "not started")
            return None
        if pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
            there.close()
            place.pid, place.end, place.reached, place.gone_on = pid, here, 0, 0
            place.why, place.hung = "", False
            self._watchdog.begins(place.number)
            return None
        self.worker.number = place.number
        self.worker.begins()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until it serves there is nothing to drain
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setpgid(0, 0)  # Ctrl-C at a terminal is for the supervisor alone
        for each in (here, told, *(other.end for other in self._places), *self._others(place)):
            if each is not None:
                each.close()  # an open copy would hide that the supervisor has gone
        signal.pthread_sigmask(signal.SIG_UNBLOCK, TOLD)
        return Line(there)

    def _others(self, place: _Place) -> list[socket.socket]:
        return [other.private for other in self._places if other is not place]

    def _hear(self, place: _Place) -> None:
        assert place.end is not None and place.pid is not None  # noqa: S101, PT018 - it is listened to
        try:
            said = place.end.recv(4096)
        except OSError:
            said = b""
        steps, failed, why = said.partition(FAILED)
        place.reached += steps.count(REACHED)
        if failed:
            place.why = why.decode(errors="replace")
        if said:
            return
        code = os.waitstatus_to_exitcode(os.waitpid(place.pid, 0)[1])
        place.end.close()
        place.pid = place.end = None
        self.worker.has_ended(place.number)
        if not self._stopping:
            self._died(place, signal.Signals(-code).name if code < 0 else f"exit code {code}")

    def _died(self, place: _Place, how: str) -> None:
        now = time.monotonic()
        place.deaths = [each for each in place.deaths if now - each < WINDOW_S] + [now]
        self.worker.is_replaced(place.number, HUNG if place.hung else ENDED)
        event("worker_ended", level=logging.ERROR, worker=place.number, code=how, count=len(place.deaths))
        if place.why:
            self._failure = place.why
        elif len(place.deaths) >= DEATHS:
            self._failure = (
                f"Worker {place.number} of the marketplace has ended {DEATHS} times within a minute, the last time with"
                f" {how}: the lines of its log before this one say more."
            )
        if self._failure:
            self._stop()
        elif len(place.deaths) > 1:
            place.again = now + min(LONGEST_WAIT_S, 0.1 * 2 ** len(place.deaths))

    def _go_on(self) -> None:
        """Let workers go on that have all reached a step: they are ready, or no call of theirs runs any more."""
        running = [place for place in self._places if place.pid is not None]
        for step in (1, 2):
            if all(place.reached >= step for place in running):
                for place in running:
                    if place.gone_on < step and place.end is not None:
                        place.gone_on = step
                        with suppress(OSError):  # it has just died, which is heard as the end of its line
                            place.end.send(b".", socket.MSG_NOSIGNAL)

    def _watch(self) -> None:
        """Kill who hangs: it is heard of like any that died."""
        running = {place.number: place.pid for place in self._places if place.pid is not None}
        for number in self._watchdog.hung(running, time.monotonic()):
            self._places[number].hung = True
            event("worker_hangs", level=logging.ERROR, worker=number)
            os.kill(running[number], signal.SIGKILL)

    def _stop(self) -> None:
        """Tell all to end. Told twice, they do not wait for running calls."""
        if not self._stopping:
            self._stopping, self._until = True, time.monotonic() + END_S
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        for place in self._places:
            if place.pid is not None:
                os.kill(place.pid, number)

    def _patience(self) -> float:
        """Seconds until there is something to do, whatever happens."""
        waited_for = [place.again for place in self._places if place.pid is None and not self._stopping]
        if self._stopping:
            waited_for.append(self._until)
        return max(0.0, min([BEAT_S, *(each - time.monotonic() for each in waited_for)]))


def supervised(settings: Settings, build: Callable[[Settings, Worker], Server]) -> None:
    """Serve in as many processes as the settings have: this one becomes their supervisor, and each of them returns too.

    Raises:
        Conflict: the port is in use.
        Unavailable: a worker cannot run, or ends again and again.
    """
    configure("marketplace", settings.log_level)
    forbid_dumps()
    port = bind(settings, settings.marketplace_port)
    supervisor = Supervisor(settings.marketplace_workers, settings.marketplace_worker_silence_s)
    server = build(settings, supervisor.worker)
    app = server.asgi()
    line = supervisor.run()
    if line is None:
        return
    inside = private(app, supervisor.worker, server.measured)

    async def in_step() -> None:
        await line.in_step()
        supervisor.worker.serves()

    async def serving() -> None:
        async with line.heard(), beating(supervisor.worker):
            await serve(
                [(app, port), (inside, supervisor.private)], settings, "marketplace",
                worker=supervisor.worker.number, in_step=in_step, takes=supervisor.worker.takes,
                stop=line.stop,
            )  # fmt: skip

    try:
        run_loop(serving())
    except PlatformError as error:
        line.failed(error.message)
        raise SystemExit(2) from None
    if line.alone:
        supervisor.tidy()  # it was killed and could not


def _listening(path: Path) -> socket.socket:
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    found.bind(str(path))
    found.listen(BACKLOG)
    found.setblocking(False)
    return found


def _signals() -> socket.socket:
    """Where there is something to read once this process is told to end."""
    here, there = socket.socketpair()
    there.setblocking(False)
    signal.set_wakeup_fd(there.detach())
    for each in TOLD:
        signal.signal(each, lambda *_: None)
    return here
