"""Named queries: `.sql` files in a package's `sql/` folder, read by aiosql.

    -- name: version_of(customer)^     one row or None      `name()`   all rows (an async generator)
    -- name: count_of(customer)$       one value            `name()!`  run, no result

Call them with a connection and named arguments: `await queries.version_of(connection, customer=…)`.
"""

from __future__ import annotations

from importlib import resources
from typing import Any

import aiosql


def changed_rows(status: object) -> int:
    """The number at the end of a command's status, such as `INSERT 0 1`."""
    return int(str(status).rsplit(" ", 1)[-1])


def load_queries(package: str, file: str) -> Any:
    """The queries of `sql/<file>` of a package such as `servers.marketplace`."""
    text = (resources.files(package) / "sql" / file).read_text(encoding="utf-8")
    return aiosql.from_str(text, "asyncpg")
