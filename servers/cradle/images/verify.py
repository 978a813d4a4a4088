"""Prove a built image: digests and signature, what it runs as, that it starts closed in and answers from its dataset,
that its model is the installation's, and that its search finds what an exact one finds."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from servers.cradle.images import launch
from servers.cradle.images.containers import owner_of
from servers.cradle.images.measure import Measured, Sampled, measure, rank_of
from servers.cradle.images.running import EMULATED_S, RunningInstance, running_instance
from servers.cradle.images.signing import SignedBy
from servers.cradle.images.spec import USER
from servers.cradle.images.unpack import Contents
from shared.contracts.image import ImageBuilt, ImageVariant
from shared.contracts.instance import DatasetAnswer, SearchAnswer, TableAnswer
from shared.contracts.processing import VerificationCheck, check
from shared.contracts.verification import LEAST_COSINE, LEAST_RECALL, ImageReport, SampledQuestions
from shared.errors import PlatformError
from shared.ids import digest_file
from shared.signatures import Verifier

if TYPE_CHECKING:
    from servers.cradle.installations.probes import Probes
    from shared.client import Upstream

LEAST_FOUND = 0.8
_CALL_S = 30.0
_LEDGER = """
    SELECT count(*), sum(CASE WHEN status = 'processed' THEN 1 ELSE 0 END),
        sum(CASE WHEN status = 'failed' THEN 1 ELSE 0 END), sum(chunks) FROM documents
"""
_MEASURED = ("data/", "model/")
_COUNTED = ("chunks", "products", "features", "prices")


async def verify_image(
    image: Path,
    built: ImageBuilt,
    scratch: Path,
    signer: Verifier,
    probes: Probes,
    docker_host: str | None,
) -> ImageReport:
    """Check an image's files and start it. A failed check is a line of the report, not an error.

    Args:
        image: the tar; its signature and bill of materials lie beside it.
        built: what `build_image` said of it.
        scratch: a folder of the customer's bucket; empty again afterwards.
        signer: whose signature is expected.
        probes: texts and vectors of the installation.
        docker_host: see `running_instance`.
    """
    found: dict[str, Any] = {
        "checks": [],
        "image": built,
        "verified_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    checks: list[VerificationCheck] = found["checks"]
    try:
        checks += await asyncio.to_thread(_checks_of_signature, image, built, signer)
        owner = owner_of(signer, built.customer_id)
        async with running_instance(image, scratch, docker_host=docker_host, owner=owner, beside=_MEASURED) as instance:
            assert instance.root is not None  # noqa: S101 - what is measured is unpacked in an engine's case too
            checks += _checks_of_files(instance.contents, built)
            checks.append(check("starts", True, f"{instance.how}; healthy after {instance.start_s:.1f} s"))
            found |= {"how": instance.how, "start_seconds": instance.start_s, "unpacked_bytes": _sizes(instance, built)}
            measured = await measure(instance.root / "data", instance.root / "model", probes)
            checks += _checks_of_measures(measured)
            found |= {
                "recall": list(measured.recall.shares),
                "nearest_ms": list(measured.recall.milliseconds),
                "probe_cosines": measured.probe_cosines,
            }
            found |= await _ask(instance, measured, checks)
        ran = instance.contents.config["architecture"]
        checks += [await _check_of_variant(each, image, scratch) for each in built.variants if each.architecture != ran]
    except PlatformError as error:
        checks.append(check("starts and answers", False, error.message))
    return ImageReport(passed=all(each.passed for each in checks), **found)


def _checks_of_signature(image: Path, built: ImageBuilt, signer: Verifier) -> list[VerificationCheck]:
    whole = digest_file(image)
    checks = [check("image.tar", whole == built.archive_digest, whole)]
    try:
        SignedBy(signer, f"0711/{built.customer_id}").verify(image.parent, built.manifest_digest, whole)
    except PlatformError as error:
        return [*checks, check("signature", False, error.message)]
    return [*checks, check("signature", True, f"by {signer.key_id}; image, bill of materials and dataset")]


def _checks_of_files(contents: Contents, built: ImageBuilt) -> list[VerificationCheck]:
    config = contents.config["config"]
    labels = config.get("Labels") or {}
    architecture = contents.config["architecture"]
    here = {architecture: contents.image_id}
    return [
        check("digests", True, f"{contents.blobs} layers, {contents.files} files"),
        check("image id", contents.image_id == built.image_ids.get(architecture), contents.image_id),
        check("manifest", contents.manifest_digest in {None, built.manifest_digest}, built.manifest_digest),
        check("user", config.get("User") == f"{USER}:{USER}", str(config.get("User"))),
        check("entrypoint", bool(config.get("Entrypoint")), "set" if config.get("Entrypoint") else "missing"),
        check(
            "labels",
            labels.get("com.0711.dataset.digest") == built.dataset_digest
            and labels.get("com.0711.parameters.fingerprint") == built.fingerprint,
            "dataset digest and parameter fingerprint",
        ),
        check("architectures", (contents.variants or here) == built.image_ids, ", ".join(built.image_ids)),
    ]


async def _check_of_variant(variant: ImageVariant, image: Path, scratch: Path) -> VerificationCheck:
    """Starts another architecture's image where this machine can, and finds its first passage by words of it."""
    name = f"starts on {variant.architecture}"
    if not launch.emulates(variant.architecture) or not launch.may_run_in(scratch):
        return check(name, True, "not tried: this machine does not emulate it (or not there); its layers are whole")
    try:
        async with running_instance(image, scratch, emulated=variant.architecture) as instance:
            found = await _finds_a_passage(instance)
    except PlatformError as error:
        return check(name, False, error.message)
    right = instance.contents.image_id == variant.image_id
    told = {None: "holds no passage", True: "finds a passage by its words", False: "does not find a passage"}[found]
    detail = f"{instance.how}; healthy after {instance.start_s:.1f} s; {told}"
    return check(name, right and found is not False, detail)


