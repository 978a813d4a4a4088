"""Importing LanceDB leaves pydantic as it was, and the client of remote catalogues in it as it is written."""

from __future__ import annotations

import subprocess
import sys

LOOK = """
import pydantic
before = pydantic.validate_call
from shared.dataset import lance
lance.module()
assert pydantic.validate_call is before
from lance_namespace_urllib3_client.api.table_api import TableApi
assert not hasattr(TableApi.query_table, "raw_function")  # what pydantic wraps has one
@pydantic.validate_call
def number(value: int) -> int:
    return value
assert number("3") == 3 and hasattr(number, "raw_function")
print("as it should be")
"""


def test_the_import_wraps_no_client_and_leaves_pydantic_as_it_was() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=False)
    assert "as it should be" in done.stdout, done.stderr
