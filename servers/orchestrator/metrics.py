"""What Prometheus sees of jobs: how they end, and whether one stands still; never whose they are."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge

from shared.contracts.job import JobKind

JOBS = Counter("jobs", "Jobs that ended by themselves, since this process runs.", ["kind", "state"])
STANDSTILL = Gauge(
    "job_standstill_seconds", "Seconds since the last news of the queued or running job that has had none for longest."
)

for _kind in get_args(JobKind):  # there from the start: an increase is seen from a number on, not from none
    for _state in ("completed", "failed"):
        JOBS.labels(_kind, _state)
