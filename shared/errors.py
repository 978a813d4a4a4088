"""The one tree of errors.

    PlatformError
    ├── InvalidInput        what the caller sent cannot be used; says which field and which limit
    │   ├── TooLarge        over a stated bound
    │   └── NotAcceptable   asked for in a form that is not offered
    ├── Unauthenticated     no valid token
    ├── Forbidden           a valid token without the scope or role
    ├── NotFound            unknown, or not this caller's (the two look alike on purpose)
    ├── Conflict            the same key with another body, or a state that does not allow it
    │   └── ParameterDrift  what would be computed now differs from the installation
    ├── Overloaded          try again after `retry_after` seconds
    ├── Unavailable         a part that the call needs does not answer; retryable
    ├── DeadlineExceeded    not finished in the time that the caller gave; retryable
    ├── StorageFull         a disk or bucket has no room
    └── Internal            a defect of the platform; the text says nothing about it

Every `message` is a sentence for the person or agent that called: it says what to do and never holds customer content
(no file name, no text of a document, no query). `shared.serving` is the only place that turns these into a protocol.
"""

from __future__ import annotations

from typing import ClassVar

META = "0711/error"
"""Under this name an error's wire form travels in `_meta`, in the `data` of JSON-RPC and in answers of OAuth."""


class PlatformError(Exception):
    """Base of every error the platform raises on purpose.

    Args:
        message: one safe sentence; see the module's text.
        field: the input that is wrong, where there is one.
        retry_after: seconds after which the same call may succeed.
    """

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, field: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after = retry_after

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.field, self.retry_after))

    def as_dict(self) -> dict[str, object]:
        """The wire form, shared by REST bodies and the `_meta` of an MCP tool error."""
        body: dict[str, object] = {"code": self.code, "message": self.message, "retryable": self.retryable}
        if self.field is not None:
            body["field"] = self.field
        if self.retry_after is not None:
            body["retry_after"] = self.retry_after
        return body


class InvalidInput(PlatformError):
    code, status = "invalid_input", 400


class TooLarge(InvalidInput):
    code, status = "too_large", 413


class NotAcceptable(InvalidInput):
    code, status = "not_acceptable", 406


class Unauthenticated(PlatformError):
    code, status = "unauthenticated", 401


class Forbidden(PlatformError):
    code, status = "forbidden", 403


class NotFound(PlatformError):
    code, status = "not_found", 404


class Conflict(PlatformError):
    code, status = "conflict", 409


class ParameterDrift(Conflict):
    code = "parameter_drift"


class Overloaded(PlatformError):
    code, status, retryable = "overloaded", 429, True


class Unavailable(PlatformError):
    code, status, retryable = "unavailable", 503, True


class DeadlineExceeded(PlatformError):
    code, status, retryable = "deadline_exceeded", 504, True


class StorageFull(PlatformError):
    code, status, retryable = "storage_full", 507, True


class Internal(PlatformError):
    """A defect. The message is fixed so that nothing internal can leak through it."""

    def __init__(
        self,
        message: str = "The platform failed on this call. Its log has the details.",
        *,
        field: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, field=field, retry_after=retry_after)


def _rebuild(kind: type[PlatformError], message: str, field: str | None, retry_after: float | None) -> PlatformError:
    return kind(message, field=field, retry_after=retry_after)


def _tree(root: type[PlatformError]) -> dict[str, type[PlatformError]]:
    """Code → the class that defines it; a subclass that inherits its code has no wire form of its own."""
    found = {root.code: root} if "code" in vars(root) else {}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


def from_dict(body: dict[str, object]) -> PlatformError:
    """The error that `as_dict` described, as the same class, on the other side of a wire."""
    kind = _tree(PlatformError).get(str(body.get("code")), Internal)
    if kind is PlatformError:
        kind = Internal
    retry_after = body.get("retry_after")
    field = body.get("field")
    return kind(
        str(body.get("message", "")) or "The call failed.",
        field=str(field) if field is not None else None,
        retry_after=float(retry_after) if isinstance(retry_after, int | float) else None,
    )
