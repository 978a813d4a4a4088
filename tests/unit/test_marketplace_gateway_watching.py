"""A caller that hangs up is noticed, and a call that ends sooner costs no task."""

from __future__ import annotations

import asyncio
from typing import Any

from servers.marketplace.gateway.watching import MOMENT_S, Watches


class Caller:
    """A connection that its test hangs up."""

    def __init__(self) -> None:
        self.hangs_up = asyncio.Event()
        self.listened_to = asyncio.Event()
        self.asked = 0

    async def receive(self) -> dict[str, Any]:
        self.asked += 1
        self.listened_to.set()
        await self.hangs_up.wait()
        return {"type": "http.disconnect"}


async def test_a_caller_that_hangs_up_is_noticed_once_and_only_until_its_call_ends() -> None:
    watches, caller, other, gone = Watches(), Caller(), Caller(), asyncio.Queue[str]()
    ended = watches.begin(other.receive, lambda: gone.put_nowait("other"))
    watches.begin(caller.receive, lambda: gone.put_nowait("caller"))
    await asyncio.gather(caller.listened_to.wait(), other.listened_to.wait())
    watches.end(ended)
    other.hangs_up.set()
    caller.hangs_up.set()
    assert await gone.get() == "caller"  # the other one's task was the first, had it gone on
    await asyncio.sleep(3 * MOMENT_S)
    assert gone.empty()


async def test_a_call_that_ends_within_a_moment_is_never_listened_to_and_leaves_no_timer() -> None:
    watches, caller = Watches(), Caller()
    before = asyncio.all_tasks()
    watches.end(watches.begin(caller.receive, lambda: None))
    while watches._timer is not None:  # noqa: ASYNC110  # it tells nobody that it has passed
        await asyncio.sleep(MOMENT_S)
    assert caller.asked == 0
    assert asyncio.all_tasks() == before
    watches.begin(caller.receive, lambda: None)  # and the timer begins again
    await caller.listened_to.wait()
    assert caller.asked == 1
