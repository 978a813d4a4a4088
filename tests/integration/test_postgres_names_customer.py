"""Whether anything in a database names a customer: what decides whether there is somebody to erase or to bring back."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servers.marketplace.users.store import Customer, UserStore
from servers.orchestrator.store import JobStore
from shared.audit import AuditLog
from shared.errors import Conflict
from shared.postgres.connection import connected
from shared.postgres.erasure import erase_rows, names_customer
from shared.postgres.returning import _require_idle
from tests.orchestrator_rig import put_customer, put_job
from tests.serving_rig import HEARS_S


@pytest.mark.requirement("Z-04")
async def test_a_customer_is_named_by_its_rows_and_by_what_the_log_says_was_done(
    database: Any, postgres_server: Any
) -> None:
    made = await database("servers.marketplace", "shared")
    name = made.urls.owner.rpartition("/")[2]

    async def named(customer: str) -> tuple[bool, bool]:
        """With the audit log, and without."""
        about = postgres_server.superuser_url, name, customer
        return await names_customer(*about), await names_customer(*about, audited=False)

    assert await named("acme") == (False, False)
    await AuditLog(made.db).append(
        "usr_a", "disable_user.called", "", "acme"
    )  # before it is known whether there is one
    assert await named("acme") == (False, False)
    await UserStore(made.db).add_customer(Customer("acme", "Acme GmbH", "it@acme.example", None), "usr_a")
    assert await named("acme") == (True, True)
    assert await named("acm") == await named("acme-2") == (False, False)
    told = asyncio.Event()
    async with connected(made.urls.owner) as listening:
        await listening.add_listener("registry", lambda *_: told.set())
        assert await erase_rows(postgres_server.superuser_url, name, "acme") == 1
        async with asyncio.timeout(HEARS_S):
            await told.wait()  # a gateway has dropped the routes of who was erased
    assert await named("acme") == (True, False), "that it was registered stays in the log"


@pytest.mark.requirement("Z-04")
async def test_whose_job_has_not_ended_is_neither_erased_nor_brought_back(database: Any, postgres_server: Any) -> None:
    made = await database("servers.orchestrator", "shared")
    name = made.urls.owner.rpartition("/")[2]
    await put_customer(JobStore(made.db), "acme")
    await put_job(JobStore(made.db), "acme", "build")

    async def refused() -> list[bool]:
        async with connected(postgres_server.superuser_url, name) as target, target.transaction():
            found = []
            for doing in (_require_idle(target, "acme"), erase_rows(postgres_server.superuser_url, name, "acme")):
                try:
                    await doing
                    found.append(False)
                except Conflict as error:
                    found.append("has not ended" in error.message)
            return found

    for state in ("queued", "running", "waiting"):
        async with postgres_server.superuser(made.urls) as superuser:
            await superuser.execute("UPDATE jobs SET state = $1", state)
        assert await refused() == [True, True], state
    async with postgres_server.superuser(made.urls) as superuser:
        await superuser.execute("UPDATE jobs SET state = 'cancelled'")
    assert await refused() == [False, False]