async def _finds_a_passage(instance: RunningInstance) -> bool | None:
    """None: there is none."""
    from shared.client import Upstream

    async with Upstream(instance.url, key=instance.access_key, name="instance") as upstream:
        asked = {"sql": "SELECT chunk_id, text FROM chunks ORDER BY chunk_id LIMIT 1", "limit": 1}
        rows = (await upstream.call("query_table", asked, TableAnswer, deadline_s=EMULATED_S)).rows
        if not rows:
            return None
        sampled = Sampled.of(str(rows[0][0]), str(rows[0][1]))
        question = {"query": sampled.question, "limit": 20, "detail": "detailed"}
        answer = await upstream.call("search", question, SearchAnswer, deadline_s=EMULATED_S)
        return rank_of(sampled, [(hit.chunk_id, hit.text) for hit in answer.hits]) > 0


def _sizes(instance: RunningInstance, built: ImageBuilt) -> dict[str, int]:
    found: dict[str, int] = {}
    variants = {each.architecture: each.layers for each in built.variants}
    layers = variants.get(instance.contents.config["architecture"], built.layers)
    for layer, size in zip(layers, instance.contents.layer_sizes, strict=False):
        found[layer.kind] = found.get(layer.kind, 0) + size
    return found


def _checks_of_measures(measured: Measured) -> list[VerificationCheck]:
    worst = min(measured.probe_cosines)
    text = f"{len(measured.probe_cosines)} probe texts, smallest cosine {worst:.6f}"
    checks = [check("model of the installation", worst >= LEAST_COSINE, text)]
    if measured.recall.shares:
        mean, asked = measured.recall.mean, len(measured.recall.shares)
        text = f"{mean:.4f} over {asked} held-back questions, against an exact search"
        checks.append(check("recall@10", mean >= LEAST_RECALL, text))
    return checks


async def _ask(instance: RunningInstance, measured: Measured, checks: list[VerificationCheck]) -> dict[str, Any]:
    from shared.client import Upstream

    async with Upstream(instance.url, key=instance.access_key, name="instance") as upstream:
        described = await upstream.call("describe_dataset", {}, DatasetAnswer, deadline_s=_CALL_S)
        checks += _checks_of_counts(instance.contents, described)
        checks += await _checks_of_ledger(upstream, described)
        sampled = await _ask_samples(upstream, measured)
    if sampled.ranks:
        share = sampled.found / len(sampled.ranks)
        text = f"{sampled.found} of {len(sampled.ranks)} passages among the ten best"
        checks.append(check("sampled questions", share >= LEAST_FOUND, text))
    return {"counts": described.counts, "failures": described.failures, "questions": sampled}


async def _ask_samples(upstream: Upstream, measured: Measured) -> SampledQuestions:
    ranks, times = [], []
    for sampled in measured.questions:
        arguments = {"query": sampled.question, "limit": 10, "detail": "detailed"}
        started = time.perf_counter()
        answer = await upstream.call("search", arguments, SearchAnswer, deadline_s=_CALL_S)
        times.append((time.perf_counter() - started) * 1000)
        ranks.append(rank_of(sampled, [(hit.chunk_id, hit.text) for hit in answer.hits]))
    return SampledQuestions(ranks=ranks, milliseconds=times)


def _checks_of_counts(contents: Contents, described: DatasetAnswer) -> list[VerificationCheck]:
    manifest = orjson.loads(contents.dataset_manifest or b"{}")
    expected = manifest.get("counts", {})
    wrong = sorted(name for name, count in described.counts.items() if expected.get(name, 0) != count)
    return [
        check(
            "dataset digest",
            described.dataset_digest == manifest.get("dataset_digest"),
            described.dataset_digest,
        ),
        check("counts", bool(expected) and not wrong, f"differ: {wrong}" if wrong else f"{len(expected)} counts equal"),
    ]


async def _checks_of_ledger(upstream: Upstream, described: DatasetAnswer) -> list[VerificationCheck]:
    """The rows that the instance serves, counted by itself, against its ledger and its manifest."""
    counts = described.counts
    documents, processed, failed, passages = (await _row(upstream, _LEDGER))[:4]
    rows = {name: (await _row(upstream, f"SELECT count(*) FROM {name}"))[0] for name in _COUNTED}  # noqa: S608 - constants
    ledger = (documents, processed or 0, failed or 0) == (counts["documents"], counts["processed"], counts["failed"])
    wrong = sorted(name for name, number in rows.items() if number != counts[name])
    return [
        check("ledger", ledger, f"{documents} documents: {processed or 0} processed, {failed or 0} failed"),
        check("passages of the ledger", (passages or 0) == rows["chunks"], f"{passages or 0} and {rows['chunks']}"),
        check("rows", not wrong, f"differ: {wrong}" if wrong else ", ".join(f"{rows[name]} {name}" for name in rows)),
    ]


async def _row(upstream: Upstream, query: str) -> list[Any]:
    answer = await upstream.call("query_table", {"sql": query, "limit": 1}, TableAnswer, deadline_s=_CALL_S)
    return list(answer.rows[0])
