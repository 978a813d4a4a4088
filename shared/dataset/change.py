"""Statements that change a dataset: exactly one UPDATE or DELETE of one table, taken apart by a parser. Pure.

What reaches the engine is not the statement but a condition and values that are written anew from the parsed tree, and
every node of that tree is one of a short list: no query inside, no second table, no function that reads or is random.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from shared.dataset.rows import AMOUNT_DIGITS, AMOUNT_SCALE
from shared.dataset.schemas import KEYS, ROWS
from shared.dataset.statements import MAX_CHARS, words
from shared.errors import InvalidInput

if TYPE_CHECKING:
    from sqlglot import exp

UPDATED = ("products", "features", "prices", "groups", "relations", "media")
"""Tables whose values can change. Documents and passages stay as they were read: vectors and citations hang on them."""
DELETED = ("features", "prices", "relations", "media")
"""Tables whose rows can go: nothing refers to them."""
IDENTITY = frozenset({"document_id", "product_id", "article_number", "parameter_version"})

_NODES = words(
    "And Or Not Paren Neg Column Identifier Literal Null Boolean EQ NEQ GT GTE LT LTE Is In Between Like ILike "
    "Add Sub Mul Div DPipe Lower Upper Trim Round Coalesce"
)
_DIALECT = "postgres"  # quotes and operators as DataFusion reads them


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a column holds: its type in SQL, in words, and whether it may be NULL."""

    sql: str
    said: str
    empty: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What a statement changes.

    Args:
        where: which rows, as SQL.
        values: column → its new value as SQL; empty where the rows are deleted.
    """

    table: str
    where: str
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def count(self) -> str:
        """The query that counts the rows, without changing one."""
        return f'SELECT count(*) AS n FROM "{self.table}" WHERE {self.where}'  # noqa: S608  # of parsed parts

    @property
    def trial(self) -> str:
        """The query that computes the new values as their columns' types, and counts those that are not NULL, column by
        column; it fails where a value does not fit."""
        kinds = _kinds(self.table)
        values = ", ".join(
            f'count(CAST({value} AS {kinds[name].sql})) AS "{name}"' for name, value in self.values.items()
        )
        return f'SELECT {values} FROM "{self.table}" WHERE {self.where}'  # noqa: S608  # of parsed parts

    def require_fit(self, rows: int, counted: Sequence[Any] | None) -> None:
        """That each new value can be written.

        Args:
            rows: how many are changed.
            counted: the row that `trial` gave; None where it failed.

        Raises:
            InvalidInput: a column takes other values; says which ones each column takes.
        """
        kinds = _kinds(self.table)
        empty = [
            name for name, n in zip(self.values, counted or (), strict=False) if n != rows and not kinds[name].empty
        ]
        if counted is None or empty:
            said = ", ".join(f"{name} takes {kinds[name].said}" for name in empty or self.values)
            raise _refused(f"A new value does not fit its column: {said}.")


def change_of(statement: str) -> Change:
    """What the one changing statement would do.

    Raises:
        InvalidInput: it is no single UPDATE or DELETE with WHERE, or touches what cannot change.
    """
    tree = _parsed(statement)
    kind = type(tree).__name__
    given = {name for name, value in tree.args.items() if value}
    wanted = {"this", "where"} | ({"expressions"} if kind == "Update" else set())
    if kind not in {"Update", "Delete"} or given != wanted:
        raise _refused("Write one UPDATE … SET … WHERE … or DELETE FROM … WHERE … of one table, nothing else.")
    table = _table(tree.this, UPDATED if kind == "Update" else DELETED)
    where = _expression(tree.args["where"].this, table)
    return Change(table, where, _values(tree.expressions, table) if kind == "Update" else {})


def _parsed(statement: str) -> exp.Expression:
    import sqlglot
    from sqlglot.errors import SqlglotError

    if len(statement) > MAX_CHARS:
        raise _refused(f"The statement is longer than {MAX_CHARS} characters.")
    try:
        found = [tree for tree in sqlglot.parse(statement, read=_DIALECT) if tree is not None]
    except (SqlglotError, RecursionError, ValueError):
        raise _refused("The statement cannot be read as SQL.") from None
    if len(found) != 1 or "\0" in statement:
        raise _refused("Send one statement at a time.")
    return found[0]


def _table(node: Any, allowed: tuple[str, ...]) -> str:
    name = node.name if type(node).__name__ == "Table" else ""
    if name not in allowed or {key for key, value in node.args.items() if value} != {"this"}:
        raise _refused(f"This can change {', '.join(allowed)} only, each by its plain name.")
    return name


def _values(assignments: list[Any], table: str) -> dict[str, str]:
    values: dict[str, str] = {}
    fixed = IDENTITY.union(KEYS[table])
    for each in assignments:
        column = each.this.name if type(each).__name__ == "EQ" and type(each.this).__name__ == "Column" else ""
        if column not in _columns(table) - fixed or column in values:
            settable = ", ".join(sorted(_columns(table) - fixed))
            raise _refused(f"SET names columns of the table, each once, and none that identifies a row: {settable}.")
        values[column] = _expression(each.expression, table)
    return values


def _expression(node: Any, table: str) -> str:
    for part in node.walk():
        kind = type(part).__name__
        if kind not in _NODES or part.args.get("query"):
            raise _refused("Conditions and values are made of columns, literals, comparisons and arithmetic only.")
        if kind == "Column" and (part.table or part.name not in _columns(table)):
            raise _refused("A column is not one of this table: describe_dataset names them.")
    try:
        return f"({node.sql(_DIALECT, identify=True, comments=False)})"
    except RecursionError:
        raise _refused("The statement nests too deep: write it shorter.") from None


def _columns(table: str) -> frozenset[str]:
    return frozenset(ROWS[table].__dataclass_fields__)


@cache
def _kinds(table: str) -> dict[str, _Kind]:
    amount = f"DECIMAL({AMOUNT_DIGITS}, {AMOUNT_SCALE})"
    named = {int: ("BIGINT", "a whole number"), float: ("DOUBLE", "a number"), Decimal: (amount, "a number")}
    found = {}
    for name, hint in typing.get_type_hints(ROWS[table]).items():
        empty = isinstance(hint, types.UnionType)
        plain = next(part for part in typing.get_args(hint) if part is not type(None)) if empty else hint
        sql, said = named.get(plain, ("VARCHAR", "a text"))
        found[name] = _Kind(sql, f"{said} or NULL" if empty else f"{said}, not NULL", empty)
    return found


def _refused(text: str) -> InvalidInput:
    return InvalidInput(text, field="statement")
