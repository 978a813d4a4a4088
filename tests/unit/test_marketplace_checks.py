"""The checks that are due, whatever happens to one of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servers.marketplace.gateway.checks import Checks
from servers.marketplace.workers.worker import Worker
from shared.settings import Settings
from tests.serving_rig import HANGS_S


async def test_whatever_goes_wrong_as_a_due_check_is_looked_for_the_next_one_is_found(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked: asyncio.Queue[int] = asyncio.Queue()

    class Failing:
        async def claim_due(self) -> None:
            asked.put_nowait(asked.qsize())
            raise KeyError("secret of acme")

    unused: Any = None
    checks = Checks(Settings(), unused, unused, Failing(), unused, unused, unused, Worker())  # pyright: ignore
    async with checks.in_background():
        for _ in range(2):
            checks.wake()
            await asyncio.wait_for(asked.get(), HANGS_S)
    assert "checks_paused" in [record.getMessage() for record in caplog.records]
