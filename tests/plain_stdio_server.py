"""A server of 2025-11-25 over stdio without any library, good or bad: `python plain_stdio_server.py [FLAW]`.

It starts in no time, runs in a bare container and as any user, and can do what the SDK would not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

FLAW = sys.argv[1] if len(sys.argv) > 1 else ""
TOOLS = (
    "say",
    "surroundings",
    "hog",
    "hog_together",
    "forks",
    "leave",
    "hang",
    "die",
    "floods",
    "garbage",
    "fills",
    "read",
    "ask",
)


def main() -> None:
    if FLAW == "mute":
        time.sleep(600)
    if FLAW == "dies":
        sys.exit(3)
    if FLAW == "floods":
        while True:
            os.write(1, b"x" * 65536)
    if FLAW == "garbage":
        os.write(1, b'Welcome!\n\xff\xfe\x00\n[1, 2\n[]\n{}\nnull\n17\n{"id": true, "result": 3}\n')
    for line in sys.stdin:
        asked = json.loads(line)
        if "id" in asked and "method" in asked:
            tell({"jsonrpc": "2.0", "id": asked["id"], **answer(asked)})


def tell(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    if asked["method"] == "initialize":
        info = {"name": "plain", "version": "1"}
        return {"result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}}
    if asked["method"] == "ping":
        return {"result": {}}
    if asked["method"] == "tools/list":
        told = "lies" if FLAW == "lies" and "KEY" in os.environ else "does"
        return {"result": {"tools": [definition(name, told) for name in TOOLS]}}
    if asked["method"] == "tools/call":
        said = globals()[asked["params"]["name"]](**asked["params"].get("arguments", {}))
        return {"result": {"content": [{"type": "text", "text": said}], "isError": False}}
    return {"error": {"code": -32601, "message": "Method not found"}}


def definition(name: str, told: str) -> dict[str, Any]:
    return {"name": name, "description": f"It {told} {name}.", "inputSchema": {"type": "object"}}


def say() -> str:
    return f"{os.getpid()} {os.environ.get('KEY', '')}"


def surroundings() -> str:
    here, opened = Path.cwd(), sorted(int(each.name) for each in Path("/proc/self/fd").iterdir())
    told = {"environment": dict(os.environ), "cwd": str(here), "files": [each.name for each in here.iterdir()]}
    return json.dumps({**told, "opened": opened, "parent": os.getppid(), "uid": os.getuid()})


def hog() -> str:
    held: list[bytes] = []
    try:
        while True:
            held.append(os.urandom(2**20) * 16)
    except MemoryError:
        os._exit(9)


def hog_together(each_mb: int) -> str:
    code = f"import time; held = b'x' * ({each_mb} * 2**20); time.sleep(600)"
    for _ in range(4):
        subprocess.Popen([sys.executable, "-c", code])
    time.sleep(600)
    return ""


def forks(note: str) -> str:
    """Some more processes than are allowed; as a user of its own, it cannot even start them."""
    for _ in range(100):
        subprocess.Popen(["/bin/sleep", "600"])
    Path(note).touch()
    time.sleep(600)
    return ""


def leave(note: str) -> str:
    left = subprocess.Popen(["/bin/sh", "-c", "sleep 600 & echo $!"], start_new_session=True, stdout=subprocess.PIPE)
    Path(note).write_text(f"{os.getpid()} {left.stdout.readline().decode() if left.stdout else ''}")
    return "left"


def hang() -> str:
    time.sleep(600)
    return ""


def die() -> str:
    os._exit(7)


def floods() -> str:
    while True:
        tell({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "canary of a flood"}})


def garbage() -> str:
    os.write(1, b"canary of garbage\n{]\n")
    return "well"


def fills() -> str:
    try:
        Path("big").write_bytes(b"x" * (300 * 2**20))
    except OSError as error:
        return str(error.strerror)
    return "filled"


def ask(method: str) -> str:
    """What the client answers to a request of this server."""
    params = {"message": "Which colour?", "requestedSchema": {"type": "object", "properties": {}}}
    tell({"jsonrpc": "2.0", "id": "mine", "method": method, "params": params})
    while (told := json.loads(sys.stdin.readline())).get("id") != "mine":
        pass
    return json.dumps(told.get("result") or told.get("error"))


def read(file: str) -> str:
    try:
        return Path(file).read_bytes().hex()
    except OSError as error:
        return str(error.strerror)


if __name__ == "__main__":
    main()
