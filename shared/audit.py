"""The audit log: who did what to which thing, append-only, each entry bound to the one before by a digest.

An entry holds ids, digests, counts and verbs; its patterns leave no room for a sentence, a file name or a query. It is
written before or together with the change that it tells of, so a change that cannot be audited does not happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import orjson
from pydantic import Field, StringConstraints, ValidationError

from shared.contracts.model import Contract
from shared.errors import InvalidInput
from shared.ids import CustomerId, Digest, canonical_digest

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

START = "sha256:" + "0" * 64  # what the first entry follows
PAGE = 1000

Actor = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:._/-]{1,200}$")]
Verb = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,79}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:._/-]{0,200}$")]
Said = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:._/+-]{0,200}$")]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")]


class AuditEntry(Contract):
    """One entry. `digest` covers every other field, `previous` among them."""

    number: int = Field(ge=1)
    at: datetime
    actor: Actor
    verb: Verb
    customer_id: CustomerId | None
    subject: Name
    detail: dict[Key, Said | int | bool] = Field(max_length=20)
    previous: Digest
    digest: Digest

    def computed(self) -> Digest:
        """The digest that the other fields give."""
        fields = self.model_dump(mode="json", exclude={"digest", "at"})
        return canonical_digest({**fields, "at": self.at.astimezone(UTC).isoformat(timespec="microseconds")})

    def following(self, last: Mapping[str, Any] | None) -> AuditEntry:
        """This entry as the next one after `last` (`number` and `digest`), or as the first."""
        number, previous = (last["number"] + 1, last["digest"]) if last else (1, START)
        placed = self.model_copy(update={"number": number, "previous": previous})
        return placed.model_copy(update={"digest": placed.computed()})


class AuditHead(Contract):
    """The newest entry: kept elsewhere, it lets `verify` find that entries at the end were removed."""

    number: int = Field(ge=0)
    digest: Digest


class AuditProof(Contract):
    """What `verify` found. `broken_at`: the first entry that does not fit; None when the chain is whole."""

    entries: int = Field(ge=0)
    head: AuditHead
    broken_at: int | None = None
    reason: str = ""

    @property
    def whole(self) -> bool:
        """True when no entry was changed, removed, moved or put in."""
        return self.broken_at is None


class Sessions(Protocol):
    """What is used of `shared.postgres.database.Database`."""

    def session(self, customer: str | None = None, *, platform: bool = False) -> AbstractAsyncContextManager[Any]: ...


class AuditLog:
    """The log in one database; each database of the platform that keeps one has its own chain.

    Args:
        database: opened by the caller; the package `shared` is migrated in it.
    """

    def __init__(self, database: Sessions) -> None:
        self._database = database

    async def append(
        self,
        actor: str,
        verb: str,
        subject: str = "",
        customer: str | None = None,
        detail: Mapping[str, str | int | bool] | None = None,
    ) -> AuditEntry:
        """Writes an entry in its own transaction. Call it before the change that it tells of.

        Args:
            actor: the subject of the caller's token.
            verb: what is done, such as `installation.saved`.
            subject: the id or digest of what it is done to.
            customer: whose thing it is.
            detail: further ids, digests and counts.

        Raises:
            InvalidInput: a value that is no id, digest or number.
            Unavailable: the log cannot be written; the change must not happen.
        """
        async with self._database.session() as connection:
            return await self.append_in(connection, actor, verb, subject, customer, detail)

    async def append_in(
        self,
        connection: Any,
        actor: str,
        verb: str,
        subject: str,
        customer: str | None = None,
        detail: Mapping[str, str | int | bool] | None = None,
    ) -> AuditEntry:
        """As `append`, in the caller's transaction on the same database: entry and change happen both or not at all."""
        draft = _draft(actor, verb, subject, customer, dict(detail or {}))  # refused before the transaction is touched
        before = await _queries().platform_setting(connection)
        await _queries().enter_platform(connection)
        await _queries().lock_audit(connection)
        entry = draft.following(await _queries().last_entry(connection))
        fields = entry.model_dump(exclude={"detail"})
        await _queries().add_entry(connection, **fields, detail=orjson.dumps(entry.detail).decode())
        await _queries().leave_platform(connection, before=before)
        return entry

    async def newest(
        self, limit: int = 100, before: int | None = None, customer: str | None = None
    ) -> list[AuditEntry]:
        """Entries, newest first: a customer's own, or all of them where no customer is given.

        Args:
            before: only entries with a smaller number, to read on.
        """
        async with self._database.session(customer, platform=customer is None) as connection:
            rows = _queries().entries_before(connection, number=before or 2**62, limit=limit)
            return [_read(row) async for row in rows]

    async def verify(self, known: AuditHead | None = None) -> AuditProof:
        """Walks the whole chain.

        Args:
            known: a head that was noted earlier; the chain must still contain it.
        """
        number, previous = 0, START
        while True:
            async with self._database.session(platform=True) as connection:
                page = [row async for row in _queries().entries_after(connection, number=number, limit=PAGE)]
            for row in page:
                reason = _broken(row, number, previous, known)
                if reason:
                    return _proof(number, previous, row["number"], reason)
                number, previous = row["number"], row["digest"]
            if len(page) < PAGE:
                break
        if known is not None and known.number > number:
            return _proof(number, previous, number + 1, "Entries at the end are missing.")
        return _proof(number, previous, None, "")


def _draft(actor: str, verb: str, subject: str, customer: str | None, detail: dict[str, Any]) -> AuditEntry:
    try:
        return AuditEntry(
            number=1, at=datetime.now(UTC), actor=actor, verb=verb, customer_id=customer, subject=subject,
            detail=detail, previous=START, digest=START,
        )  # fmt: skip
    except ValidationError as error:
        field = str(error.errors(include_input=False)[0]["loc"][0])
        raise InvalidInput("An audit entry holds ids, digests, numbers and verbs only.", field=field) from None


def _read(row: Any) -> AuditEntry:
    return AuditEntry.model_validate({**dict(row), "detail": orjson.loads(row["detail"])})


def _broken(row: Any, number: int, previous: str, known: AuditHead | None) -> str:
    if row["number"] != number + 1:
        return "An entry before this one is missing."
    if row["previous"] != previous:
        return "It does not follow the entry before it."
    try:
        computed = _read(row).computed()
    except (ValidationError, ValueError):
        return "It was changed into something that cannot be read."
    if computed != row["digest"]:
        return "It was changed after it was written."
    if known is not None and known.number == row["number"] and known.digest != row["digest"]:
        return "It is not the entry that was noted earlier."
    return ""


def _proof(number: int, digest: str, broken_at: int | None, reason: str) -> AuditProof:
    return AuditProof(entries=number, head=AuditHead(number=number, digest=digest), broken_at=broken_at, reason=reason)


@cache
def _queries() -> Any:
    from shared.postgres.queries import load_queries

    return load_queries("shared", "audit.sql")
