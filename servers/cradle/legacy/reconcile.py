"""Whether the new dataset holds what the legacy one held, and the new image answers what the legacy one knew.

Checks carry counts. Which documents and articles are missing is content: it is written to the customer's bucket.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from servers.cradle.deployments.gate import QUERY_CHARS, answered, search
from servers.cradle.legacy.export import Export, Sample, plain_name
from shared.client import Upstream
from shared.contracts.deployment import Question, ReconciledBy
from shared.contracts.processing import VerificationCheck, check

ENOUGH = 0.9
SAME_CHARS = 60


@dataclass(frozen=True, slots=True)
class NewDataset:
    """What the new dataset holds: how many documents have a file name, by state, and article numbers."""

    processed: Counter[str]
    failed: Counter[str]
    documents: int
    articles: set[str]


@dataclass(slots=True)
class Reconciliation:
    """The checks, and by check what is missing (content)."""

    checks: list[VerificationCheck] = field(default_factory=list)
    missing: dict[str, list[str]] = field(default_factory=dict)

    def add(self, name: ReconciledBy, passed: bool, detail: str, missing: Sequence[str] = ()) -> None:
        self.checks.append(check(name, passed, detail))
        if missing:
            self.missing[name] = sorted(missing)


def compare(export: Export, files: int, new: NewDataset) -> Reconciliation:
    """Counts and names. Where no legacy table names documents, its files count, and every one that failed.

    Args:
        files: original files in the legacy folder.
    """
    found = Reconciliation()
    expected = export.documents if export.documents is not None else files
    found.add("documents", expected == new.documents, f"{expected} in the legacy export, {new.documents} now")
    unread, named = new.failed, new.documents
    if export.names is not None:
        gone, named = export.names - (new.processed + new.failed), export.names.total()
        found.add("missing documents", not gone, f"{gone.total()} of {named}", list(gone))
        unread = export.names - gone - new.processed
    found.add("unreadable documents", not unread, f"{unread.total()} of {named}", list(unread))
    if export.articles is not None:
        lost = export.articles - new.articles
        found.add("articles", not lost, f"{len(lost)} of {len(export.articles)} are missing", list(lost))
    if export.unrecognised:
        detail = f"{len(export.unrecognised)} were copied and not compared"
        found.add("unrecognised tables", False, detail, export.unrecognised)
    return found


async def ask(found: Reconciliation, instance: Upstream, export: Export, planted: Sequence[Question]) -> None:
    """Sample answers: a legacy passage, asked for, is found again; and the operator's own questions."""
    if export.samples:
        lost = [sample for sample in export.samples if not await _found_again(instance, sample)]
        right = len(export.samples) - len(lost)
        enough = right >= ENOUGH * len(export.samples)
        detail = f"{right} of {len(export.samples)} found again"
        found.add("sample answers", enough, detail, [sample.text[:QUERY_CHARS] for sample in lost])
    if planted:
        wrong = [each.question for each in planted if not await answered(instance, each)]
        detail = f"{len(planted) - len(wrong)} of {len(planted)} answered"
        found.add("planted questions", not wrong, detail, wrong)


async def _found_again(instance: Upstream, sample: Sample) -> bool:
    hits = await search(instance, sample.text[:QUERY_CHARS])
    start = _squeezed(sample.text)[:SAME_CHARS]
    return any(plain_name(hit.citation.path) == sample.name or start in _squeezed(hit.text) for hit in hits)


def _squeezed(text: str) -> str:
    return " ".join(text.split()).casefold()
