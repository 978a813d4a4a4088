"""What a backend is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from shared.encoder import Ids, Vectors


class Backend(Protocol):
    """A loaded model. Called from one thread at a time."""

    name: str

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        """Pooled vectors and the same at length 1, [n, dimension] each, for ids [n, tokens] of n texts of equal length.

        Raises whatever its library raises; the engine finds out which text it was.
        """
        ...

    def batched_equals_alone(self) -> bool:
        """Whether rows of a batch are the very bits that each gives alone, on this machine."""
        ...
