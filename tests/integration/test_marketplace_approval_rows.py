"""The rows of approvals: each condition under which one is decided on, used up and settled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from servers.marketplace.approvals.store import LISTED, WAITS_S, Approval, ApprovalStore, Bound, State
from servers.marketplace.catalogue.own import own_entries
from servers.marketplace.catalogue.store import CatalogueStore
from servers.marketplace.users.store import Customer, UserStore
from shared.ids import digest, new_handle
from shared.settings import Settings

ANNA, BEN = "usr_" + "a" * 26, "usr_" + "b" * 26
BOUND = Bound("io.0711/cradle", "apply_change", digest(b"arguments"), digest(b"pin"), digest(b"policy"))
OTHER = digest(b"another")


@dataclass(frozen=True)
class Rows:
    """The store, and a superuser beside it."""

    store: ApprovalStore
    superuser: Any

    async def asked(self) -> str:
        """The handle of what Anna asks for."""
        approval_id = new_handle("apr")
        await self.store.add("acme", approval_id, ANNA, BOUND, new_handle("chg"), 3)
        return approval_id

    async def approved(self) -> str:
        """The same, once Ben has approved it."""
        approval_id = await self.asked()
        assert await self.store.decide("acme", approval_id, BEN, approve=True) is not None
        return approval_id

    async def later(self, approval_id: str, seconds: float) -> None:
        """As if so much time had passed for it."""
        await self.superuser.execute(
            "UPDATE approvals SET expires_at = expires_at - make_interval(secs => $2) WHERE approval_id = $1",
            approval_id, seconds,
        )  # fmt: skip

    async def read(self, approval_id: str) -> Approval:
        """The row."""
        found = await self.store.of("acme", approval_id)
        assert found is not None
        return found


@pytest.fixture
async def rows(database: Any, postgres_server: Any, tmp_path: Path) -> AsyncIterator[Rows]:
    made = await database("servers.marketplace", "shared")
    for customer in ("acme", "bolt"):
        await UserStore(made.db).add_customer(Customer(customer, customer, f"it@{customer}.example", None), "platform")
    for entry in own_entries(Settings(home=tmp_path)):
        await CatalogueStore(made.db).put(entry, "marketplace")
    async with postgres_server.superuser(made.urls) as superuser:
        yield Rows(ApprovalStore(made.db), superuser)


@pytest.mark.requirement("A-08")
async def test_an_approval_is_used_up_by_who_asked_for_exactly_what_was_approved_once_and_in_time(rows: Rows) -> None:
    approval_id = await rows.approved()
    for wrong in (
        ("acme", approval_id, BEN, BOUND),
        ("bolt", approval_id, ANNA, BOUND),
        ("acme", new_handle("apr"), ANNA, BOUND),
        *(("acme", approval_id, ANNA, replace(BOUND, **{each: OTHER})) for each in ("arguments", "pin", "policy")),
    ):
        assert not await rows.store.dispatch(*wrong), wrong
    assert (await rows.read(approval_id)).state == "approved"
    assert await rows.store.dispatch("acme", approval_id, ANNA, BOUND)
    assert not await rows.store.dispatch("acme", approval_id, ANNA, BOUND), "once"
    waiting, late, denied = await rows.asked(), await rows.approved(), await rows.asked()
    await rows.later(late, WAITS_S)
    await rows.store.decide("acme", denied, BEN, approve=False)
    for each in (waiting, late, denied):
        assert not await rows.store.dispatch("acme", each, ANNA, BOUND), each


async def test_what_waits_is_decided_once_in_time_and_by_another_person_of_the_customer(rows: Rows) -> None:
    late, mine, theirs = [await rows.asked() for _ in range(3)]
    await rows.later(late, WAITS_S)
    for customer, approval_id, decider in (("acme", late, BEN), ("acme", mine, ANNA), ("bolt", theirs, BEN)):
        assert await rows.store.decide(customer, approval_id, decider, approve=True) is None
    assert await rows.store.of("bolt", theirs) is None
    assert [(await rows.read(each)).state for each in (late, mine, theirs)] == ["waiting"] * 3
    await rows.later(mine, WAITS_S - 30)
    decided = await rows.store.decide("acme", mine, BEN, approve=True)
    assert decided is not None
    assert (decided.state, decided.decided_by, decided.open) == ("approved", BEN, True)
    await rows.later(mine, WAITS_S - 30)
    assert (await rows.read(mine)).open, "the change has its own five minutes"
    assert await rows.store.decide("acme", mine, BEN, approve=False) is None, "decided once"
    refused = await rows.store.decide("acme", theirs, BEN, approve=False)
    assert refused is not None
    assert refused.state == "denied"


@pytest.mark.parametrize("state", ["applied", "refused", "unknown"])
async def test_only_what_was_dispatched_is_settled_and_then_it_stays_so(rows: Rows, state: State) -> None:
    approval_id = await rows.approved()
    await rows.store.settle("acme", approval_id, ANNA, state)
    assert (await rows.read(approval_id)).state == "approved"
    await rows.store.dispatch("acme", approval_id, ANNA, BOUND)
    await rows.store.settle("bolt", approval_id, ANNA, state)
    assert (await rows.read(approval_id)).state == "dispatched"
    await rows.store.settle("acme", approval_id, ANNA, state)
    await rows.store.settle("acme", approval_id, ANNA, "refused" if state == "applied" else "applied")
    assert (await rows.read(approval_id)).state == state


async def test_what_is_open_is_listed_oldest_first_in_pages_and_nothing_else_is(rows: Rows) -> None:
    asked = [await rows.asked() for _ in range(LISTED + 2)]
    approved, late, denied, used = await rows.approved(), await rows.asked(), await rows.asked(), await rows.approved()
    await rows.later(late, WAITS_S)
    await rows.store.decide("acme", denied, BEN, approve=False)
    await rows.store.dispatch("acme", used, ANNA, BOUND)
    first, following = await rows.store.open("acme")
    assert [each.approval_id for each in first] == asked[:LISTED]
    assert following == asked[LISTED - 1]
    rest, end = await rows.store.open("acme", following)
    assert ([each.approval_id for each in rest], end) == ([*asked[LISTED:], approved], None)
    waiting, _ = await rows.store.open("acme", following, ("waiting",))
    assert [each.approval_id for each in waiting] == asked[LISTED:]
    assert await rows.store.open("bolt") == ([], None)
