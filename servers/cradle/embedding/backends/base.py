"""What a backend is, and what those share whose batches are texts of equal length."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from shared.encoder import same_alone

if TYPE_CHECKING:
    from shared.encoder import Ids, Vectors

    Both = tuple[Vectors, Vectors]
    Pending = Callable[[], Both]

CUDA_SIZES = (64, 128, 256, 512, 1024, 2112, 3168, 4224, 6336, 8448)
"""Tokens of a batch on a GPU, of which each has a CUDA graph: more of them where a token costs more. From 2,112 on they
are whole waves of products over the 132 multiprocessors of an H100 or H200; more than the last are hardly faster."""


class Backend(Protocol):
    """A loaded model. One thread starts batches, another one waits for them.

    Args:
        mixed: texts of different length may share a batch.
        in_flight: batches that are worth having started at once.
        lacks: what is missing on this machine for it to be as fast as it can be; empty: nothing.
    """

    name: str
    mixed: bool
    in_flight: int
    lacks: str

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """Begins a batch: the ids of n texts one behind the other, [tokens], and how many each has, [n].

        What comes back waits for it: pooled vectors and the same at length 1, [n, dimension] each. Either of the two
        raises whatever the library raises; the engine finds out which text it was.
        """
        ...

    def batched_equals_alone(self) -> bool:
        """Whether rows of a batch are the very bits that each gives alone, on this machine."""
        ...


class EqualLengths:
    """A backend that computes one batch at a time, of texts of equal length."""

    mixed = False
    in_flight = 1
    lacks = ""

    def run(self, ids: Ids) -> Both:
        """As `shared.encoder.Graph.run`."""
        raise NotImplementedError

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """See `Backend.start`."""
        both = self.run(ids.reshape(len(lengths), -1))
        return lambda: both

    def batched_equals_alone(self) -> bool:
        """See `Backend.batched_equals_alone`."""
        return same_alone(self.run)
