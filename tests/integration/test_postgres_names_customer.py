"""Whether anything in a database names a customer: what decides whether there is somebody to erase or to bring back."""

from __future__ import annotations

from typing import Any

import pytest

from servers.marketplace.users.store import Customer, UserStore
from shared.audit import AuditLog
from shared.postgres.erasure import erase_rows, names_customer


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
    assert await erase_rows(postgres_server.superuser_url, name, "acme") == 1
    assert await named("acme") == (True, False), "that it was registered stays in the log"
