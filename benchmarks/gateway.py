"""The gateway: processor time of one call and its delay, direct and through, against two others in the same run.

    make bench-gateway [BENCH="--peers FOLDER"]

Everything that production has is on: tokens, the policy, pinned definitions, limits of calls, metrics, Postgres.
`--load` is the folder with `loadgen.py`, `upstream_raw.py` and `upstream_sdk.py`. `--peers` is a folder for the
environments of FastMCP and IBM's context-forge, which are installed there once. It takes less than three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psutil
from gateway_peers import environment_of, fastmcp, forge

from servers.cradle.images.running import free_port
from servers.local.platform import MIGRATIONS, environment
from servers.marketplace.bootstrap import bootstrap
from shared.client import Upstream
from shared.contracts.catalogue import CataloguePage, CustomerRegistered, InstanceRegistered
from shared.ids import digest
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.migrations import migrate
from shared.postgres.provision import provision
from shared.settings import Settings

ROOT = Path(__file__).parents[1]
CLIENTS = "1,8,32"


@contextmanager
def process(command: list[str], port: int, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A child process, once its port accepts connections."""
    child = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and child.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield child
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(30)


class Bench:
    """The parts of one run and what was measured."""

    def __init__(self, load: Path, seconds: float) -> None:
        self.load = load
        self.seconds = seconds
        self.rows: list[dict[str, Any]] = []
        self.upstreams: list[int] = []

    def measure(
        self, label: str, url: str, *, proto: str, tool: str, pid: int = 0, token: str = "", clients: str = CLIENTS
    ) -> None:
        """Call for a while with each number of clients; the rows are kept and printed."""
        command = [
            sys.executable, str(self.load / "loadgen.py"), "--url", url, "--proto", proto, "--tool", tool,
            "--clients", clients, "--duration", str(self.seconds), "--warmup", "0.7", "--label", label,
        ]  # fmt: skip
        command += ["--upid", ",".join(map(str, self.upstreams))]
        command += ["--pid", str(pid)] if pid else []
        command += ["--header", f"Authorization: Bearer {token}"] if token else []
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        for line in run.stdout.splitlines():
            row = json.loads(line)
            self.rows.append(row)
            print(shown(row), flush=True)
        if run.returncode:
            print(f"{label}: the load generator failed: {run.stderr.strip().splitlines()[-1:]}")

    def row(self, label: str, clients: int, proto: str = "modern") -> dict[str, Any]:
        """What was measured of one line; empty where nothing was."""
        wanted = (label, clients, proto)
        return next((row for row in self.rows if (row["label"], row["clients"], row["proto"]) == wanted), {})


def shown(row: dict[str, Any]) -> str:
    """One row of the table."""
    if "error" in row:
        return f"| {row['label']} | {row['proto']} | {row['clients']} | {row['error'][:80]} |||||||"
    size = row["gw_pss_mb"] if row["label"] in (TWO, TWO_SDK) else row["gw_rss_mb"]  # pages that are shared count once
    memory = f"{size:.0f}" if size else "–"
    cpu = f"{row['gw_cpu_ms_per_call']:.2f}" if row["gw_cpu_ms_per_call"] else "–"
    return (
        f"| {row['label']} | {row['proto']} | {row['clients']} | {row['cps']:.0f} | {cpu} | {row['p50_ms']:.2f} "
        f"| {row['p99_ms']:.2f} | {memory} | {row['errors']} | {row['noise']:.0%} |"
    )


