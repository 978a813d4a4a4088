"""What Prometheus sees of the processing: numbers, never whose document it was."""

from __future__ import annotations

from prometheus_client import Counter

UNREAD = Counter("pages_unread", "Scans that OCR could not read after all attempts, by the error's code.", ["code"])

for _code in ("unavailable", "overloaded", "deadline_exceeded"):  # there from the start: an increase is seen from there
    UNREAD.labels(_code)
