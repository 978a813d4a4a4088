"""The child process in which a customer's SQL or Cypher runs: it can write no file and is killed at the deadline.

    python -m shared.dataset.query_worker

It talks in frames (u32 length, JSON) over stdin and stdout. The first frame configures it (`engine`, and where the data
is) and is answered when it is open; each further one is `{"query", "limit", "chars", "seconds"}` and is answered by
`{"columns", "rows", "truncated"}`, `{"error"}` or `{"unavailable"}`. Where memory ends, so does the process.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
import resource
import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from shared.dataset.bolt import Bolt
from shared.dumps import forbid_dumps
from shared.errors import Unavailable

MEMORY = 2 * 2**30
OUT_OF_MEMORY = 3  # its exit code; engines in other languages abort
MAX_ERROR = 300
_NO_MEMORY = "std::bad_alloc"  # all that Ladybug says of it; its own bound of memory is told in words, and it goes on
_PR_SET_PDEATHSIG = 1
_LENGTH = struct.Struct(">I")


def main() -> None:
    """Serves until stdin ends."""
    source, target = sys.stdin.buffer, sys.stdout.buffer
    config = _read(source)
    if config is None:
        return
    engine = {"sql": _Sql, "cypher": _Cypher, "bolt": Bolt}[config["engine"]](config)
    _confine(MEMORY + engine.reserved)
    if isinstance(engine, _Cypher):
        _open_nothing_more()
    _write(target, {"ready": True})
    while (request := _read(source)) is not None:
        _write(target, _answer(engine, request))


def _confine(memory: int) -> None:
    """No file may grow by a byte from here on, no core is left, memory is bounded, and the parent's end is ours."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    forbid_dumps()
    resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _open_nothing_more() -> None:
    """No file or socket can be opened from here on: Cypher can read files (LOAD FROM) in a read-only database too."""
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, free))


def _answer(engine: _Sql | _Cypher | Bolt, request: dict[str, Any]) -> dict[str, Any]:
    try:
        columns, rows = engine.run(request["query"], request["seconds"])
        return _bounded(columns, rows, request["limit"], request["chars"])
    except MemoryError:
        raise
    except Unavailable as error:
        return {"unavailable": error.message}
    except Exception as error:  # noqa: BLE001 - whatever an engine raises is the statement's fault
        if str(error) == _NO_MEMORY:
            raise MemoryError from None
        return {"error": _sentence(error)}


class _Sql:
    """DataFusion over the Delta tables."""

    reserved = 0

    def __init__(self, config: dict[str, Any]) -> None:
        from deltalake import DeltaTable, QueryBuilder

        options = config["options"] or None
        self._builder = QueryBuilder({"datafusion.execution.target_partitions": "2"})
        for name, table in config["tables"].items():
            opened = DeltaTable(table["address"], version=table["version"], storage_options=options)
            self._builder.register(name, opened)

    def run(self, query: str, _seconds: float) -> tuple[list[str], Iterator[list[Any]]]:
        import pyarrow as pa

        self._plan(query)
        reader = pa.RecordBatchReader.from_stream(self._builder.execute(query))
        return reader.schema.names, (list(row) for batch in reader for row in _rows(batch))

    def _plan(self, query: str) -> None:
        """Refuses what plans as anything else than a query, before it runs."""
        import pyarrow as pa

        plan = pa.RecordBatchReader.from_stream(self._builder.execute(f"EXPLAIN {query}")).read_all().to_pylist()
        logical = next(str(row["plan"]) for row in plan if str(row["plan_type"]).startswith("logical"))
        if re.match(r"\s*(Dml|Ddl|CopyTo|Create|Drop|Statement|Prepare|Execute|Set)", logical):
            raise ValueError("only queries are possible here")


class _Cypher:
    """Ladybug over the graph, opened read-only."""

    def __init__(self, config: dict[str, Any]) -> None:
        import ladybug

        # Ladybug reserves this much address space, which the limit on memory counts.
        self.reserved = 2 ** max(30, (4 * Path(config["database"]).stat().st_size).bit_length())
        database = ladybug.Database(
            config["database"],
            read_only=True,
            buffer_pool_size=256 * 2**20,
            max_num_threads=2,
            max_db_size=self.reserved,
        )
        self._connection = ladybug.Connection(database)

    def run(self, query: str, _seconds: float) -> tuple[list[str], Iterator[list[Any]]]:
        result = self._connection.execute(query)
        if isinstance(result, list):
            raise ValueError("one statement at a time")
        return result.get_column_names(), self._rows(result)

    @staticmethod
    def _rows(result: Any) -> Iterator[list[Any]]:
        while result.has_next():
            yield result.get_next()


def _rows(batch: Any) -> Iterable[tuple[Any, ...]]:
    return zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _bounded(columns: list[str], rows: Iterator[list[Any]], limit: int, chars: int) -> dict[str, Any]:
    """At most `limit` rows and about `chars` characters of JSON; of a first row that is longer, its texts are cut."""
    taken: list[list[Any]] = []
    left = chars
    for row in rows:
        plain = [_plain(value) for value in row]
        left -= sum(_size(value) for value in plain)
        if len(taken) >= limit or (left < 0 and taken):
            return {"columns": columns, "rows": taken, "truncated": True}
        taken.append(plain if left >= 0 else [_cut(value, chars // len(plain)) for value in plain])
    return {"columns": columns, "rows": taken, "truncated": left < 0}


def _size(value: str | float | bool | None) -> int:
    return len(value) + 3 if isinstance(value, str) else 8


def _cut(value: Any, chars: int) -> Any:
    return value[:chars] + " …" if isinstance(value, str) and len(value) > chars else value


def _plain(value: Any) -> str | int | float | bool | None:
    """A value as JSON knows it. Exact decimals stay exact; what has no number in JSON (NaN, 2^63) is text."""
    match value:
        case None | bool() | str():
            return value
        case int() if abs(value) < 2**53:
            return value
        case float() if math.isfinite(value):
            return value
        case int() | float():
            return str(value)
        case Decimal():
            number = float(value)
            return number if Decimal(repr(number)) == value else format(value.normalize(), "f")
        case _:
            return _as_text(value)


def _as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _sentence(error: Exception) -> str:
    first = re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__
    if len(first) > MAX_ERROR:  # at a word, for half a column's name looks like one
        return first[:MAX_ERROR].rpartition(" ")[0].rstrip(",. ") + ", and more"
    return first.rstrip(". ")


def _read(source: BinaryIO) -> dict[str, Any] | None:
    head = source.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    return orjson.loads(source.read(_LENGTH.unpack(head)[0]))


def _write(target: BinaryIO, message: dict[str, Any]) -> None:
    data = orjson.dumps(message)
    target.write(_LENGTH.pack(len(data)) + data)
    target.flush()


if __name__ == "__main__":
    try:
        main()
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    os._exit(0)  # engines' own threads have nothing left to do
