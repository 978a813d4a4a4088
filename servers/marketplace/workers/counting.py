"""The metrics of all workers, in one answer of whichever is asked.

Each series has the label `worker`, so that Prometheus sees which of them began anew: a sum made here would seem to go
back with it, and all of what is left would count once more.
"""

from __future__ import annotations

from collections.abc import Iterable

COMMENT = b"#"
HELP = b"# HELP "


def labelled(exposition: bytes, worker: int) -> bytes:
    """A worker's metrics in Prometheus' text form, each series with its number."""
    label = b'worker="%d"' % worker
    return b"\n".join(_with(line, label) for line in exposition.splitlines()) + b"\n"


def together(expositions: Iterable[bytes]) -> bytes:
    """The metrics of several workers, with all series of a metric in one place, as that form wants it."""
    found: dict[bytes, list[bytes]] = {}
    for each in expositions:
        metric = found.setdefault(b"", [])
        for line in each.splitlines():
            if line.startswith(HELP):
                metric = found.setdefault(line, [])
            elif line not in metric[:1]:  # its type, once
                metric.append(line)
    return b"".join(b"\n".join([head, *rest] if head else rest) + b"\n" for head, rest in found.items() if head or rest)


def _with(line: bytes, label: bytes) -> bytes:
    """A name has no brackets, so the first one opens the labels."""
    if line.startswith(COMMENT) or not line:
        return line
    name, bracket, rest = line.partition(b"{")
    if bracket:
        return name + b"{" + label + b"," + rest
    name, _, value = line.partition(b" ")
    return name + b"{" + label + b"} " + value
