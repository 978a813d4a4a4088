"""The gateway: processor time of one call and its delay, direct and through, against FastMCP's proxy in the same run.

    python benchmarks/gateway.py --load ../shared/bench/gateway [--fastmcp /path/to/another/venv/bin/python]

Everything that production has is on: tokens, the policy, pinned definitions, metrics, Postgres. `--load` is the folder
with `loadgen.py`, `upstream_raw.py` and `upstream_sdk.py`; FastMCP is no dependency and runs in its own environment.
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
PROXY = """
import sys
from fastmcp.server import create_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), show_banner=False)
"""


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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

    def measure(self, label: str, url: str, *, proto: str, tool: str, pid: int = 0, token: str = "") -> None:
        """Call for a while with each number of clients; the rows are kept and printed."""
        command = [
            sys.executable, str(self.load / "loadgen.py"), "--url", url, "--proto", proto, "--tool", tool,
            "--clients", CLIENTS, "--duration", str(self.seconds), "--warmup", "1", "--label", label,
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


def shown(row: dict[str, Any]) -> str:
    """One row of the table."""
    if "error" in row:
        return f"| {row['label']} | {row['proto']} | {row['clients']} | {row['error'][:80]} |||||||"
    memory = f"{row['gw_rss_mb']:.0f}" if row["gw_rss_mb"] else "–"
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


def run(bench: Bench, home: Path, fastmcp: str | None) -> None:
    """Start everything, measure, stop everything."""
    settings = Settings(home=home, marketplace_port=free_port(), postgres_port=free_port())
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
            env = environment(settings) | {"PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-m", "servers", "serve", "marketplace"]
            started = time.perf_counter()
            gateway = stack.enter_context(process(command, settings.marketplace_port, env))
            print(f"\ngateway ready after {time.perf_counter() - started:.2f} s, {os.cpu_count()} cores\n\n{HEAD}")
            token = asyncio.run(installed(settings, urls))
            measured(bench, settings, urls, gateway.pid, token)
            if fastmcp:
                port = free_port()
                proxy = stack.enter_context(process([fastmcp, "-c", PROXY, urls["raw"], str(port)], port))
                bench.measure(
                    "FastMCP proxy → fast", f"http://127.0.0.1:{port}/mcp", proto="legacy", tool="echo", pid=proxy.pid
                )
    finally:
        postgres.remove()


def measured(bench: Bench, settings: Settings, urls: dict[str, str], pid: int, token: str) -> None:
    """Direct and through, both eras, both upstreams, one server and all at one address."""
    base = settings.url("marketplace")
    one = {name: f"{base}/servers/io.0711.acme/{name}/mcp" for name in urls}
    held = {"pid": pid, "token": token}
    bench.measure("direct → fast", urls["raw"], proto="modern", tool="echo")
    bench.measure("gateway → fast", one["raw"], proto="modern", tool="echo", **held)
    bench.measure("gateway → fast", one["raw"], proto="legacy", tool="echo", **held)
    bench.measure("gateway /mcp → fast", f"{base}/mcp", proto="modern", tool="io-0711-acme-raw__echo", **held)
    bench.measure("direct → SDK", urls["sdk"], proto="modern", tool="echo")
    bench.measure("gateway → SDK", one["sdk"], proto="modern", tool="echo", **held)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--load", type=Path, default=ROOT.parent / "shared/bench/gateway")
    parser.add_argument("--fastmcp", help="a Python that has fastmcp")
    parser.add_argument("--seconds", type=float, default=5.0)
    given = parser.parse_args()
    if not (given.load / "loadgen.py").is_file():
        print("skipped: name the folder of the load generator with --load")
        return
    with tempfile.TemporaryDirectory(prefix="0711-bench-") as folder:
        run(Bench(given.load.resolve(), given.seconds), Path(folder), given.fastmcp)


if __name__ == "__main__":
    main()
