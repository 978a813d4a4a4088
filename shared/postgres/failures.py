"""What a failure of Postgres means for the caller. No message repeats a value, a statement or a detail."""

from __future__ import annotations

import logging
import socket

import asyncpg

from shared.certificates import fault
from shared.errors import (
    Conflict,
    DeadlineExceeded,
    Forbidden,
    Internal,
    InvalidInput,
    Overloaded,
    PlatformError,
    StorageFull,
    Unavailable,
)

log = logging.getLogger(__name__)

RETRY_AFTER_S = 1.0
_GONE = "The database does not answer. Try again in a moment."

# SQLSTATEs or their classes → error, sentence, seconds; the first that fits counts
MEANINGS: tuple[tuple[frozenset[str], type[PlatformError], str, float | None], ...] = (
    (frozenset({"23505", "23P01"}), Conflict, "This exists already with other content.", None),
    (
        frozenset({"23503"}),
        Conflict,
        "This refers to something that does not exist, or something still refers to it.",
        None,
    ),
    (frozenset({"23001"}), Conflict, "This is kept as it is: it can neither be changed nor deleted.", None),
    (frozenset({"22", "23"}), InvalidInput, "A value is outside of what the database accepts.", None),
    (frozenset({"42501"}), Forbidden, "The database refuses this: it belongs to another customer or role.", None),
    (frozenset({"40"}), Unavailable, "Another change came in between. Try again.", 0.1),
    (frozenset({"57014", "55P03", "25P03"}), DeadlineExceeded, "The database did not finish in time. Try again.", None),
    (
        frozenset({"53300"}),
        Overloaded,
        "Postgres has no free connection (max_connections). Try again.",
        RETRY_AFTER_S,
    ),
    (frozenset({"53100"}), StorageFull, "The database has no room left. Free some space and try again.", None),
    (frozenset({"53", "08", "57"}), Unavailable, _GONE, RETRY_AFTER_S),
    (
        frozenset({"28", "3D"}),
        Unavailable,
        "The database refuses this credential. `0711 up` sets the databases up again; where it says this itself, look"
        " at P0711_POSTGRES_URL, or put postgres/superuser of the home folder back from a backup.",
        None,
    ),
)


def translated(error: BaseException) -> PlatformError:
    """The platform's error for an error of asyncpg or of the connection. A `PlatformError` is returned as it is."""
    if isinstance(error, PlatformError):
        return error
    if isinstance(error, asyncpg.PostgresError):
        return _of_state(error)
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("The database did not answer in time. Try again.")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return InvalidInput(_refused(error))
    if isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError | OSError):
        return Unavailable(_not_reached(error), retry_after=RETRY_AFTER_S)
    log.error("a statement failed with %s", type(error).__name__)
    return Internal()


def _refused(error: BaseException) -> str:
    if isinstance(error, asyncpg.exceptions.ClientConfigurationError):  # its text may hold the address
        return (
            "The address of Postgres cannot be used. Look at P0711_POSTGRES_URL: its scheme, sslmode, and"
            " with verify-full the file that sslrootcert names."
        )
    return "A value does not fit its column."  # asyncpg.DataError: its text repeats the value


def _not_reached(error: BaseException) -> str:
    if (wrong := fault(error)) is not None:
        return f"The TLS certificate of Postgres {wrong}."
    if isinstance(error, socket.gaierror):
        return "The name of the database's server has no address here. Look at P0711_POSTGRES_URL, or try again."
    if isinstance(error, FileNotFoundError):
        return "A file that the address of Postgres names is not there: look at sslrootcert in P0711_POSTGRES_URL."
    return _GONE


def sqlstate(error: asyncpg.PostgresError) -> str:
    """The five characters that name an error of Postgres (its manual, appendix A)."""
    return str(getattr(error, "sqlstate", None) or "")


def _of_state(error: asyncpg.PostgresError) -> PlatformError:
    state = sqlstate(error)
    constraint = getattr(error, "constraint_name", None)
    for codes, kind, sentence, retry_after in MEANINGS:
        if state in codes or state[:2] in codes:
            field = constraint if issubclass(kind, Conflict | InvalidInput) else None
            return kind(sentence, field=field, retry_after=retry_after)
    log.error("a statement failed with SQLSTATE %s", state)
    return Internal()
