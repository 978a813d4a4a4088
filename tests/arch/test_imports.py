"""Which package may be imported where, and what starting up does not import."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "lancedb",
    "deltalake",
    "ladybug",
    "ray",
    "transformers",
    "openvino",
    "onnxruntime",
    "sentencepiece",
    "pyarrow",
    "polars",
    "rapidocr",
    "cv2",
    "neo4j",
)

# package → the only places that may import it
ONLY_IN = {
    "torch": ("servers/cradle/embedding/", "servers/cradle/vision/florence.py"),
    "sentence_transformers": ("servers/cradle/embedding/",),
    "onnx": ("servers/cradle/embedding/backends/",),
    "onnxruntime": ("servers/cradle/embedding/backends/",),
    "sentencepiece": ("servers/cradle/embedding/",),
    "asyncpg": ("shared/postgres/", "store.py"),
    "psycopg": (),
    "jwt": (
        "shared/auth",
        "servers/marketplace/tokens.py",
        "servers/marketplace/keys.py",
        "servers/marketplace/users/assertions.py",
        "servers/marketplace/providers/issuer.py",
    ),
    "cel": ("servers/marketplace/rules/conditions.py",),
    "redis": ("servers/marketplace/gateway/quotas_redis.py",),
    "docker": ("servers/cradle/images/",),
    "openai": ("servers/cradle/vision/openai.py",),
    "anthropic": ("servers/cradle/vision/anthropic.py",),
    "rapidocr": ("servers/cradle/vision/rapidocr.py",),
    "dbos": ("servers/orchestrator/",),
    "lancedb": ("shared/dataset/",),
    "deltalake": ("shared/dataset/",),
    "ladybug": ("shared/dataset/",),
    "neo4j": ("shared/dataset/bolt.py",),
    "obstore": ("shared/objects.py", "shared/bucket_credentials.py", "shared/dataset/places.py"),
    "minio": ("shared/objects.py", "shared/bucket_credentials.py", "servers/cradle/images/archive_s3.py"),
}


@cache
def imports_of(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def sources() -> list[Path]:
    return [path for room in ("servers", "shared", "templates") for path in (ROOT / room).rglob("*.py")]


def test_the_scan_sees_imports_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    import torch.nn\n    from docker import client\n")
    assert imports_of(file) == {"torch", "docker"}


@pytest.mark.parametrize("package", ONLY_IN)
def test_a_package_is_imported_only_in_its_room(package: str) -> None:
    allowed = ONLY_IN[package]
    strangers = [
        name
        for path in sources()
        if package in imports_of(path)
        and not any(part in (name := path.relative_to(ROOT).as_posix()) for part in allowed)
    ]
    assert strangers == []


def test_no_server_is_called_by_the_client_of_the_protocols_library() -> None:
    """Its spans hold what an upstream's error says: an item that it refuses, a query."""
    ways = re.compile(r"^\s*(from|import) mcp\.client|^\s*from mcp import", re.MULTILINE)
    assert ways.search("    from mcp.client import Client") is not None
    assert [path for path in sources() if ways.search(path.read_text())] == []


@pytest.mark.parametrize(
    "module",
    ["servers.__main__", *(f"servers.{each}.app" for each in ("orchestrator", "cradle", "marketplace", "instance"))],
)
def test_starting_up_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print([each for each in {HEAVY!r} if each in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=240, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[]"


def test_no_file_is_longer_than_450_lines() -> None:
    long = [
        f"{path.relative_to(ROOT)}: {count}"
        for room in ("servers", "shared", "templates", "tests", "examples", "benchmarks")
        for path in (ROOT / room).rglob("*.py")
        if (count := len(path.read_text().splitlines())) > 450
    ]
    assert long == []
