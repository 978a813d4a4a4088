"""`0711 audit`: proves that no entry of the audit logs was changed, removed, moved or put in; shows the last ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC

from servers.local.platform import MIGRATIONS
from shared.audit import AuditEntry, AuditHead, AuditLog, AuditProof
from shared.errors import Conflict, InvalidInput
from shared.ids import DIGEST_PATTERN
from shared.postgres.database import Database
from shared.postgres.urls import database_urls
from shared.settings import Settings

LAST = 100
LOGS = [database for database, packages in MIGRATIONS.items() if "shared" in packages]


async def prove(settings: Settings, known: list[str]) -> tuple[list[str], bool]:
    """A line for each log, and whether all are whole.

    Args:
        known: heads that were noted earlier, as this command prints them: `database:number:digest`.

    Raises:
        InvalidInput: a head is not of that form.
        Unavailable: a database does not answer.
    """
    heads = dict(_head(each) for each in known)
    proofs = {name: await _prove(settings, name, heads.get(name)) for name in LOGS}
    return [_line(name, proof) for name, proof in proofs.items()], all(proof.whole for proof in proofs.values())


async def last(settings: Settings, number: int, customer: str | None = None) -> list[str]:
    """A line for each of the last entries of all logs together, or of a customer's, the newest at the end.

    Raises:
        Conflict: one was changed into something that cannot be read.
        Unavailable: a database does not answer.
    """
    from pydantic import ValidationError

    entries: list[tuple[AuditEntry, str]] = []
    for name in LOGS:
        async with _log(settings, name) as log:
            try:
                entries += [(entry, name) for entry in await log.newest(number, customer=customer)]
            except ValidationError:
                raise Conflict(f"{name}: an entry was changed and cannot be read. `0711 audit` says which.") from None
    entries.sort(key=lambda each: (each[0].at, each[1], each[0].number))
    return [_told(entry, name) for entry, name in entries[-number:]]


async def _prove(settings: Settings, name: str, head: AuditHead | None) -> AuditProof:
    async with _log(settings, name) as log:
        return await log.verify(head)


@asynccontextmanager
async def _log(settings: Settings, name: str) -> AsyncIterator[AuditLog]:
    async with Database(database_urls(settings, name).app) as database:
        yield AuditLog(database)


def _told(entry: AuditEntry, name: str) -> str:
    at = entry.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = [f"customer={entry.customer_id}"] if entry.customer_id else []
    named += [f"subject={entry.subject}"] if entry.subject else []
    named += [f"{key}={value}" for key, value in sorted(entry.detail.items())]
    return " ".join([at, f"{name}:{entry.number}", entry.actor, entry.verb, *named])


def _line(name: str, proof: AuditProof) -> str:
    if proof.whole:
        return f"{name}: {proof.entries} entries, whole. Head {name}:{proof.head.number}:{proof.head.digest}"
    return f"{name}: BROKEN at entry {proof.broken_at}. {proof.reason} OPERATIONS.md says what to do."


def _head(text: str) -> tuple[str, AuditHead]:
    import re

    name, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    if name not in LOGS or not number.isdecimal() or not re.fullmatch(DIGEST_PATTERN, digest):
        raise InvalidInput("A head looks like database:number:sha256:… as `0711 audit` prints it.", field="head")
    return name, AuditHead(number=int(number), digest=digest)
