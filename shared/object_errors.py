"""What the object stores' clients raise, as errors of the platform: their classes are those of three libraries."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from shared.certificates import fault
from shared.errors import Internal, InvalidInput, NotFound, PlatformError, StorageFull, Unavailable
from shared.room import says_full

RETRY_AFTER_S = 2.0
NO_ANSWER = "The object store does not answer as it should. Try again."
_REFUSED = "The object store refuses the platform's credential. Check P0711_S3_ACCESS_KEY and its rights."
# names of errors of obstore, minio and urllib3 → what they mean
_MEANINGS: tuple[tuple[frozenset[str], type[PlatformError], str], ...] = (
    (frozenset({"NotFoundError", "FileNotFoundError", "NoSuchBucket"}), NotFound, "There is no such object."),
    (frozenset({"PermissionDeniedError", "UnauthenticatedError", "AccessDenied"}), Unavailable, _REFUSED),
    (
        frozenset({"InvalidPathError", "ValueError", "NotSupportedError"}),
        InvalidInput,
        "The object store does not take this key.",
    ),
    (
        frozenset(
            {
                "GenericError",
                "JoinError",
                "MaxRetryError",
                "HTTPError",
                "S3Error",
                "ServerError",
                "InvalidResponseError",
            }
        ),
        Unavailable,
        NO_ANSWER,
    ),
)


class Replaced(Unavailable):
    """The object is another one than it was when its reading began."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Errors of the stores as the platform's; no message names a key."""
    try:
        yield
    except PlatformError:
        raise
    except Exception as error:  # noqa: BLE001  the clients raise classes of three libraries
        raise _meaning(error) from None


def _meaning(error: Exception) -> PlatformError:
    if says_full(error):
        return StorageFull("The object store has no room. Free some space and try again.")
    if (wrong := fault(error)) is not None:
        return Unavailable(f"The TLS certificate of the object store {wrong}.")
    if "403 Forbidden" in str(error):  # obstore has no class of its own for a list that is refused
        return Unavailable(_REFUSED, retry_after=RETRY_AFTER_S)
    names = {type(error).__name__, str(getattr(error, "code", ""))}
    for known, kind, sentence in _MEANINGS:
        if names & known:
            return kind(sentence, retry_after=RETRY_AFTER_S if kind.retryable else None)
    return of_os(error) if isinstance(error, OSError) else Internal()


def of_os(error: OSError) -> PlatformError:
    """A folder's error."""
    if says_full(error):
        return StorageFull("The object store has no room. Free some space and try again.")
    return Unavailable("The object store's folder cannot be used. Check who owns it and its rights.")
