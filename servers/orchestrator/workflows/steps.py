"""What each step of a job does: one or two calls of cradle or the marketplace, each idempotent by digest.

A step takes what the job made so far and gives what it adds. Every call may be repeated after a crash: the same
parameters give the same version, the same dataset the same tag, the same image the same archive entry.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from servers.orchestrator.questions import Asked, key_of
from servers.orchestrator.store import Customer, Job
from servers.orchestrator.upstreams import Upstreams
from servers.orchestrator.workflows.plan import base_digest, dataset_digest, image_tag, parameter_version
from shared.client import OnProgress
from shared.contracts.catalogue import CustomerRegistered, InstanceRegistered, ServerInstalled
from shared.contracts.deployment import DeploymentMade, InstancesUpdated, LegacyBackup
from shared.contracts.image import DeliveryPackage, ImageArchived, ImageBuilt, UpdateMade
from shared.contracts.installation import InstallationVersion, ParameterChoice
from shared.contracts.job import JobQuestion, JobResult
from shared.contracts.model import Contract
from shared.contracts.processing import (
    READABLE,
    CleanedUp,
    Computed,
    ProcessingReport,
    VerificationCheck,
    VerificationReport,
)
from shared.contracts.usage import UsageRecorded
from shared.errors import Conflict
from shared.metering.reports import line_of
from shared.metering.units import CRADLE, Key, Units

Answer = TypeVar("Answer", bound=Contract)

OUTDATED = " Call process_new_documents to bring it up to date."
UNREAD = (
    " The job's numbers failed_… say why. Put files that can be read into the sources, or name others as data_sources, "
    "and call process_new_documents."
)
INSTANCE_TOOLS = (
    "classify_product", "describe_dataset", "export_products", "find_products", "get_data_changes",
    "get_document", "list_classes",
    "list_documents", "query_graph", "query_table", "search",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Work:
    """What a step works with. `deadline_s` bounds each of its calls."""

    job: Job
    customer: Customer
    so_far: JobResult
    upstreams: Upstreams
    on_progress: OnProgress
    deadline_s: float

    async def cradle(self, tool: str, result: type[Answer], **arguments: object) -> Answer:
        """One call of cradle on behalf of the job's customer."""
        return await self.upstreams.cradle.call(
            tool, arguments, result,
            customer=self.customer.customer_id, on_progress=self.on_progress, deadline_s=self.deadline_s,
        )  # fmt: skip

    async def marketplace(self, tool: str, result: type[Answer], customer: str | None, **arguments: object) -> Answer:
        """One call of the marketplace."""
        return await self.upstreams.marketplace.call(
            tool, arguments, result, customer=customer, deadline_s=min(self.deadline_s, 60.0)
        )


Step = Callable[[Work], Awaitable[JobResult]]


async def register(work: Work) -> JobResult:
    """The marketplace knows the customer."""
    await work.marketplace(
        "register_customer", CustomerRegistered, None,
        customer_id=work.customer.customer_id,
        company_name=work.customer.company_name,
        contact_email=work.customer.contact_email,
        partner=work.customer.partner,
    )  # fmt: skip
    return JobResult()


async def fix_parameters(work: Work) -> JobResult:
    """The installation parameters are stored as an immutable version."""
    chosen = {name: work.job.choice[name] for name in ParameterChoice.model_fields if name in work.job.choice}
    choice = ParameterChoice.model_validate(chosen)
    stored = await work.cradle("save_installation_params", InstallationVersion, choice=choice.model_dump(mode="json"))
    return _of_parameters(stored)


async def check_parameters(work: Work) -> JobResult:
    """The version that the customer's dataset was made with, or that an update was ordered with, is read back."""
    wanted = work.so_far.numbers.get("parameter_version")
    arguments = {} if wanted is None else {"version": int(wanted)}
    return _of_parameters(await work.cradle("get_installation_params", InstallationVersion, **arguments))


async def process(work: Work) -> JobResult:
    """The customer's files become the dataset, with exactly the stored parameters."""
    report = await work.cradle(
        "process_documents", ProcessingReport, parameter_version=parameter_version(work.so_far)
    )  # fmt: skip
    await _meter(work, report.computed)
    numbers: dict[str, int | float] = {"dataset_version": report.dataset_version, "files": report.files}
    numbers |= report.counts.model_dump()
    numbers |= {f"failed_{code}": count for code, count in sorted(report.failures_by_code.items())}
    numbers |= {f"seconds_{stage}": round(seconds, 3) for stage, seconds in report.seconds_by_stage.items()}
    return JobResult(numbers=numbers, digests={"dataset": report.dataset_digest})


