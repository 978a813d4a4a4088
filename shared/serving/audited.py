"""Tools that change something are in the audit log before they run, or do not run; the server is told after them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Protocol

from shared.auth import principal
from shared.errors import Unavailable
from shared.telemetry import event


class Log(Protocol):
    """What is used of `shared.audit.AuditLog`."""

    async def append(self, actor: str, verb: str, subject: str = "", customer: str | None = None) -> object: ...


def audited(fn: Callable[..., Any], name: str, log: Callable[[], Log]) -> Callable[..., Any]:
    """`fn`, which runs once its call is in the log. Keeps its signature: the SDK reads the schema from it.

    Raises:
        Unavailable: the log cannot be written; nothing was changed.
    """

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        await note(log(), f"{name}.called", kwargs.get("job_id", ""), kwargs.get("customer_id"))
        return await fn(*args, **kwargs)

    return call


def told_of(fn: Callable[..., Any], changed: Callable[[], None]) -> Callable[..., Any]:
    """`fn`, and after each of its calls, failed ones too, `changed`. Keeps its signature."""

    @functools.wraps(fn)
    async def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return await fn(*args, **kwargs)
        finally:
            changed()

    return call


async def note(log: Log, verb: str, subject: str = "", customer: str | None = None) -> None:
    """An entry for the caller, and for the customer that it names or acts for.

    Raises:
        Unavailable: it cannot be written, for whatever reason; the change must not happen.
    """
    caller = principal()
    try:
        await log.append(caller.subject, verb, subject, customer or caller.customer)
    except Exception as error:  # noqa: BLE001  a log with a defect is a log that is down
        event("audit_log_down", level=logging.ERROR, error=error, code=verb)
        raise Unavailable("The audit log cannot be written, so nothing was changed: try again later.") from None
