"""The collector of cycles while a server starts: what is loaded stays, and looking for garbage in it takes an eighth of
the start."""

from __future__ import annotations

import gc


def loading() -> None:
    """Let the collector rest until `loaded`."""
    gc.disable()


def loaded() -> None:
    """Let the collector pass by what was loaded so far from now on: a walk through it stops all calls.

    There is no last walk before: it takes up to 0.3 s of the start, and finds 2,000 of 200,000 objects.
    """
    gc.freeze()
    gc.enable()
