"""Start-up: from nothing to the answer of `tools/list` over stdio, against a Python that only imports the SDK."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5
HELLO = [
    {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}},
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}},
]  # fmt: skip


def tools_list(home: str) -> float:
    """Seconds until the list has come."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "servers", "serve", "orchestrator", "--stdio", "--home", home]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for message in HELLO:
            process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        while json.loads(process.stdout.readline()).get("id") != 2:
            pass
        seconds = time.perf_counter() - started
        process.stdin.close()
        process.wait(10)
    return seconds


def imports() -> float:
    """Seconds of a Python that imports the SDK's server and nothing else."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import mcp.server.mcpserver"], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Prints the table."""
    with tempfile.TemporaryDirectory() as home:
        own = statistics.median(tools_list(home) for _ in range(ROUNDS))
    bare = statistics.median(imports() for _ in range(ROUNDS))
    print(f"tools/list over stdio {own:.2f} s   importing the SDK alone {bare:.2f} s   ratio {own / bare:.2f}")


if __name__ == "__main__":
    main()
