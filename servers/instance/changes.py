"""Changes of the dataset by a statement: counted first, shown to whoever decides, made once as a new version.

Who may make one is decided elsewhere: by the marketplace, whose approvals alone carry the scope for it. What is
proposed is kept in memory only, so that the statement is nowhere but here until it is decided.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

import orjson

from servers.instance.merging import made_by, publish, work_folder
from servers.instance.search import Library
from servers.instance.versions import Versions
from shared.dataset.change import Change, change_of
from shared.dataset.editing import OTHER_COUNT
from shared.errors import Conflict, InvalidInput, NotFound, Overloaded
from shared.ids import digest, new_handle

KEPT_S = 900.0
MOST, OF_ONE = 100, 20
"""Changes that wait, and those of one person: nobody, and no agent, keeps the others from asking."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """A statement that waits. `rows` is what it would change now."""

    asked_by: str
    statement: str
    rows: int
    until: float


class Changes:
    """Proposes and makes changes of one instance's dataset.

    Args:
        turn: held by whoever makes a change, until its version is served; updates hold the same.
    """

    def __init__(self, versions: Versions, turn: asyncio.Lock) -> None:
        self._versions = versions
        self.turn = turn
        self._waiting: dict[str, Proposed] = {}

    async def propose(self, library: Library, asked_by: str, statement: str) -> tuple[str, int]:
        """Count what a statement would change, changing nothing; its handle and the number of rows.

        Args:
            asked_by: the user who asks.

        Raises:
            InvalidInput: it is not one statement that may change the dataset, or a value does not fit its column.
            Overloaded: too many wait already.
        """
        change = change_of(statement)
        self._versions.state()
        answer = await library.sql(change.count, 1)
        rows = int(answer.rows[0][0] or 0)
        if change.values:
            change.require_fit(rows, await self._tried(library, change))
        self._waiting = {name: each for name, each in self._waiting.items() if each.until > time.monotonic()}
        own = sum(each.asked_by == asked_by for each in self._waiting.values())
        if len(self._waiting) >= MOST or own >= OF_ONE:
            raise Overloaded("Too many changes wait for a decision: decide some first.", retry_after=60)
        change_id = new_handle("chg")
        self._waiting[change_id] = Proposed(asked_by, statement, rows, time.monotonic() + KEPT_S)
        return change_id, rows

    async def _tried(self, library: Library, change: Change) -> list[Any] | None:
        """What `trial` counts; None where a value cannot be computed as its column's type."""
        try:
            return (await library.sql(change.trial, 1)).rows[0]
        except InvalidInput:
            return None

    def show(self, change_id: str) -> Proposed:
        """What waits under a handle.

        Raises:
            NotFound: it is unknown, over or made already.
        """
        found = self._waiting.get(change_id)
        if found is None or found.until <= time.monotonic():
            raise NotFound("This change is not known any more: propose it again.", field="change_id")
        return found

    async def make(self, change_id: str, statement_digest: str, rows: int) -> str:
        """Make a change; the digest of the new version, which is not served yet. A handle is good once.

        The caller holds `turn` until it is served: the next change is made from this one, or it would lose it.

        Raises:
            NotFound: as `show`.
            Conflict: it is another statement, or would change another number of rows now; nothing was changed.
            StorageFull: the volume is full; nothing is left behind.
        """
        found = self.show(change_id)
        if digest(found.statement.encode()) != statement_digest:
            raise Conflict("This is not the statement that was approved. Nothing was changed.")
        del self._waiting[change_id]
        return await self._made(found.statement, rows, statement_digest)

    async def _made(self, statement: str, rows: int, statement_digest: str) -> str:
        base = self._versions.current()
        async with work_folder(self._versions.state()) as work:
            given = orjson.dumps({"statement": statement, "rows": rows})
            folder = await asyncio.to_thread(self._versions.folder, base)
            code, wrote = await made_by("shared.dataset.editing", folder, work / "dataset", given=given)
            if code == OTHER_COUNT:
                raise Conflict("The statement would change another number of rows now. Nothing was changed.")
            if code < 0:
                raise Conflict("The change was ended by the system. Nothing was changed: ask for it again.")
            if code:
                raise Conflict("The engine refused a value of the change. Nothing was changed.")
            wanted = wrote.decode()
            if wanted != base and not self._versions.place_of(wanted).exists():
                await asyncio.to_thread(self._versions.note_change, work / "dataset", base, statement_digest)
                await asyncio.to_thread(publish, work / "dataset", wanted, self._versions.place_of(wanted))
            return wanted
