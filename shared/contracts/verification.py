"""What the verification of a delivered image found. Counts, digests, durations; no content, no names of documents."""

from __future__ import annotations

from pydantic import Field

from shared.contracts.image import ImageBuilt
from shared.contracts.model import Contract
from shared.contracts.processing import VerificationCheck

LEAST_RECALL = 0.99
"""Mean recall@10 of the search by vectors against an exact one."""
LEAST_COSINE = 0.999
"""Of each probe text's vector to the installation's."""


class SampledQuestions(Contract):
    """Questions made of sampled passages: was the passage, or one with the same words, among the ten best?"""

    ranks: list[int] = Field(description="Place of the first right hit, from 1; 0: not among ten.")
    milliseconds: list[float] = Field(description="Of each search over MCP, in the order of `ranks`.")

    @property
    def found(self) -> int:
        """How many were found."""
        return sum(rank > 0 for rank in self.ranks)


class ImageReport(Contract):
    """All that was checked of an image, and the numbers behind it."""

    passed: bool
    checks: list[VerificationCheck]
    image: ImageBuilt
    verified_at: str = Field(description="UTC, ISO 8601.")
    how: str = Field("", description="Where the image was started.")
    start_seconds: float | None = Field(None, description="From the start of its process to healthy.")
    counts: dict[str, int] = Field(default_factory=dict)
    failures: dict[str, int] = Field(default_factory=dict, description="Documents that could not be read, by reason.")
    unpacked_bytes: dict[str, int] = Field(default_factory=dict, description="Of each layer's content, by kind.")
    questions: SampledQuestions = Field(default_factory=lambda: SampledQuestions(ranks=[], milliseconds=[]))
    recall: list[float] = Field(default_factory=list, description="Recall@10 of each held-back question.")
    nearest_ms: list[float] = Field(default_factory=list, description="Of each search by vectors alone.")
    probe_cosines: list[float] = Field(
        default_factory=list, description="Of each probe text by the image's model, to the installation's vectors."
    )

    @property
    def mean_recall(self) -> float | None:
        """Recall@10 over all held-back questions."""
        return sum(self.recall) / len(self.recall) if self.recall else None
