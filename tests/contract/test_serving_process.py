"""A server as a process: stdio, signals, draining, busy ports."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from shared.errors import Conflict
from shared.serving import serve
from shared.serving.process import DRAIN_S
from shared.settings import Settings
from tests.serving_rig import HANGS_S, answer_of, envelope, headers_for

ROOT = Path(__file__).parents[2]
HELLO = {
    "jsonrpc": "2.0", "id": 2, "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}},
}  # fmt: skip


@asynccontextmanager
async def process(home: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """The rig in a process of its own; ended at the end."""
    environment = {**os.environ, "RIG_HOME": str(home)}
    started = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.serving_rig", *arguments, cwd=ROOT, env=environment,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(HANGS_S):
            yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.wait()


async def line(running: asyncio.subprocess.Process) -> dict[str, Any]:
    assert running.stdout is not None
    while True:
        text = (await running.stdout.readline()).decode().strip()
        if text:
            return json.loads(text)


def say(running: asyncio.subprocess.Process, *messages: dict[str, Any]) -> None:
    assert running.stdin is not None
    running.stdin.write(b"".join(json.dumps(each).encode() + b"\n" for each in messages))


@pytest.mark.requirement("M-01")
async def test_stdio_answers_discover_and_initialize_that_come_together(tmp_path: Path) -> None:
    async with process(tmp_path, "stdio") as rig:
        say(rig, envelope("server/discover", {}, 1), HELLO)
        answers = {answer["id"]: answer for answer in (await line(rig), await line(rig))}
        assert answers[1]["result"]["supportedVersions"] == ["2026-07-28"]
        assert answers[2]["result"]["protocolVersion"] == "2025-11-25"
        say(rig, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        say(rig, {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": "whoami", "arguments": {}}})
        assert (await line(rig))["result"]["structuredContent"]["text"] == "user-1 acme service"
        params = {"name": "count_up", "arguments": {"steps": 2}, "_meta": {"progressToken": 7}}
        say(rig, envelope("tools/call", params, 4))
        told = [await line(rig) for _ in range(3)]
        assert [each["params"]["progress"] for each in told[:2]] == [1, 2]
        assert told[2]["result"]["structuredContent"] == {"text": "done", "number": 2}


@pytest.mark.requirement("M-05", "A-05")
async def test_stdio_checks_scopes_cancels_in_both_eras_and_ends_with_its_input(tmp_path: Path) -> None:
    async with process(tmp_path, "stdio") as rig:
        say(rig, HELLO, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        await line(rig)
        say(rig, envelope("tools/call", {"name": "change", "arguments": {}}, 3))
        assert (await line(rig))["result"]["_meta"]["0711/error"]["code"] == "forbidden"
        params: dict[str, Any] = {"name": "tell_cancelled", "arguments": {}}
        plain: dict[str, Any] = {"jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": dict(params)}
        modern = envelope("tools/call", params, 5)
        for number, call in ((4, plain), (5, modern)):
            call["params"]["_meta"] = {**call["params"].get("_meta", {}), "progressToken": number}
            say(rig, call)
            assert (await line(rig))["params"]["message"] == "started"
            say(rig, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": number}})
            say(rig, envelope("tools/call", {"name": "was_cancelled", "arguments": {}}, 90 + number))
            assert (await line(rig))["result"]["structuredContent"]["text"] == "cancelled"
        assert rig.stdin is not None
        rig.stdin.close()
        assert await rig.wait() == 0


@pytest.mark.requirement("F-11")
@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains(tmp_path: Path, told: signal.Signals) -> None:
    """Not ready at once, the running call finishes, the process ends with 0."""
    async with process(tmp_path, "http") as rig, httpx2.AsyncClient(timeout=HANGS_S) as client:
        ready = await line(rig)
        base, token = f"http://127.0.0.1:{ready['port']}", ready["token"]
        assert (await client.get(base + "/health")).json() == {"status": "healthy"}
        body = envelope("tools/call", {"name": "wait", "arguments": {}})
        waiting = asyncio.create_task(
            client.post(base + "/mcp", json=body, headers=headers_for(token, "tools/call", "wait"))
        )
        assert (await line(rig))["event"] == "started"
        rig.send_signal(told)
        while (health := await client.get(base + "/health")).status_code == 200:
            pass  # the signal is on its way
        assert (health.status_code, health.json()) == (503, {"status": "draining"})
        echo = envelope("tools/call", {"name": "echo", "arguments": {"text": "x"}})
        refused = await client.post(base + "/mcp", json=echo, headers=headers_for(token, "tools/call", "echo"))
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        assert refused.json()["error"]["message"] == "The server is stopping: try again. Retry after 2 s."
        assert not waiting.done()
        say(rig, {"go": "on"})
        assert answer_of(await waiting)["result"]["structuredContent"]["text"] == "went on"
        assert await rig.wait() == 0


@pytest.mark.requirement("F-11")
async def test_a_call_that_does_not_end_holds_nobody_up_for_more_than_the_time_to_drain(tmp_path: Path) -> None:
    assert DRAIN_S <= 20
    begun, stop, ready = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop().create_future()

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with asyncio.timeout(HANGS_S), httpx2.AsyncClient(timeout=None) as client:
        settings = Settings(home=tmp_path)
        serving = asyncio.create_task(
            serve([(endless, 0)], settings, signals=False, stop=stop, on_ready=ready.set_result, drain_s=0.05)
        )
        calling = asyncio.create_task(client.get(f"http://127.0.0.1:{(await ready)[0]}/"))
        await begun.wait()
        stop.set()
        await serving
        await asyncio.gather(calling, return_exceptions=True)


async def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    async with process(tmp_path, "http") as rig, httpx2.AsyncClient(timeout=HANGS_S) as client:
        ready = await line(rig)
        body = envelope("tools/call", {"name": "wait", "arguments": {}})
        headers = headers_for(ready["token"], "tools/call", "wait")
        waiting = asyncio.create_task(client.post(f"http://127.0.0.1:{ready['port']}/mcp", json=body, headers=headers))
        assert (await line(rig))["event"] == "started"
        rig.send_signal(signal.SIGTERM)
        assert (await line(rig))["event"] == "draining"
        rig.send_signal(signal.SIGTERM)
        assert await rig.wait() == 0
        await asyncio.gather(waiting, return_exceptions=True)


async def test_a_busy_port_is_one_sentence_that_names_the_setting(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = Settings(home=tmp_path, cradle_port=port)
        with pytest.raises(Conflict) as refused:
            await serve([(_never, port)], settings, signals=False)
    assert refused.value.message == (
        f"Port {port} is in use: stop what listens there, or set P0711_CRADLE_PORT to another."
    )


async def test_an_application_on_two_ports_is_opened_once(tmp_path: Path) -> None:
    opened: list[str] = []

    class App:
        @asynccontextmanager
        async def lifespan(self) -> AsyncIterator[None]:
            opened.append("open")
            yield
            opened.append("closed")

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await _never(scope, receive, send)

    app, stop = App(), asyncio.Event()
    await serve(
        [(app, 0), (app, 0)], Settings(home=tmp_path), signals=False, stop=stop, on_ready=lambda ports: stop.set()
    )
    assert opened == ["open", "closed"]


async def test_what_a_process_has_loaded_is_passed_by_when_cycles_are_collected(
    tmp_path: Path,
) -> None:
    stop, frozen, loads = asyncio.Event(), [gc.get_freeze_count()], [list[object]() for _ in range(10_000)]

    def ready(_ports: list[int]) -> None:
        frozen.append(gc.get_freeze_count())
        stop.set()

    for own in (False, True):
        stop.clear()
        await serve([(_never, 0)], Settings(home=tmp_path), signals=own, stop=stop, on_ready=ready)
    before, embedded, process = frozen
    assert embedded <= before
    assert process >= before + len(loads)


async def _never(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("nothing is called here")
