"""The rows of approvals. Each step is in the audit log, in the same transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from shared.audit import AuditLog
from shared.ids import Digest
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "approvals.sql")

State = Literal["waiting", "approved", "denied", "dispatched", "applied", "refused", "unknown"]
WAITS_S = 300.0
"""Seconds in which another person decides, and after that those in which the change is made."""
OPEN: tuple[State, ...] = ("waiting", "approved")
LISTED = 50


@dataclass(frozen=True, slots=True)
class Bound:
    """What an approval is good for, and nothing else.

    Args:
        arguments: digest of the exact arguments of the call.
        pin: digest of the tool's definition.
        policy: digest of the rules by which it was asked for.
    """

    server_name: str
    tool: str
    arguments: Digest
    pin: Digest
    policy: Digest


@dataclass(frozen=True, slots=True)
class Approval:
    """An approval as stored. `open`: it has not expired."""

    approval_id: str
    requested_by: str
    bound: Bound
    change_id: str
    rows: int
    state: State
    decided_by: str | None
    expires_at: datetime
    open: bool


class ApprovalStore:
    """Reads and writes the approvals of one customer at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def add(
        self, customer: str, approval_id: str, requested_by: str, bound: Bound, change_id: str, rows: int
    ) -> Approval:
        """Store what waits for a decision."""
        async with self._database.session(customer) as connection:
            row = await queries.add_approval(
                connection, approval_id=approval_id, customer_id=customer, requested_by=requested_by,
                server_name=bound.server_name, tool=bound.tool, arguments=bound.arguments, pin=bound.pin,
                policy=bound.policy, change_id=change_id, changed_rows=rows, lasts_s=WAITS_S,
            )  # fmt: skip
            detail = {"arguments": bound.arguments, "rows": rows, "server": bound.server_name}
            await self._audit.append_in(connection, requested_by, "approval.requested", approval_id, customer, detail)
        return _approval(row)

    async def of(self, customer: str, approval_id: str) -> Approval | None:
        """The customer's approval of a handle."""
        async with self._database.session(customer) as connection:
            row = await queries.approval_of(connection, approval_id=approval_id)
        return _approval(row) if row else None

    async def open(
        self, customer: str, after: str = "", states: Sequence[State] = OPEN
    ) -> tuple[list[Approval], str | None]:
        """What waits for a decision or to be made, the oldest first: `LISTED` at most, and the last one's handle where
        there are more, which reads on as `after`."""
        async with self._database.session(customer) as connection:
            rows = queries.open_approvals(connection, after=after, states=list(states), limit=LISTED + 1)
            found = [_approval(row) async for row in rows]
        return found[:LISTED], found[LISTED - 1].approval_id if len(found) > LISTED else None

    async def one_hand(self, customer: str, one: str, other: str) -> bool:
        """Whether one person may hold both accounts: one of them made the other, or one account of the customer made
        both, itself or by accounts between. What operator and partner make for a customer belongs to two people."""
        async with self._database.session(customer) as connection:
            first, second = [
                (row["user_id"], row["created_by"]) if row else (user_id, None)  # no row: no account of the customer
                for user_id in (one, other)
                for row in [await queries.first_of_line(connection, user_id=user_id)]
            ]
        return first[0] == second[0] or first[1] == second[0] or second[1] == first[0]

    async def decide(self, customer: str, approval_id: str, decided_by: str, *, approve: bool) -> Approval | None:
        """Approve or deny what waits. None: it is decided or over, or was asked for by the same person."""
        state = "approved" if approve else "denied"
        async with self._database.session(customer) as connection:
            row = await queries.decide(
                connection, approval_id=approval_id, state=state, decided_by=decided_by, lasts_s=WAITS_S
            )
            if row is not None:
                await self._audit.append_in(
                    connection, decided_by, f"approval.{state}", approval_id, customer,
                    {"arguments": row["arguments"], "rows": row["changed_rows"]},
                )  # fmt: skip
        return _approval(row) if row else None

    async def dispatch(self, customer: str, approval_id: str, requested_by: str, bound: Bound) -> bool:
        """Use an approval up, once, for exactly this. False: it is not approved for this, over, or used."""
        async with self._database.session(customer) as connection:
            used = await queries.dispatch(
                connection, approval_id=approval_id, requested_by=requested_by, arguments=bound.arguments,
                pin=bound.pin, policy=bound.policy,
            )  # fmt: skip
            if used is not None:
                detail = {"arguments": bound.arguments, "server": bound.server_name}
                await self._audit.append_in(
                    connection, requested_by, "approval.dispatched", approval_id, customer, detail
                )
        return used is not None

    async def settle(self, customer: str, approval_id: str, actor: str, state: State) -> None:
        """Note what became of the dispatch."""
        async with self._database.session(customer) as connection:
            await queries.settle(connection, approval_id=approval_id, state=state)
            await self._audit.append_in(connection, actor, f"approval.{state}", approval_id, customer)


def _approval(row: Any) -> Approval:
    bound = Bound(row["server_name"], row["tool"], row["arguments"], row["pin"], row["policy"])
    return Approval(
        row["approval_id"], row["requested_by"], bound, row["change_id"], row["changed_rows"], row["state"],
        row["decided_by"], row["expires_at"], row["open"],
    )  # fmt: skip