async def _meter(work: Work, computed: Computed | None) -> None:
    """What the dataset's version took is counted, once: a step that runs again tells the same batch."""
    if computed is not None:
        key = Key(work.customer.customer_id, datetime.now(UTC).date(), CRADLE, "process_documents")
        line = line_of(key, Units(calls=1, tokens=computed.tokens, pages=computed.ocr_pages))
        await work.marketplace(
            "record_usage", UsageRecorded, None, batch_id=computed.batch_id, lines=[line], kept=True
        )  # fmt: skip


async def verify(work: Work) -> JobResult:
    """The dataset holds what its sources hold, counted: in a job that has processed them, what they held then. Files
    that come meanwhile are the next update's."""
    files = {"files": int(work.so_far.numbers["files"])} if "files" in work.so_far.numbers else {}
    report = await work.cradle(
        "verify_dataset", VerificationReport, parameter_version=parameter_version(work.so_far), **files
    )  # fmt: skip
    return verified(report)


async def build(work: Work) -> JobResult:
    """The customer's image."""
    built = await work.cradle(
        "build_image", ImageBuilt,
        tag=image_tag(work.so_far),
        parameter_version=parameter_version(work.so_far),
        dataset_digest=dataset_digest(work.so_far),
        company_name=work.customer.company_name,
    )  # fmt: skip
    digests = {"image": built.manifest_digest, "image_id": built.image_id, "archive": built.archive_digest}
    return JobResult(numbers={"image_bytes": built.size_bytes}, digests=digests)


async def make_update(work: Work) -> JobResult:
    """What changed since the delivery before is a signed update for instances that run."""
    base = base_digest(work.so_far)
    if base is None:
        return JobResult()
    made = await work.cradle("make_update", UpdateMade, base_digest=base)
    return JobResult(
        numbers={"update_bytes": made.size_bytes, "update_changed": made.changed, "update_removed": made.removed},
        digests={"update": made.update_digest},
        places={"update": made.location},
    )


async def archive(work: Work) -> JobResult:
    """The image lies in the archive that refuses overwriting."""
    kept = await work.cradle("archive_image", ImageArchived, tag=image_tag(work.so_far))
    return JobResult(digests={"archive": kept.archive_digest}, places={"image": kept.image, "archive": kept.location})


async def package(work: Work) -> JobResult:
    """The folder for the customer."""
    delivery = await work.cradle("package_delivery", DeliveryPackage, tag=image_tag(work.so_far))
    numbers: dict[str, int | float] = {"delivery_files": delivery.files, "delivery_bytes": delivery.size_bytes}
    return JobResult(numbers=numbers, places={"delivery": delivery.location})


async def verify_image(work: Work) -> JobResult:
    """The image starts and answers."""
    report = await work.cradle("verify_image", VerificationReport, tag=image_tag(work.so_far))
    places = {"verification": report.report} if report.report is not None else {}
    return JobResult(numbers={"image_checks": _passed(report, "The image")}, places=places)


async def update_instances(work: Work) -> JobResult:
    """The customer's running instances serve the new dataset; where none is deployed, nothing is to do."""
    updated = await work.cradle("update_instances", InstancesUpdated, tag=image_tag(work.so_far))
    return JobResult(numbers={"instances_updated": sum(made.how != "unchanged" for made in updated.made)})


async def deploy(work: Work) -> JobResult:
    """The signed image serves on the chosen host, once it has passed its gate; a migration may have chosen none."""
    chosen = {name: work.job.choice[name] for name in ("tag", "host", "port") if work.job.choice.get(name) is not None}
    if "host" not in chosen:
        return JobResult()
    return _deployed(await work.cradle("deploy_image", DeploymentMade, **{"tag": image_tag(work.so_far), **chosen}))


async def roll_back(work: Work) -> JobResult:
    """The instance serves an earlier version."""
    chosen = {name: work.job.choice[name] for name in ("tag", "host")}
    return _deployed(await work.cradle("roll_back_instance", DeploymentMade, **chosen))


async def back_up_legacy(work: Work) -> JobResult:
    """The legacy deployment is copied into the customer's bucket."""
    copied = await work.cradle("back_up_legacy", LegacyBackup)
    numbers = {f"legacy_{name}": number for name, number in copied.model_dump(exclude={"digest"}).items()}
    return JobResult(numbers=numbers, digests={"legacy_backup": copied.digest})


async def reconcile(work: Work) -> JobResult:
    """The new dataset and image hold and answer what the legacy deployment did, or the operator accepted otherwise.

    Raises:
        Asked: they differ, and the migration was ordered so that it asks.
        Conflict: they differ; each difference is named with its counts.
    """
    report = await work.cradle("reconcile_legacy", VerificationReport, tag=image_tag(work.so_far))
    choice = work.job.choice
    return reconciled(report, choice.get("accept", []), choice.get("ask", False), work.job.questions)


