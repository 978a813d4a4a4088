"""The real device process on the real model, with faults that special ids set off."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from servers.cradle.embedding.backends.openvino import OpenVinoBackend
from servers.cradle.embedding.device import Spec, main

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids

POISON, FATAL, GREEDY, CRASH, HUGE, WIDE = 29_999, 29_998, 29_997, 29_996, 29_995, 29_994
SEGFAULT, KILLED, STUCK, LEAK = 29_993, 29_992, 29_991, 29_990
GREEDY_FIT = 3
BROKEN = "broken"
"""While a file of that name is in the model's folder, the device computes nothing."""


class FaultyBackend(OpenVinoBackend):
    """`POISON` among the ids fails the batch, `FATAL` breaks the device for good, `GREEDY` needs so much memory that
    a batch of `GREEDY_FIT` texts is the largest that fits, `HUGE` more than there is, `CRASH` and `SEGFAULT` end the
    process, `KILLED` has Linux end it, `STUCK` never ends, after `LEAK` no text has memory, `WIDE` makes all vectors of
    the batch twice as long."""

    dead = leaked = False
    broken = Path()

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        if (ids == CRASH).any():
            os._exit(3)
        for fault, sign in ((SEGFAULT, signal.SIGSEGV), (KILLED, signal.SIGKILL)):
            if (ids == fault).any():
                os.kill(os.getpid(), sign)
        if (ids == STUCK).any():
            threading.Event().wait()
        self.dead = self.dead or bool((ids == FATAL).any()) or self.broken.is_file()
        if self.dead or (ids == POISON).any():
            raise RuntimeError("the device says no")
        self.leaked = self.leaked or bool((ids == LEAK).any())
        if self.leaked or (ids == HUGE).any() or ((ids == GREEDY).any() and len(lengths) > GREEDY_FIT):
            raise MemoryError
        pending = super().start(ids, lengths)
        if (ids == WIDE).any():
            return lambda: tuple(np.tile(each, 2) for each in pending())  # pyright: ignore[reportReturnType]
        return pending


def load(spec: Spec) -> FaultyBackend:
    backend = FaultyBackend(Path(spec.folder), spec.threads)
    backend.broken = Path(spec.folder) / BROKEN
    return backend


if __name__ == "__main__":
    main(load)
