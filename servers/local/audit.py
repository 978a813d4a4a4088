"""`0711 audit`: proves that no entry of the audit logs was changed, removed, moved or put in."""

from __future__ import annotations

from servers.local.platform import MIGRATIONS
from shared.audit import AuditHead, AuditLog, AuditProof
from shared.errors import InvalidInput
from shared.ids import DIGEST_PATTERN
from shared.postgres.database import Database
from shared.postgres.urls import database_urls
from shared.settings import Settings

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


async def _prove(settings: Settings, name: str, head: AuditHead | None) -> AuditProof:
    database = Database(database_urls(settings, name).app)
    await database.open()
    try:
        return await AuditLog(database).verify(head)
    finally:
        await database.close()


def _line(name: str, proof: AuditProof) -> str:
    if proof.whole:
        return f"{name}: {proof.entries} entries, whole. Head {name}:{proof.head.number}:{proof.head.digest}"
    return f"{name}: BROKEN at entry {proof.broken_at}. {proof.reason}"


def _head(text: str) -> tuple[str, AuditHead]:
    import re

    name, _, rest = text.partition(":")
    number, _, digest = rest.partition(":")
    if name not in LOGS or not number.isdecimal() or not re.fullmatch(DIGEST_PATTERN, digest):
        raise InvalidInput("A head looks like database:number:sha256:… as `0711 audit` prints it.", field="head")
    return name, AuditHead(number=int(number), digest=digest)