async def register_instance(work: Work) -> JobResult:
    """The catalogue knows the instance, with its address where this job has deployed it, and the servers that the
    customer asked for are installed for it."""
    customer_id = work.customer.customer_id
    await work.marketplace(
        "register_instance", InstanceRegistered, customer_id,
        customer_id=customer_id,
        name="instance",
        url=work.so_far.places.get("instance"),
        image_digest=work.so_far.digests.get("image") or work.so_far.digests["deployed_image"],
        tools=list(INSTANCE_TOOLS),
    )  # fmt: skip
    for server_name in work.customer.mcps:
        await work.marketplace("install_mcp", ServerInstalled, customer_id, server_name=server_name)
    return JobResult(numbers={"mcps": len(work.customer.mcps)} if work.customer.mcps else {})


async def clean_up(work: Work) -> JobResult:
    """Nothing of the customer is left in scratch folders."""
    await work.cradle("clean_up", CleanedUp)
    return JobResult()


STEP: dict[str, Step] = {
    "register": register,
    "fix parameters": fix_parameters,
    "check parameters": check_parameters,
    "process": process,
    "verify": verify,
    "make update": make_update,
    "build": build,
    "archive": archive,
    "package": package,
    "verify image": verify_image,
    "update instances": update_instances,
    "deploy": deploy,
    "roll back": roll_back,
    "back up legacy": back_up_legacy,
    "reconcile": reconcile,
    "register instance": register_instance,
    "clean up": clean_up,
}


def verified(report: VerificationReport) -> JobResult:
    """What a verification of the dataset adds: the dataset that it found is the one to build from. It is another than
    the job knew where an earlier job was cancelled just after it had written it.

    Raises:
        Conflict: a check did not pass.
    """
    unread = any(check.name == READABLE and not check.passed for check in report.checks)
    passed = _passed(report, "The dataset", UNREAD if unread else OUTDATED)
    digests = {"dataset": report.dataset_digest} if report.dataset_digest is not None else {}
    return JobResult(numbers={"dataset_checks": passed}, digests=digests)


def reconciled(
    report: VerificationReport, accepted: Collection[str], asks: bool = False, asked: Collection[JobQuestion] = ()
) -> JobResult:
    """What a reconciliation adds, where every difference was accepted: by its name, with its counts, or in answer to a
    question. An answer is one to the counts that were asked about.

    Raises:
        Asked: one was not, it has not been asked about, and the job asks.
        Conflict: one was not.
    """
    answers = {question.message: question.answer for question in asked}
    differences = [check for check in report.checks if not check.passed]
    named = [check for check in differences if not {check.name, _with_counts(check)}.intersection(accepted)]
    open_ = [check for check in named if not answers.get(_difference(check))]
    if asks and (unasked := [check for check in open_ if _difference(check) not in answers]):
        used = {question.key for question in asked}
        raise Asked([JobQuestion(key=key_of(check.name, used), message=_difference(check)) for check in unasked])
    if open_:
        refused = [_with_counts(check) for check in open_]
        raise Conflict(
            f"The new image differs from the legacy deployment ({'; '.join(refused)}). Nothing was cut over; the "
            "legacy deployment goes on. The names are in the customer's bucket, in legacy/reconciliation.json. Mend "
            "the files and call migrate_customer again, or put what is accepted into accept_differences, as it is "
            "written here or by its name alone."
        )
    return JobResult(numbers={"reconciled_checks": len(report.checks), "accepted_differences": len(differences)})


def _with_counts(check: VerificationCheck) -> str:
    return f"{check.name}: {check.detail}"


def _difference(check: VerificationCheck) -> str:
    return (
        f"The new image differs from the legacy deployment in {check.name} ({check.detail}). Accept this? "
        "The names are in the customer's bucket, in legacy/reconciliation.json. No: nothing is cut over."
    )


def _deployed(made: DeploymentMade) -> JobResult:
    """Where it serves. Its digests have names of their own: a roll-back is not what the next update builds on."""
    at = made.deployment
    digests = {"deployed_image": at.image_digest, "deployed_dataset": at.dataset_digest}
    return JobResult(
        numbers={"port": at.port, "gate_checks": made.checks},
        digests={name: digest for name, digest in digests.items() if digest is not None},
        places={"instance": at.url, "access_key": at.access_key_file},
    )


def _of_parameters(stored: InstallationVersion) -> JobResult:
    return JobResult(numbers={"parameter_version": stored.version}, digests={"fingerprint": stored.fingerprint})


def _passed(report: VerificationReport, what: str, remedy: str = "") -> int:
    """How many checks passed, where all did."""
    failed = [check for check in report.checks if not check.passed]
    if failed or not report.passed:
        first = f"{failed[0].name}: {failed[0].detail}" if failed else "no check is named"
        raise Conflict(f"{what} did not pass its verification ({first}). Nothing was delivered.{remedy}")
    return len(report.checks)
