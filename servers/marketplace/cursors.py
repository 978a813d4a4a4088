"""Cursors of lists: what a page gave reads on, and nothing else does."""

from __future__ import annotations

from shared.errors import InvalidInput


def unknown_cursor() -> InvalidInput:
    """The answer for a cursor that no page of the list has given."""
    return InvalidInput("This cursor is not one of ours: leave it out to start at the first page.", field="cursor")
