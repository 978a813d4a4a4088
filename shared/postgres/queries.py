"""Named queries: `.sql` files in a package's `sql/` folder, read by aiosql.

    -- name: version_of^          one row or None      `name`   all rows (an async generator)
    -- name: count_of$            one value            `name!`  run, no result
    -- name: add_version<!        the row that RETURNING gives

Call them with a connection and named arguments: `await queries.version_of(connection, customer=…)`.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import aiosql


def load_queries(package: str, file: str) -> Any:
    """The queries of `sql/<file>` of a package such as `servers.marketplace`."""
    text = (resources.files(package) / "sql" / file).read_text(encoding="utf-8")
    return aiosql.from_str(text, "asyncpg")