HEAD = (
    "| what | era | clients | calls/s | gateway CPU ms a call | p50 ms | p99 ms | MB | errors | CPU used by others |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


async def prepared(settings: Settings, superuser_url: str) -> None:
    """Databases, keys and first accounts."""
    urls = await provision(superuser_url, settings.home)
    for package in MIGRATIONS["user_registry"]:
        await migrate(urls["user_registry"].owner, package)
    await bootstrap(settings)


async def installed(settings: Settings, upstreams: dict[str, str]) -> str:
    """Register each upstream as a server of one customer; a token that may call them."""
    base = settings.url("marketplace")
    async with httpx2.AsyncClient(trust_env=False, timeout=20) as http:

        async def token(name: str, **form: str) -> str:
            kept = orjson.loads((settings.home / "keys" / f"{name}.json").read_bytes())
            given = {key: kept[key] for key in ("client_id", "client_secret")}
            asked = {"grant_type": "client_credentials", "resource": base + "/mcp", **given, **form}
            return (await http.post(base + "/oauth/token", data=asked)).json()["access_token"]

        async with Upstream(base + "/mcp", key=await token("orchestrator")) as market:
            await market.call(
                "register_customer",
                {"customer_id": "acme", "company_name": "Acme GmbH", "contact_email": "it@acme.example"},
                CustomerRegistered,
            )
            for name, url in upstreams.items():
                arguments = {"customer_id": "acme", "name": name, "url": url, "image_digest": digest(name.encode())}
                await market.call("register_instance", arguments, InstanceRegistered)
        held = await token("operator", customer="acme")
        async with Upstream(base + "/mcp", key=held) as market:
            await market.call("list_installed_mcps", {}, CataloguePage)
        for name in upstreams:
            async with Upstream(f"{base}/servers/io.0711.acme/{name}/mcp", key=held) as market:
                await market.call("echo", {"text": "x"})
    return held


def run(bench: Bench, home: Path, peers: Path | None) -> None:
    """Start everything, measure, stop everything."""
    limits = {f"calls_per_minute_{whose}": 10**9 for whose in ("user", "customer", "tool")}  # counted, never reached
    settings = Settings(home=home, marketplace_port=free_port(), postgres_port=free_port(), **limits)
    postgres = EmbeddedPostgres(home / "postgres", settings.postgres_port)
    postgres.start()
    try:
        asyncio.run(prepared(settings, postgres.superuser_url))
        ports = {"raw": free_port(), "sdk": free_port()}
        urls = {name: f"http://127.0.0.1:{port}/mcp" for name, port in ports.items()}
        with ExitStack() as stack:
            for name, port in ports.items():
                script = str(bench.load / f"upstream_{name}.py")
                child = stack.enter_context(process([sys.executable, script, "--port", str(port)], port))
                bench.upstreams.append(child.pid)
            with gateway(settings, 1) as (pid, ready_s):
                print(HEAD)
                token = asyncio.run(installed(settings, urls))
                measured(bench, settings, urls, pid, token)
            with gateway(settings, 2) as (pid, _):
                print(HEAD)
                several(bench, settings, urls, pid, token)
            if peers:
                others(bench, urls["raw"], peers, home)
            summary(bench, ready_s)
    finally:
        postgres.remove()


@contextmanager
def gateway(settings: Settings, workers: int) -> Iterator[tuple[int, float]]:
    """The marketplace in so many processes; the first one's id, and the seconds until its port was open."""
    env = environment(settings) | {"PYTHONPATH": str(ROOT), "P0711_MARKETPLACE_WORKERS": str(workers)}
    started = time.perf_counter()
    command = [sys.executable, "-m", "servers", "serve", "marketplace"]
    with process(command, settings.marketplace_port, env) as child:
        ready_s, used = time.perf_counter() - started, psutil.Process(child.pid).cpu_times()
        print(f"\n{workers} processes: ready after {ready_s:.2f} s, {used.user + used.system:.2f} s of CPU; ", end="")
        print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}\n")
        yield child.pid, ready_s


def others(bench: Bench, upstream: str, peers: Path, home: Path) -> None:
    """The other gateways before the same fast upstream."""
    started = {
        FASTMCP: lambda: fastmcp(environment_of("fastmcp", peers), upstream, free_port()),
        FORGE: lambda: forge(environment_of("forge", peers), upstream, free_port(), home),
    }
    for label, start in started.items():
        try:
            with start() as peer:
                where = {"url": peer.url, "tool": peer.tool, "pid": peer.pid, "token": peer.token}
                bench.measure(label, proto="legacy", clients="1,8", **where)
        except (RuntimeError, subprocess.CalledProcessError, httpx2.HTTPError) as error:
            print(f"{label}: not measured: {error}")


