"""The real device process on the real model, with faults that special ids set off."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from servers.cradle.embedding.backends.openvino import OpenVinoBackend
from servers.cradle.embedding.device import Spec, main

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids

POISON, FATAL, GREEDY, CRASH, HUGE, WIDE = 29_999, 29_998, 29_997, 29_996, 29_995, 29_994
GREEDY_FIT = 3


class FaultyBackend(OpenVinoBackend):
    """`POISON` among the ids fails the batch, `FATAL` breaks the device for good, `GREEDY` needs so much memory that
    a batch of `GREEDY_FIT` texts is the largest that fits, `HUGE` more than there is, `CRASH` ends the process,
    `WIDE` makes all vectors of the batch twice as long."""

    dead = False

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        if (ids == CRASH).any():
            os._exit(3)
        self.dead = self.dead or bool((ids == FATAL).any())
        if self.dead or (ids == POISON).any():
            raise RuntimeError("the device says no")
        if (ids == HUGE).any() or ((ids == GREEDY).any() and len(lengths) > GREEDY_FIT):
            raise MemoryError
        pending = super().start(ids, lengths)
        if (ids == WIDE).any():
            return lambda: tuple(np.tile(each, 2) for each in pending())  # pyright: ignore[reportReturnType]
        return pending


def load(spec: Spec) -> FaultyBackend:
    return FaultyBackend(Path(spec.folder), spec.threads)


if __name__ == "__main__":
    main(load)
