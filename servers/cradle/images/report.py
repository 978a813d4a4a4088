"""The report of a verification: JSON for programs, Markdown for a terminal, one HTML page with plots for people.

It lies in the customer's bucket at `reports/<tag>/` and in the delivery package.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from servers.cradle.images.build import publish
from servers.cradle.images.files import sweep, work_name, write_new
from servers.cradle.images.layers import room_or_clean
from servers.cradle.images.render import report as rendered
from shared.contracts.image import ImageBuilt
from shared.contracts.verification import ImageReport

JSON, MARKDOWN, PAGE = "verification.json", "verification.md", "verification.html"
FILES = (JSON, MARKDOWN, PAGE)


def write_report(bucket: Path, report: ImageReport) -> Path:
    """Write the report of an image to `bucket/reports/<tag>/`; one that is there is replaced; blocking.

    Returns:
        The HTML page.

    Raises:
        StorageFull: no room; nothing is left behind.
    """
    reports = bucket / "reports"
    reports.mkdir(mode=0o700, exist_ok=True)
    sweep(reports)
    tag = report.image.tag
    work = reports / work_name(f".building-{tag}")
    work.mkdir(mode=0o700)
    try:
        with room_or_clean(at=reports):
            write_new(work / JSON, report.model_dump_json(indent=2).encode() + b"\n")
            for name in (MARKDOWN, PAGE):
                write_new(work / name, rendered(name, report).encode())
            publish(work, reports / tag)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return reports / tag / PAGE


def report_of(bucket: Path, built: ImageBuilt) -> dict[str, bytes]:
    """The files of the report of exactly this image; empty where it was not verified."""
    folder = bucket / "reports" / built.tag
    try:
        found = {name: (folder / name).read_bytes() for name in FILES}
        about = ImageReport.model_validate_json(found[JSON])
    except (OSError, ValueError):
        return {}
    return found if about.image.archive_digest == built.archive_digest else {}
