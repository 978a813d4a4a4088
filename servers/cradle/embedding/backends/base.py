"""What a backend is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.encoder import Ids, Vectors

    Both = tuple[Vectors, Vectors]
    Pending = Callable[[], Both]


class Backend(Protocol):
    """A loaded model. Called from one thread.

    Args:
        mixed: texts of different length may share a batch.
        in_flight: batches that are worth having started at once.
    """

    name: str
    mixed: bool
    in_flight: int

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """Begins a batch: the ids of n texts one behind the other, [tokens], and how many each has, [n].

        What comes back waits for it: pooled vectors and the same at length 1, [n, dimension] each. Either of the two
        raises whatever the library raises; the engine finds out which text it was.
        """
        ...

    def batched_equals_alone(self) -> bool:
        """Whether rows of a batch are the very bits that each gives alone, on this machine."""
        ...
