"""The moment from which a file is by its own account, as ISO 8601: of one with a time zone in UTC, else as written.

`2026-03-01`, `2026-03-01T09:14:00`, or '' where the file says nothing, or nothing that can be.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

_YEARS = range(1970, 2200)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
# ISO 32000-1, 7.9.4
_PDF = re.compile(r"(?:D:)?(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?(?:(Z)|([+-]\d{2})'?(\d{2})?)?")
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


def of_iso(text: str) -> str:
    """Of ISO 8601, the way of XML Schema, OpenDocument and BMEcat."""
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return ""
    return _written(moment, _DAY.fullmatch(text) is not None)


def of_mail(text: str) -> str:
    """Of a mail's `Date` (RFC 5322)."""
    try:
        return _written(parsedate_to_datetime(text))
    except (ValueError, TypeError, IndexError, OverflowError):
        return ""


def of_pdf(text: str) -> str:
    """Of a PDF's properties: `D:20260301101400+01'00'`."""
    found = _PDF.match(text.strip())
    if found is None:
        return ""
    year, month, day, hour, minute, second, utc, offset, minutes = found.groups()
    if hour is None:
        return of_iso(f"{year}-{month}-{day}")
    zone = "Z" if utc else f"{offset}:{minutes or '00'}" if offset else ""
    return of_iso(f"{year}-{month}-{day}T{hour}:{minute}:{second or '00'}{zone}")


def of_ticks(ticks: int) -> str:
    """Of Windows' time: steps of 100 ns since 1601, in UTC."""
    return _written(_EPOCH + timedelta(microseconds=ticks // 10)) if 0 < ticks < 2**61 else ""


def _written(moment: datetime, day: bool = False) -> str:
    if moment.year not in _YEARS:
        return ""
    if day:
        return moment.date().isoformat()
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat(timespec="seconds")