def summary(bench: Bench, ready_s: float) -> None:
    """The goals, and what this run says of each."""
    one, eight = bench.row(FAST, 1), bench.row(FAST, 8)
    direct, sdk, sdk_direct = bench.row(DIRECT, 1), bench.row(SDK, 8), bench.row(SDK_DIRECT, 8)
    goals = [
        ("CPU a call at 8 clients", eight["gw_cpu_ms_per_call"], "ms", 0.4, True),
        ("calls/s at 8 clients before the fast upstream, one process", eight["cps"], "", 4000, False),
        ("the same, two processes", bench.row(TWO, 8)["cps"], "", 4000, False),
        ("of direct at 8 clients before the SDK", 100 * sdk["cps"] / sdk_direct["cps"], "%", 95, False),
        ("added p50 at one client", one["p50_ms"] - direct["p50_ms"], "ms", 0.6, True),
        ("start", ready_s, "s", 1.5, True),
        ("memory", eight["gw_rss_mb"], "MB", 100, True),
    ]
    for label in (FASTMCP, FORGE):
        if peer := bench.row(label, 8, "legacy"):
            mine = bench.row(FAST, 8, "legacy")
            goals.append((f"times the calls/s of {label} at 8 clients", mine["cps"] / peer["cps"], "×", 50, False))
            ratio = peer["gw_cpu_ms_per_call"] / mine["gw_cpu_ms_per_call"]
            goals.append((f"times less CPU a call than {label} at 8 clients", ratio, "×", 50, False))
    print()
    for name, value, unit, goal, at_most in goals:
        met = value <= goal if at_most else value >= goal
        print(f"{'met   ' if met else 'MISSED'} {name}: {value:.2f} {unit} ({'≤' if at_most else '≥'} {goal} {unit})")


DIRECT, FAST, SDK_DIRECT, SDK = "direct → fast", "gateway → fast", "direct → SDK", "gateway → SDK"
TWO, TWO_SDK = "2 workers → fast", "2 workers → SDK"
FASTMCP, FORGE = "FastMCP proxy → fast", "context-forge → fast"


def measured(bench: Bench, settings: Settings, urls: dict[str, str], pid: int, token: str) -> None:
    """Direct and through, both eras, both upstreams, one server and all at one address."""
    base = settings.url("marketplace")
    one = {name: f"{base}/servers/io.0711.acme/{name}/mcp" for name in urls}
    held = {"pid": pid, "token": token}
    bench.measure(DIRECT, urls["raw"], proto="modern", tool="echo")
    bench.measure(FAST, one["raw"], proto="modern", tool="echo", **held)
    bench.measure(FAST, one["raw"], proto="legacy", tool="echo", **held)
    bench.measure("gateway /mcp → fast", f"{base}/mcp", proto="modern", tool="io-0711-acme-raw__echo", **held)
    bench.measure(SDK_DIRECT, urls["sdk"], proto="modern", tool="echo")
    bench.measure(SDK, one["sdk"], proto="modern", tool="echo", **held)


def several(bench: Bench, settings: Settings, urls: dict[str, str], pid: int, token: str) -> None:
    """Through two processes behind one port."""
    one = {name: f"{settings.url('marketplace')}/servers/io.0711.acme/{name}/mcp" for name in urls}
    held = {"pid": pid, "token": token, "tool": "echo", "proto": "modern"}
    bench.measure(TWO, one["raw"], **held)
    bench.measure(TWO_SDK, one["sdk"], **held)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=Path, default=ROOT.parent / "shared/bench/gateway")
    parser.add_argument("--peers", type=Path, help="folder of the other gateways' environments")
    parser.add_argument("--seconds", type=float, default=2.5)
    given = parser.parse_args()
    if not (given.load / "loadgen.py").is_file():
        print("skipped: name the folder of the load generator with --load")
        return
    with tempfile.TemporaryDirectory(prefix="0711-bench-") as folder:
        run(Bench(given.load.resolve(), given.seconds), Path(folder), given.peers and given.peers.resolve())


if __name__ == "__main__":
    main()
