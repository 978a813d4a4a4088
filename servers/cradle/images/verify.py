"""Prove a built image: digests, what it runs as, that it starts closed in and answers from its dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import orjson

from servers.cradle.images.running import RunningInstance, running_instance
from servers.cradle.images.spec import USER
from servers.cradle.images.unpack import Contents
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import DatasetAnswer, SearchAnswer
from shared.contracts.processing import VerificationCheck, VerificationReport
from shared.errors import PlatformError

__all__ = ["RunningInstance", "running_instance", "verify_image"]

_CALL_S = 30.0


async def verify_image(
    image: Path,
    built: ImageBuilt,
    scratch: Path,
    *,
    docker_host: str | None = None,
    use_engine: bool | None = None,
    questions: Sequence[str] = (),
) -> VerificationReport:
    """Check an image's files and start it. A failed check is a line of the report, not an error.

    Args:
        image: the tar.
        built: what `build_image` said of it.
        scratch: a folder of the customer's bucket; empty again afterwards.
        docker_host, use_engine: see `running_instance`.
        questions: each has to find something.
    """
    checks: list[VerificationCheck] = []
    try:
        async with running_instance(image, scratch, docker_host=docker_host, use_engine=use_engine) as instance:
            checks += _checks_of_files(instance.contents, built)
            checks.append(_check("starts", True, instance.how))
            checks += await _checks_of_answers(instance, questions)
    except PlatformError as error:
        checks.append(_check("starts and answers", False, error.message))
    return VerificationReport(passed=all(check.passed for check in checks), checks=checks)


def _checks_of_files(contents: Contents, built: ImageBuilt) -> list[VerificationCheck]:
    config = contents.config["config"]
    labels = config.get("Labels") or {}
    return [
        _check("digests", True, f"{contents.blobs} layers, {contents.files} files"),
        _check("image id", contents.image_id == built.image_id, contents.image_id),
        _check("user", config.get("User") == f"{USER}:{USER}", str(config.get("User"))),
        _check("entrypoint", bool(config.get("Entrypoint")), "set" if config.get("Entrypoint") else "missing"),
        _check(
            "labels",
            labels.get("com.0711.dataset.digest") == built.dataset_digest
            and labels.get("com.0711.parameters.fingerprint") == built.fingerprint,
            "dataset digest and parameter fingerprint",
        ),
    ]


async def _checks_of_answers(instance: RunningInstance, questions: Sequence[str]) -> list[VerificationCheck]:
    from shared.client import Upstream

    checks = []
    async with Upstream(instance.url, key=instance.access_key, name="instance") as upstream:
        described = await upstream.call("describe_dataset", {}, DatasetAnswer, deadline_s=_CALL_S)
        checks += _checks_of_counts(instance.contents, described)
        for number, question in enumerate(questions, start=1):
            arguments = {"query": question, "limit": 3}
            answer = await upstream.call("search", arguments, SearchAnswer, deadline_s=_CALL_S)
            checks.append(_check(f"question {number}", bool(answer.hits), f"{len(answer.hits)} passages"))
    return checks


def _checks_of_counts(contents: Contents, described: DatasetAnswer) -> list[VerificationCheck]:
    manifest = orjson.loads(contents.dataset_manifest or b"{}")
    expected = manifest.get("counts", {})
    wrong = sorted(name for name, count in described.counts.items() if expected.get(name, 0) != count)
    return [
        _check(
            "dataset digest",
            described.dataset_digest == manifest.get("dataset_digest"),
            described.dataset_digest,
        ),
        _check(
            "counts", bool(expected) and not wrong, f"differ: {wrong}" if wrong else f"{len(expected)} counts equal"
        ),
    ]


def _check(name: str, passed: bool, detail: str) -> VerificationCheck:
    return VerificationCheck(name=name, passed=passed, detail=detail)


async def verify_files(image: Path, built: ImageBuilt) -> VerificationReport:
    """Check an image's digests, user, entrypoint and labels without starting it."""
    try:
        contents = await asyncio.to_thread(_read, image)
    except PlatformError as error:
        return VerificationReport(passed=False, checks=[_check("digests", False, error.message)])
    checks = _checks_of_files(contents, built)
    return VerificationReport(passed=all(check.passed for check in checks), checks=checks)


def _read(image: Path) -> Contents:
    from servers.cradle.images.unpack import read_image

    return read_image(image)
