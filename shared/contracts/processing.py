"""Processing: counts and digests about a customer's dataset. Holds no content: no file name, no text."""

from __future__ import annotations

from pydantic import Field

from shared.contracts.model import Contract
from shared.ids import Digest, Handle


class SourcesChecked(Contract):
    """Each source is there and may be read."""

    sources: int = Field(ge=1)


class SourcesPrepared(Contract):
    """The customer's bucket is there and holds the list of its sources."""

    sources_digest: Digest
    sources: int = Field(ge=1)


class CleanedUp(Contract):
    """What jobs left in the customer's scratch folders is gone."""

    removed: int = Field(ge=0)


class Counts(Contract):
    """What was read and what became of it. `documents` = `processed` + `failed`; every file found is one of them."""

    documents: int = Field(0, ge=0)
    processed: int = Field(0, ge=0)
    failed: int = Field(0, ge=0)
    unchanged: int = Field(0, ge=0, description="Of the processed: taken over from an earlier run.")
    removed: int = Field(0, ge=0, description="Taken out in this run: their files are gone. Not among the documents.")
    pages: int = Field(0, ge=0)
    ocr_pages: int = Field(0, ge=0)
    chunks: int = Field(0, ge=0)
    tokens: int = Field(0, ge=0)
    products: int = Field(0, ge=0)
    features: int = Field(0, ge=0)
    prices: int = Field(0, ge=0)
    nodes: int = Field(0, ge=0)
    edges: int = Field(0, ge=0)


class Computed(Contract):
    """What was computed for the documents that a version of the dataset brought or changed, whichever runs it took.

    `batch_id` names the version wherever its units are counted, so that they count once however often they are told.
    """

    batch_id: Handle
    tokens: int = Field(ge=0)
    ocr_pages: int = Field(ge=0)


class ProcessingReport(Contract):
    """The outcome of processing a customer's sources with one parameter version."""

    parameter_version: int = Field(ge=1)
    dataset_version: int = Field(ge=1)
    dataset_digest: Digest
    counts: Counts
    files: int = Field(ge=0, description="How many the sources held when processing began.")
    failures_by_code: dict[str, int] = Field(default_factory=dict)
    seconds_by_stage: dict[str, float] = Field(default_factory=dict)
    computed: Computed | None = Field(default=None, description="None: an earlier release wrote the version.")


READABLE = "documents that could be read"
"""A check of a dataset: any of them at all."""


class VerificationCheck(Contract):
    """One thing that was checked, and how it came out. `detail` holds counts and digests only."""

    name: str
    passed: bool
    detail: str


def check(name: str, passed: bool, detail: str) -> VerificationCheck:
    """A check that was made."""
    return VerificationCheck(name=name, passed=passed, detail=detail)


class VerificationReport(Contract):
    """All checks of a dataset or an image."""

    passed: bool
    checks: list[VerificationCheck]
    dataset_digest: Digest | None = Field(default=None, description="Of the dataset that was checked.")
    report: str | None = Field(default=None, description="The whole report: a page in the customer's bucket.")
