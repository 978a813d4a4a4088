"""A changed copy of a dataset: `python -m shared.dataset.editing BASE TARGET`, with statement and row count on stdin.

It runs in a process of its own like a merge: vectors' table, full text and graph are derived anew, which takes minutes
of CPU for a large dataset. The engine counts the rows that it changed; another count than the approved one ends it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import orjson

from shared.dataset.change import Change, change_of
from shared.dataset.commit import commit
from shared.dataset.delta import copy_rows
from shared.dataset.manifest import Manifest
from shared.dataset.places import Place
from shared.dataset.tables import Tables
from shared.dumps import forbid_dumps
from shared.errors import Conflict

OTHER_COUNT = 4
"""Exit code: the statement changes another number of rows than was approved."""


def edit(base: Path, change: Change, rows: int, target: Path) -> Manifest:
    """Write the dataset at `base` with a change to the new folder `target`; blocking.

    Raises:
        Conflict: another number of rows than `rows` changed; `target` holds no dataset.
    """
    place = Place(str(target))
    tables = Tables(place)
    tables.create()
    manifest = copy_rows(base, tables, frozenset())
    if tables.change(change.table, change.where, dict(change.values)) != rows:
        raise Conflict("The statement would change another number of rows now.")
    return commit(place, tables, manifest.parameter_version, manifest.fingerprint, manifest.model)


def main() -> None:
    """Reads what is approved from stdin, writes the new dataset's digest to stdout."""
    forbid_dumps()
    given = orjson.loads(sys.stdin.buffer.read())
    try:
        made = edit(Path(sys.argv[1]), change_of(given["statement"]), given["rows"], Path(sys.argv[2]))
    except Conflict:
        sys.exit(OTHER_COUNT)
    sys.stdout.write(made.dataset_digest)


if __name__ == "__main__":
    main()
