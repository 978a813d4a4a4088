"""Other gateways for `benchmarks/gateway.py`, each from its package in an environment of its own, as documented.

FastMCP: `create_proxy(url)`, without authentication. IBM's context-forge: SQLite, user interface off, one upstream
registered as a gateway, a token of its administrator.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

PACKAGES = {"fastmcp": "fastmcp", "forge": "mcp-contextforge-gateway"}
PROXY = """
import sys
from fastmcp.server import create_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), show_banner=False)
"""
READY_S = 120
SECRET = "a-secret-of-the-benchmark-and-of-nothing-else"  # noqa: S105


@dataclass(frozen=True)
class Peer:
    """Another gateway that runs."""

    url: str
    tool: str
    pid: int
    token: str = ""
    ready_s: float = 0.0


def environment_of(name: str, folder: Path) -> Path:
    """The Python of a peer's environment; made on first use."""
    python = folder / name / "bin" / "python"
    if not python.exists():
        print(f"installing {PACKAGES[name]} into {folder / name} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGES[name]], check=True)
    return python


@contextmanager
def fastmcp(python: Path, upstream: str, port: int) -> Iterator[Peer]:
    """FastMCP's proxy."""
    with _running([str(python), "-c", PROXY, upstream, str(port)], port, dict(os.environ)) as (pid, ready_s):
        yield Peer(f"http://127.0.0.1:{port}/mcp", "echo", pid, ready_s=ready_s)


@contextmanager
def forge(python: Path, upstream: str, port: int, home: Path) -> Iterator[Peer]:
    """IBM's context-forge with one registered upstream."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
        "DATABASE_URL": f"sqlite:///{home}/forge.db",
        "JWT_SECRET_KEY": SECRET,
        "AUTH_ENCRYPTION_SECRET": SECRET,
        "AUTH_REQUIRED": "false",
        "MCPGATEWAY_UI_ENABLED": "false",
        "LOG_LEVEL": "ERROR",
        "CACHE_TYPE": "memory",
        "SSRF_PROTECTION_ENABLED": "false",
        "SSRF_ALLOW_LOCALHOST": "true",
        "SSRF_ALLOW_PRIVATE_NETWORKS": "true",
        "REQUIRE_STRONG_SECRETS": "false",
        "ENVIRONMENT": "development",
        "PLATFORM_ADMIN_EMAIL": "admin@example.com",
        "PLATFORM_ADMIN_PASSWORD": "A-password-1-of-the-benchmark!",
    }
    command = [str(python.with_name("mcpgateway")), "--host", "127.0.0.1", "--port", str(port)]
    with _running(command, port, env) as (pid, ready_s):
        base = f"http://127.0.0.1:{port}"
        token = _token(python, env)
        body = {"name": "up", "url": upstream, "transport": "STREAMABLEHTTP"}
        headers = {"authorization": f"Bearer {token}"}
        httpx2.post(base + "/gateways", json=body, headers=headers, timeout=60, trust_env=False).raise_for_status()
        yield Peer(base + "/mcp/", "up-echo", pid, token, ready_s)


def _token(python: Path, env: dict[str, str]) -> str:
    arguments = ["--username", "admin@example.com", "--exp", "60", "--secret", SECRET, "--admin"]
    run = subprocess.run(
        [python, "-m", "mcpgateway.utils.create_jwt_token", *arguments],
        env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return run.stdout.strip().splitlines()[-1]


@contextmanager
def _running(command: list[str], port: int, env: dict[str, str]) -> Iterator[tuple[int, float]]:
    """A child process, once it answers HTTP; and the seconds until then. RuntimeError: it does not."""
    started = time.perf_counter()
    child = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/")
    try:
        while not _answers(port):
            if child.poll() is not None or time.perf_counter() - started > READY_S:
                raise RuntimeError(f"{Path(command[0]).name} was not ready within {READY_S} s")
            time.sleep(0.1)
        yield child.pid, time.perf_counter() - started
    finally:
        child.terminate()
        child.wait(30)


def _answers(port: int) -> bool:
    try:
        httpx2.get(f"http://127.0.0.1:{port}/health", timeout=5, trust_env=False)
    except httpx2.HTTPError:
        return False
    return True
