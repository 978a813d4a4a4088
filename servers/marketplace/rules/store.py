"""The rows of rules about arguments. Each change is in the audit log, in the same transaction."""

from __future__ import annotations

from typing import Any

from servers.marketplace.rules.conditions import Rule
from shared.audit import AuditLog
from shared.errors import Conflict
from shared.ids import digest
from shared.postgres.database import Database
from shared.postgres.queries import load_queries

queries: Any = load_queries("servers.marketplace", "rules.sql")

MAX_RULES = 50
"""Rules of one server."""


class RuleStore:
    """Adds, reads and removes."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._audit = AuditLog(database)

    async def add(self, rule: Rule, set_by: str) -> None:
        """Store a rule.

        Raises:
            Conflict: the server has `MAX_RULES`.
        """
        async with self._database.of(None) as connection:
            added = await queries.add_rule(
                connection, rule_id=rule.rule_id, customer_id=rule.customer, server_name=rule.server_name,
                tool=rule.tool, condition=rule.condition, set_by=set_by, most=MAX_RULES,
            )  # fmt: skip
            if added is None:
                raise Conflict(f"This server has {MAX_RULES} rules: remove some with remove_argument_rule first.")
            detail = {"server": rule.server_name, "condition": digest(rule.condition.encode())}
            await self._audit.append_in(connection, set_by, "rule.set", rule.rule_id, rule.customer, detail)

    async def of(self, customer: str | None) -> list[Rule]:
        """The rules for a customer's calls, everyone's among them; the oldest first."""
        async with self._database.session(customer) as connection:
            return [_rule(row) async for row in queries.rules_of(connection, customer_id=customer)]

    async def of_server(self, acts_for: str | None, server_name: str) -> list[Rule]:
        """A server's rules, for an operator who acts for a customer or for the platform."""
        async with self._database.of(acts_for) as connection:
            return [_rule(row) async for row in queries.rules_of_server(connection, server_name=server_name)]

    async def remove(self, acts_for: str | None, rule_id: str, removed_by: str) -> bool:
        """Remove a rule; who acts for a customer, only one of that customer. False where there is none."""
        async with self._database.of(acts_for) as connection:
            row = await queries.remove_rule(connection, rule_id=rule_id, acts_for=acts_for)
            if row is not None:
                detail = {"server": row["server_name"], "condition": digest(row["condition"].encode())}
                await self._audit.append_in(connection, removed_by, "rule.removed", rule_id, row["customer_id"], detail)
        return row is not None


def _rule(row: Any) -> Rule:
    return Rule(row["rule_id"], row["customer_id"], row["server_name"], row["tool"], row["condition"])
