"""How a marketplace keeps passwords."""

from __future__ import annotations

from contextlib import closing

import pytest

from servers.marketplace.users.secrets import Passwords

pytestmark = pytest.mark.usefixtures("costly_hashes")
WORDS = "vier Leuchten am Tor"


async def test_a_password_is_hashed_by_argon2id_at_the_cost_that_rfc_9106_recommends_where_memory_is_scarce() -> None:
    """The second of its two: three passes over 64 MiB in four lanes (section 4)."""
    with closing(Passwords()) as passwords:
        stored = await passwords.hash(WORDS)
        assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert await passwords.matches(stored, WORDS)
        assert not await passwords.matches(stored, WORDS + " ")
        assert not await passwords.matches(None, WORDS)
