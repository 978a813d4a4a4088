"""Answers leave in one piece, in order, and what is held goes out before the connection closes."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.serving.joined import Joined


class Wire:
    """What reaches the system."""

    def __init__(self) -> None:
        self.seen: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.seen.append(data)

    def close(self) -> None:
        self.seen.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.seen


async def test_what_is_written_in_one_step_is_sent_at_once_and_nothing_is_held_back_at_the_end() -> None:
    wire: Any = Wire()
    joined = Joined(wire)
    joined.write(b"head ")
    joined.write(b"body")
    assert wire.seen == []
    await asyncio.sleep(0)
    assert wire.seen == [b"head body"]
    joined.write(b"more")
    await asyncio.sleep(0)
    joined.write(b"last")
    joined.close()
    await asyncio.sleep(0)
    assert wire.seen == [b"head body", b"more", b"last", "closed"]
    assert joined.is_closing()
