"""What the demo shows: live progress on a terminal, one line per step elsewhere, then a summary and answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from shared.contracts.instance import SearchAnswer
from shared.contracts.job import JobHandle, JobView

MARKS = {"pending": "·", "running": "→", "completed": "✓", "failed": "✗"}
COUNTS = (
    "documents",
    "processed",
    "failed",
    "pages",
    "ocr_pages",
    "chunks",
    "tokens",
    "products",
    "features",
    "prices",
)
EXCERPT_CHARS = 320


class Display:
    """Writes to standard output."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)

    def heading(self, text: str) -> None:
        """A new part of the demo."""
        self._console.print(f"\n[bold]{escape(text)}[/bold]")

    def line(self, text: str) -> None:
        """One line."""
        self._console.print("  " + escape(text), soft_wrap=True)

    @contextmanager
    def job(self, handle: JobHandle) -> Iterator[Callable[[JobView], None]]:
        """Shows a job while it runs; call the result with each new view."""
        self.line(f"job {handle.job_id}")
        if not self._console.is_terminal:
            yield self._log_steps()
            return
        with Live(console=self._console, refresh_per_second=8) as live:
            yield lambda view: live.update(_steps(view))

    def summary(self, view: JobView) -> None:
        """Counts, times, digests and places of a finished job."""
        result = view.result
        if result is None:
            return
        table = Table(box=None, show_header=False, padding=(0, 2))
        reasons = {name: number for name, number in result.numbers.items() if name.startswith("failed_")}
        for name in COUNTS:
            if name in result.numbers:
                table.add_row(name.replace("_", " "), f"{result.numbers[name]:,}")
            for reason, number in reasons.items() if name == "failed" else ():
                table.add_row(f"  {reason.removeprefix('failed_').replace('_', ' ')}", f"{number:,}")
        stages = {name: number for name, number in result.numbers.items() if name.startswith("seconds_")}
        for step in view.steps:
            if step.seconds is None:
                continue
            table.add_row(f"seconds: {step.name}", f"{step.seconds:.1f}")
            for stage in sorted(stages, key=stages.__getitem__, reverse=True) if step.name == "process" else ():
                said = f"  {stage.removeprefix('seconds_')} (all documents, waiting too)"
                table.add_row(said, f"{stages[stage]:.1f}")
        if "image_bytes" in result.numbers:
            table.add_row("image size", f"{result.numbers['image_bytes'] / 2**20:.0f} MB")
        self._console.print(Panel(table, title="Summary", title_align="left", expand=False))
        for name, digest in result.digests.items():
            self.line(f"{name.replace('_', ' '):<16} {digest}")
        for name, place in result.places.items():
            self.line(f"{name.replace('_', ' ') + ' at':<16} {place}")

    def answer(self, question: str, answer: SearchAnswer, expected: tuple[str, ...]) -> bool:
        """Shows a question, the passage that answers it and where that stands; False when no passage answers it."""
        self._console.print(f"\n  [bold]? {escape(question)}[/bold]")
        place, hit = next(
            ((n, hit) for n, hit in enumerate(answer.hits, 1) if all(word in hit.text for word in expected)), (0, None)
        )
        if hit is None and answer.hits and not expected:
            place, hit = 1, answer.hits[0]
        if hit is None:
            self._console.print("    [red]no passage answers this[/red]")
            return False
        where = hit.citation.path + (f", page {hit.citation.page}" if hit.citation.page else "")
        text = " ".join(hit.text.split())
        self._console.print(f"    {escape(_around(text, expected or _words(question, text)))}", soft_wrap=True)
        self._console.print(f"    [dim]{escape(where)} (hit {place} of {len(answer.hits)})[/dim]", soft_wrap=True)
        return True

    def _log_steps(self) -> Callable[[JobView], None]:
        told: set[tuple[str, str]] = set()

        def show(view: JobView) -> None:
            for step in view.steps:
                if step.state != "pending" and (step.name, step.state) not in told:
                    told.add((step.name, step.state))
                    took = f" {step.seconds:.1f} s" if step.state == "completed" and step.seconds is not None else ""
                    self.line(f"{MARKS[step.state]} {step.name}{took}")

        return show


def _steps(view: JobView) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 1))
    for step in view.steps:
        note = ""
        if step.state == "running":
            total = f"/{view.progress.total}" if view.progress.total else ""
            note = f"{view.progress.done}{total} {view.progress.note}" if view.progress.done else view.progress.note
        seconds = f"{step.seconds:.1f} s" if step.seconds is not None else ""
        table.add_row(f"  {MARKS[step.state]}", step.name, seconds, f"[dim]{escape(note)}[/dim]")
    return table


def _around(text: str, words: tuple[str, ...]) -> str:
    """The part of a passage around the expected words."""
    at = text.find(words[0]) if words else 0
    start = max(0, at - EXCERPT_CHARS // 2)
    end = start + EXCERPT_CHARS
    return ("… " if start else "") + text[start:end].strip() + (" …" if end < len(text) else "")


def _words(question: str, text: str) -> tuple[str, ...]:
    """The longest word of a question that stands in a passage, as it stands there."""
    for word in sorted(set(re.findall(r"\w{4,}", question)), key=lambda each: (-len(each), each)):
        if found := re.search(re.escape(word), text, re.IGNORECASE):
            return (found[0],)
    return ()
