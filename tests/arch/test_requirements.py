"""Requirements: what is claimed is tested, and tests name ids that exist."""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache
from pathlib import Path

from tests.requirements import CLAIMED, REQUIREMENTS

TESTS = Path(__file__).parents[1]


def ids_in(tree: ast.AST) -> set[str]:
    """The arguments of every `….requirement(…)` call."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "requirement":
            found |= {str(arg.value) for arg in node.args if isinstance(arg, ast.Constant)}
    return found


@cache
def ids_that_tests_name() -> set[str]:
    return set().union(*(ids_in(ast.parse(path.read_text())) for path in TESTS.rglob("test_*.py")))


def test_no_two_files_of_tests_have_one_name() -> None:
    """pytest takes the second of them for the first."""
    names = Counter(path.name for path in TESTS.rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_the_search_for_ids_finds_one() -> None:
    assert ids_in(ast.parse('@pytest.mark.requirement("F-12", "F-13")\ndef test_x(): ...')) == {"F-12", "F-13"}


def test_every_claimed_requirement_has_a_test() -> None:
    assert not CLAIMED - ids_that_tests_name()


def test_every_test_names_ids_that_exist() -> None:
    assert not ids_that_tests_name() - REQUIREMENTS.keys()


def test_every_claim_is_a_requirement() -> None:
    assert not CLAIMED - REQUIREMENTS.keys()
