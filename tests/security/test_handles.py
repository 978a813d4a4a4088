"""Handles: 128 random bits each, and what a handle opens stays shut for everybody else.

That a job, task, approval, licence, user or key of another customer is an unknown one is in the tenant matrices
(`test_marketplace_tenants.py`, `tests/e2e/test_tenant_matrix.py`); sessions and running calls of others are in
`tests/integration/test_marketplace_gateway.py` and `tests/contract/test_serving_protocol.py`.
"""

from __future__ import annotations

import ast
import base64
import re
from pathlib import Path
from typing import Any

import pytest

from shared.ids import HANDLE_PATTERN, new_handle
from tests.conftest import ROOT
from tests.security.test_tokens_and_scopes import servers

pytestmark = pytest.mark.requirement("T-06")

HANDLES = {
    "job_id", "change_id", "approval_id", "licence_id", "user_id", "key_id", "batch_id", "invitation_id", "rule_id",
    "session_id",
}  # fmt: skip
NAMED_BY = {"partner", "cursor"}
"""Arguments that hold the handle of something in some tools."""
SAMPLES = 4000
NO_HANDLES = {"servers/cradle/images/sbom.py", "shared/dataset/canonical_delta.py"}
"""Where names are made of content, so that equal content has equal ones."""
NAMES_OF_FILES = {
    "shared/postgres/account.py", "shared/postgres/launcher.py",
    "servers/marketplace/runners/command.py",
}  # fmt: skip
"""Where fewer bits are drawn, for names of folders and containers that open nothing."""


def bits_of(handle: str) -> int:
    return int.from_bytes(base64.b32decode(handle.partition("_")[2].upper() + "======"), "big")


def test_a_handle_has_128_bits_that_are_all_drawn_anew() -> None:
    made = [new_handle("job") for _ in range(SAMPLES)]
    assert all(re.fullmatch(HANDLE_PATTERN, each) for each in made)
    assert len(set(made)) == SAMPLES
    drawn = [bits_of(each) for each in made]
    for place in range(128):
        ones = sum(bits >> place & 1 for bits in drawn)
        assert abs(ones - SAMPLES / 2) < 6 * SAMPLES**0.5 / 2, place  # six standard deviations


def test_every_handle_that_a_tool_takes_has_room_for_128_bits_and_no_less(tmp_path: Path) -> None:
    seen = set()
    for name, server in servers(tmp_path).items():
        for tool in server.mcp._tool_manager.list_tools():
            for key, fits in named(tool.parameters):
                if key in HANDLES or any("[a-z2-7]" in each for each in fits):
                    seen.add(key)
                    assert fits, (name, tool.name, key)
                    assert all("[a-z2-7]{26}" in each for each in fits), (name, tool.name, key)
    assert seen == HANDLES | NAMED_BY


def named(schema: Any) -> list[tuple[str, list[str]]]:
    """Every property of a schema with the patterns of its text."""
    if isinstance(schema, list):
        return [pair for each in schema for pair in named(each)]
    if not isinstance(schema, dict):
        return []
    own = [(key, patterns(value)) for key, value in schema.get("properties", {}).items()]
    return own + [pair for value in schema.values() for pair in named(value)]


def patterns(schema: dict[str, Any]) -> list[str]:
    either = [found for each in schema.get("anyOf", []) for found in patterns(each)]
    return [schema["pattern"], *either] if "pattern" in schema else either


def test_nothing_of_the_product_draws_an_id_that_can_be_guessed() -> None:
    files = [path for room in ("servers", "shared") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 300
    drawn: list[tuple[str, int]] = []
    for path in (each for each in files if each.relative_to(ROOT).as_posix() not in NO_HANDLES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not {each.name for each in node.names} & {"random", "uuid"}, path
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {"random", "uuid"}, path
            if isinstance(node, ast.Call) and re.fullmatch(r"secrets\.token_\w+", ast.unparse(node.func)):
                drawn.append((path.relative_to(ROOT).as_posix(), ast.literal_eval(node.args[0])))
    assert len(drawn) > 10
    assert {path for path, bytes_ in drawn if bytes_ < 16} == NAMES_OF_FILES
