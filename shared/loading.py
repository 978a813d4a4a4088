"""While a server starts. The collector of cycles rests: what is loaded stays, and looking for garbage in it takes an
eighth of the start. SIGTERM ends it at once: there is nothing to drain, and the kernel keeps the signal from the first
process of a container unless that handles it."""

from __future__ import annotations

import gc
import os
import signal


def loading() -> None:
    """Let the collector rest until `loaded`, and SIGTERM end the process until its server handles it."""
    gc.disable()
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))


def loaded() -> None:
    """Let the collector pass by what was loaded so far from now on: a walk through it stops all calls.

    There is no last walk before: it takes up to 0.3 s of the start, and finds 2,000 of 200,000 objects.
    """
    gc.freeze()
    gc.enable()
