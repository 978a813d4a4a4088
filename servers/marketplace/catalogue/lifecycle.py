"""The way of an entry: submitted → review → approved, and back. Pure."""

from __future__ import annotations

from shared.contracts.catalogue import Approval, Tier
from shared.errors import Conflict

FOLLOWING: dict[Approval, frozenset[Approval]] = {
    "submitted": frozenset({"review", "rejected"}),
    "review": frozenset({"approved", "rejected"}),
    "approved": frozenset({"suspended"}),
    "suspended": frozenset({"review"}),
    "rejected": frozenset({"review"}),
}
TIERS: tuple[Tier, ...] = ("starter", "professional", "business", "enterprise")
"""From the smallest to the largest; each has what the ones before have."""


def check_step(before: Approval, after: Approval) -> None:
    """Refuse a step that leaves out the review.

    Raises:
        Conflict: the state does not allow it.
    """
    if after not in FOLLOWING[before]:
        allowed = " or ".join(sorted(FOLLOWING[before]))
        raise Conflict(f"An entry that is {before} can only become {allowed}.", field="state")


def reaches(held: str | None, needed: str) -> bool:
    """Whether a customer's tier has what an entry's tier needs; who acts for no customer (None) has everything."""
    return held is None or TIERS.index(held) >= TIERS.index(needed)
