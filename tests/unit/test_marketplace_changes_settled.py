"""What a caller learns of a change where the outcome cannot be recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from servers.marketplace.approvals import database
from servers.marketplace.approvals.database import CustomerDatabase
from shared.auth import Principal, acting_as
from shared.errors import Conflict, DeadlineExceeded, PlatformError, Unavailable
from shared.ids import digest

SERVED = {"version": 2, "dataset_digest": digest(b"2"), "current": True}


class Away:
    """A store that goes away once the change is dispatched."""

    async def dispatch(self, *_: Any) -> bool:
        return True

    async def settle(self, *_: Any) -> None:
        raise Unavailable("The database cannot be reached. Try again.", retry_after=1.0)


class Changing(CustomerDatabase):
    """A change that comes out like this."""

    def __init__(self, outcome: PlatformError | None) -> None:
        self._store: Any = Away()
        self._outcome = outcome

    async def _known(self, customer: str, approval_id: str) -> Any:
        return SimpleNamespace(bound=SimpleNamespace(server_name="s"), change_id="chg_1", rows=1)

    async def _bound(self, caller: Principal, server_name: str | None, statement: str) -> Any:
        return SimpleNamespace(), None

    async def _call(self, route: Any, tool: str, arguments: Any, deadline_s: float = 15.0) -> Any:
        if self._outcome is not None:
            raise self._outcome
        return {}


async def made(monkeypatch: pytest.MonkeyPatch, outcome: PlatformError | None) -> str:
    answer = SimpleNamespace(versions=[SimpleNamespace(**SERVED)])
    monkeypatch.setattr(database, "_writing", lambda route: route)
    monkeypatch.setattr(database, "DatasetVersions", SimpleNamespace(model_validate=lambda _: answer))
    caller = Principal("usr_a", "customer_admin", frozenset(), "acme", "key", 9e9)
    with acting_as(caller):
        return await Changing(outcome).make(caller, None, "UPDATE t SET a = 1", "apr_1")


@pytest.mark.requirement("A-08")
async def test_a_change_that_was_made_is_told_although_it_cannot_be_recorded(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert await made(monkeypatch, None) == SERVED["dataset_digest"]
    assert "change_unsettled" in [record.getMessage() for record in caplog.records]


@pytest.mark.requirement("A-08")
async def test_an_outcome_that_cannot_be_recorded_is_still_the_one_that_the_caller_learns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Unavailable, match="What came of the change is not known"):
        await made(monkeypatch, DeadlineExceeded("Too late."))
    with pytest.raises(Conflict, match="changed meanwhile"):
        await made(monkeypatch, Conflict("The data has changed meanwhile."))
