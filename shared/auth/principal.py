"""The caller of the current call. Comes from the token alone; no argument of a tool or route can change it."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from shared.errors import Forbidden, PlatformError, Unauthenticated

CUSTOMER_ROLES = frozenset({"customer_admin", "customer_user"})
"""Of one customer's own people."""
ROLES = CUSTOMER_ROLES | {"platform_admin", "partner_admin", "service"}


@dataclass(frozen=True, slots=True)
class Principal:
    """What a verified token says.

    Args:
        subject: a user's or a service's id.
        scopes: what it may do here.
        customer: the customer that it acts for; None: for none.
        client_id: the key, service or login that asked for the token.
        expires_at: seconds since the epoch.
    """

    subject: str
    role: str
    scopes: frozenset[str]
    customer: str | None
    client_id: str
    expires_at: float


_current: ContextVar[Principal | PlatformError | None] = ContextVar("principal", default=None)


class acting_as:  # a generator would take three times as long, at each request
    """Everything inside runs for `caller`. An error instead is raised to the first that asks who is calling."""

    __slots__ = ("_caller", "_token")

    def __init__(self, caller: Principal | PlatformError | None) -> None:
        self._caller = caller

    def __enter__(self) -> None:
        self._token = _current.set(self._caller)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


def principal() -> Principal:
    """The current call's caller.

    Raises:
        Unauthenticated: there is none.
        PlatformError: the caller's identity could not be had; the error says why.
    """
    caller = _current.get()
    if isinstance(caller, PlatformError):
        raise caller
    if caller is None:
        raise Unauthenticated("This call has no caller: send a token.")
    return caller


def require(scope: str) -> Principal:
    """The caller, if it has `scope`.

    Raises:
        Forbidden: it has not.
    """
    caller = principal()
    if scope not in caller.scopes:
        raise lacking(scope)
    return caller


def lacking(scope: str) -> Forbidden:
    """What a caller whose token has not this scope is told; its role may have none to ask for."""
    return Forbidden(
        f"This needs the scope {scope}: ask for a token that has it, or somebody else where your role has none.",
        field="scope",
    )


def require_customer() -> str:
    """The id of the customer that the caller acts for.

    Raises:
        Forbidden: the token names no customer.
    """
    customer = principal().customer
    if customer is None:
        raise Forbidden(
            "This needs a token for one customer: ask for a token with `customer`, or name one where the program is let"
            " in.",
            field="customer",
        )
    return customer
