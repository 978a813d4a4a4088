"""`0711 up`: start everything, say how to connect, run until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time

from servers.local.connect import claude_code_line, command_line
from servers.local.platform import running
from shared.settings import Settings


async def up(settings: Settings) -> None:
    """Runs until SIGINT, SIGTERM or SIGHUP, or until a server gives up. A signal while it starts ends what has started.

    Raises:
        Unavailable: a server gave up; the message says why.
    """
    loop, stop, ready = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:  # a closed terminal, without `nohup`
            loop.add_signal_handler(number, stop.set)
    runs, told = asyncio.create_task(_run(settings, stop, ready)), asyncio.create_task(stop.wait())
    await asyncio.wait({runs, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not ready.is_set() and not runs.done():
        _say("stopping …")
        runs.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await runs
    _say("stopped")


async def _run(settings: Settings, stop: asyncio.Event, ready: asyncio.Event) -> None:
    started = time.perf_counter()
    async with running(settings, _say) as platform:
        ready.set()
        _say(f"ready in {time.perf_counter() - started:.1f} s. Connect Claude Code:\n  {claude_code_line(settings)}")
        _say(f"Others, and the marketplace: {command_line('connect', '--home', str(settings.home))}. Stop: Ctrl-C.")
        ended, stopped = asyncio.create_task(platform.ended()), asyncio.create_task(stop.wait())
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if ended.done():
            raise platform.children[ended.result()].gave_up()
        ended.cancel()
        _say("stopping …")


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is closed or a log's disk that is full stops no server
        print(line, flush=True)  # noqa: T201  the command's own output
