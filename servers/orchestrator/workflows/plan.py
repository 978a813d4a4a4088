"""What a job of each kind does, step by step, and the names that follow from what it made. Pure."""

from __future__ import annotations

from typing import Literal

from shared.contracts.job import JobKind, JobResult
from shared.errors import Conflict

ParameterVersion = int | Literal["newest"]

_IMAGE = ("build", "verify image", "archive", "package")
_DELIVERY = (*_IMAGE, "register instance")

STEPS: dict[JobKind, tuple[str, ...]] = {
    "onboarding": ("register", "fix parameters", "process", "verify", *_DELIVERY, "clean up"),
    "update": (
        "check parameters", "process", "verify", "make update", *_IMAGE, "update instances", "register instance",
        "clean up",
    ),
    "build": ("check parameters", *_DELIVERY, "clean up"),
    "verification": ("verify", "verify image", "clean up"),
    "deployment": ("deploy", "register instance", "clean up"),
    "rollback": ("roll back", "register instance", "clean up"),
    "migration": (
        "register", "fix parameters", "back up legacy", "process", "verify", *_IMAGE, "reconcile", "deploy",
        "register instance", "clean up",
    ),
}  # fmt: skip


def merged(so_far: JobResult, more: JobResult) -> JobResult:
    """What a job made, with what its next step adds."""
    return JobResult(
        numbers={**so_far.numbers, **more.numbers},
        digests={**so_far.digests, **more.digests},
        places={**so_far.places, **more.places},
    )


def parameter_version(result: JobResult) -> int:
    """The version of the parameters that the job works with.

    Raises:
        Conflict: the customer has no dataset yet.
    """
    version = result.numbers.get("parameter_version")
    if version is None:
        raise Conflict("This customer has no installation parameters yet: onboard it with initialize_customer first.")
    return int(version)


def dataset_digest(result: JobResult) -> str:
    """The digest of the dataset that the job works with.

    Raises:
        Conflict: the customer has no dataset yet.
    """
    digest = result.digests.get("dataset")
    if digest is None:
        raise Conflict("This customer has no dataset yet: onboard it with initialize_customer first.")
    return digest


def base_digest(result: JobResult) -> str | None:
    """The digest of the dataset that was delivered before, where there is one and it is another."""
    base = result.digests.get("base")
    return base if base is not None and base != result.digests.get("dataset") else None


def image_tag(result: JobResult) -> str:
    """The tag of the image: the same parameters and dataset give the same tag, so that building again changes nothing.

    Raises:
        Conflict: the customer has no dataset yet.
    """
    return f"p{parameter_version(result)}-{dataset_digest(result).removeprefix('sha256:')[:16]}"


def carried_over(result: JobResult, delivered: JobResult | None) -> JobResult:
    """Of an earlier job's result, what a build or a verification starts from.

    Args:
        result: of the newest job with a dataset, ended however it did.
        delivered: of the newest job that delivered an image: instances hold its dataset.
    """
    digests = {name: result.digests[name] for name in ("fingerprint", "dataset") if name in result.digests}
    if delivered is not None:
        digests["base"] = dataset_digest(delivered)
    return JobResult(numbers={"parameter_version": parameter_version(result)}, digests=digests)


def processed_anew(version: ParameterVersion) -> JobResult:
    """What an update with other parameters starts from: without a version, which stands for the newest one, and
    without the dataset, which other parameters have made."""
    return JobResult(numbers={} if version == "newest" else {"parameter_version": version})
