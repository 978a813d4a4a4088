"""Logs and metrics without content.

Logs are JSON lines on standard error. A line of ours holds the event's name and the fields of `FIELDS`; arguments of
`%s` are never filled in. A line of a library holds only who wrote it, how serious it is and which exception it was
about: libraries repeat what they were given. An exception is its type and where it passed, not its message or locals.

Metrics are served at `GET /metrics` (see `shared.serving`). Their labels are names of servers, tools and error codes.

Spans go to whatever OpenTelemetry SDK the operator has put in place; without one they go nowhere. They hold the fields
of `FIELDS` too, and of an exception its code alone.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import TracebackType
from typing import Any, TypedDict, Unpack

import orjson
from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, StatusCode, get_current_span, get_tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

from shared.errors import PlatformError

OURS = ("servers", "shared", "platform-0711")
FRAMES = 25


class Fields(TypedDict, total=False):
    """What a log line may hold beside its event: ids, names of ours, numbers. No text that came from outside."""

    server: str
    tool: str
    route: str
    code: str
    seconds: float
    job_id: str
    step: str
    attempt: int
    count: int
    port: int
    model: str
    backend: str
    version: str
    queue: int
    tokens: int
    priority: str
    worker: int


FIELDS = frozenset(Fields.__annotations__)

CALLS = Counter("calls", "Calls of tools by their outcome.", ["server", "tool", "code"])
CALL_SECONDS = Histogram(
    "call_seconds",
    "Seconds that a call of a tool took.",
    ["server", "tool"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)

PART_HEALTHY = Gauge(
    "part_healthy",
    "Whether a server (part `server`) or what it depends on is healthy, 1 or 0, as its `/health` says at the scrape.",
    ["server", "part"],
)
HOME_FREE = Gauge("home_free_bytes", "Bytes that are free on the disk of the home folder.", ["server"])

_events = logging.getLogger("platform-0711")
_tracer = get_tracer("platform-0711")


def event(
    name: str, *, level: int = logging.INFO, error: BaseException | None = None, **fields: Unpack[Fields]
) -> None:
    """Log an event. `name` is a constant of the code; `error` is logged as its type and frames."""
    _events.log(level, name, exc_info=error, extra={"fields": fields})


@contextmanager
def span(name: str, **fields: Unpack[Fields]) -> Iterator[Span]:
    """A span around the work inside. `name` is a constant of the code. An exception ends it with the error's code, or
    its type where it is none of ours; never with its message."""
    with _tracer.start_as_current_span(
        name, record_exception=False, set_status_on_exception=False, attributes=dict[str, Any](fields)
    ) as running:
        try:
            yield running
        except BaseException as error:
            running.set_attribute("code", error.code if isinstance(error, PlatformError) else type(error).__name__)
            running.set_status(StatusCode.ERROR)
            raise


@contextmanager
def following(carrier: Mapping[str, Any] | None) -> Iterator[None]:
    """Spans inside go on with the trace that a caller's `traceparent` (W3C Trace Context) names. What travels beside
    it, `tracestate` and baggage, is whatever the caller wrote, and is left out."""
    parent = (carrier or {}).get("traceparent")
    context = TraceContextTextMapPropagator().extract({"traceparent": parent} if isinstance(parent, str) else {})
    if not get_current_span(context).get_span_context().is_valid:
        yield
        return
    token = attach(context)
    try:
        yield
    finally:
        detach(token)


def count_call(server: str, tool: str, code: str, seconds: float) -> None:
    """Count a call of a tool; `code` is `ok` or an error's code."""
    calls, call_seconds = _series(server, tool, code)
    calls.inc()
    call_seconds.observe(seconds)


@lru_cache(4096)
def _series(server: str, tool: str, code: str) -> tuple[Counter, Histogram]:
    """Looking series up takes longer than counting."""
    return CALLS.labels(server, tool, code), CALL_SECONDS.labels(server, tool)


def exposition() -> tuple[bytes, str]:
    """All metrics of this process in Prometheus' text form, and its media type."""
    return generate_latest(), CONTENT_TYPE_LATEST


def frames(error: BaseException) -> list[str]:
    """Where an exception passed, the innermost last: `module:function:line`. No source, no locals."""
    found = [
        f"{frame.f_globals.get('__name__', '?')}:{frame.f_code.co_name}:{line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
    ]
    return found[-FRAMES:]


class LineFormatter(logging.Formatter):
    """One JSON object a line, without content."""

    def __init__(self, server: str, worker: int | None = None) -> None:
        super().__init__()
        self._of = {"server": server} if worker is None else {"server": server, "worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._of,
        }
        if _is_ours(record.name):
            line["event"] = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
            given = {**vars(record), **vars(record).get("fields", {})}
            line.update({name: value for name, value in given.items() if name in FIELDS})
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _describe(record.exc_info[1])
        return orjson.dumps(line, default=lambda value: type(value).__name__).decode()


def configure(server: str, level: str, worker: int | None = None) -> None:
    """Make this process log that way: replaces all handlers and the hooks for uncaught exceptions. `worker`: which of
    several processes of the server it is."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(server, worker))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in OURS:
        logging.getLogger(name).setLevel(level)
    for name, logger in logging.root.manager.loggerDict.items():
        if isinstance(logger, logging.Logger) and not _is_ours(name):
            logger.handlers.clear()
            logger.propagate = True
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _is_ours(name: str) -> bool:
    return name.split(".", 1)[0] in OURS


def _describe(error: BaseException, depth: int = 0) -> dict[str, Any]:
    told: dict[str, Any] = {"type": type(error).__qualname__, "frames": frames(error)}
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else [error.__cause__ or error.__context__]
    causes = [_describe(each, depth + 1) for each in inner if each is not None and depth < 4]
    if causes:
        told["causes"] = causes[:5]
    return told


def _uncaught(kind: type[BaseException], error: BaseException | None, trace: TracebackType | None) -> None:
    if error is None or isinstance(error, KeyboardInterrupt | SystemExit):
        return
    event("uncaught_exception", level=logging.CRITICAL, error=error.with_traceback(trace), code=kind.__name__)
