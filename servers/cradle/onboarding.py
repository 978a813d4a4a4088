"""What cradle does for one customer, room after room: record sources, process them, verify the dataset."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson

from servers.cradle.images.customer_keys import key_folder, require_not_erased
from servers.cradle.installations.parameters import choice_of
from servers.cradle.processing import pipeline
from servers.cradle.processing.parameters import current_parameters
from servers.cradle.processing.sources import MAX_SOURCES, SourceFile, SourceList, check_sources, find_files
from servers.cradle.services import Services
from servers.cradle.vision.failures import TurnedAway
from shared.auth import principal, require_sources
from shared.contracts.installation import InstallationParameters, InstallationVersion, ParameterChoice
from shared.contracts.processing import READABLE, ProcessingReport, VerificationCheck, VerificationReport, check
from shared.dataset.reader import DatasetReader
from shared.errors import Conflict, Forbidden, InvalidInput, NotFound
from shared.objects import CustomerStore, bucket_name

SOURCES = "sources.json"
ASKED_BEFORE = frozenset({"orchestrator"})  # it asks the same about its own caller, whom cradle does not see
Report = Callable[[float, float | None, str], Awaitable[None]]
COUNTED = ("documents", "chunks", "products", "features", "prices")


def require_platform() -> None:
    """Passes the orchestrator and administrators whose token names no customer: they may ask about one that nobody has
    registered yet, for which there is no token.

    Raises:
        Forbidden: the caller is another one, or acts for a customer.
    """
    caller = principal()
    ours = caller.role == "platform_admin" or (caller.role == "service" and caller.subject in ASKED_BEFORE)
    if caller.customer is not None or not ours:
        raise Forbidden("This is asked before a customer is registered, by the platform with a token for no customer.")


async def checked_sources(held: Services, customer: str, data_sources: list[str]) -> SourceList:
    """The sources, each of them found to be one that the customer's files may be read from. Changes nothing.

    Raises:
        Forbidden: the caller may not name such a source.
        InvalidInput: a source is not allowed, not there, not the customer's or empty.
        Conflict: a customer of this id was erased.
    """
    require_sources(data_sources, ASKED_BEFORE)
    await asyncio.to_thread(require_not_erased, key_folder(held.settings), customer)
    checked = SourceList.parse(data_sources, held.settings)
    await check_sources(checked, held.settings, await known_store(held, customer), bucket_name(customer))
    return checked


async def known_store(held: Services, customer: str) -> CustomerStore | None:
    """The customer's bucket; None where there is none yet."""
    try:
        return await CustomerStore.open(held.settings, customer)
    except NotFound:
        return None


async def record_sources(held: Services, customer: str, data_sources: list[str], *, add: bool = False) -> SourceList:
    """Checks the sources and keeps them in the customer's bucket, which is made if need be.

    Args:
        add: beside those that are recorded, in place of which they come otherwise.

    Raises:
        Forbidden, InvalidInput, Conflict: as `checked_sources`; nothing was recorded.
        InvalidInput: with those that are recorded they are over `MAX_SOURCES`.
        NotFound: `add`, and none are recorded.
    """
    checked = await checked_sources(held, customer, data_sources)
    store = await CustomerStore.open(held.settings, customer, create=True)
    if add:
        checked = SourceList(list(dict.fromkeys([*await _recorded(store), *checked.uris])))
        if len(checked.uris) > MAX_SOURCES:
            raise InvalidInput(
                f"With the known ones these are over {MAX_SOURCES} data sources: name a folder above several, in a "
                "list that takes the place of the known one.",
                field="data_sources",
            )
    await store.put(SOURCES, orjson.dumps(checked.uris))
    return checked


async def process(held: Services, customer: str, parameter_version: int, report: Report) -> ProcessingReport:
    """Makes the dataset of the customer's sources with exactly the stored parameters.

    Raises:
        ParameterDrift: this cradle would compute something else than the installation did; names what.
        NotFound: no such parameters, or no sources.
    """
    version = await held.installations.get(customer, parameter_version)
    await check_drift(held, customer, version)
    store = await CustomerStore.open(held.settings, customer)
    files = await _files(held, store)

    async def ocr(png: bytes) -> str:
        parameters = version.parameters
        try:
            return await held.vision.ocr_page(png, parameters.ocr, local_only=parameters.local_only)
        except TurnedAway as error:  # else every scan would be a failed document of a job that ends well
            raise Conflict(f"{error.message} Then start the job again.") from None

    return await pipeline.process(store, files, version, held.embedding, ocr, report, readers=held.readers)


async def check_drift(held: Services, customer: str, version: InstallationVersion) -> None:
    """Compares everything that decides a result with the stored version, and probe texts with their stored vectors."""
    current = await current_choice(held, choice_of(version.parameters))
    await held.installations.check_drift(customer, version.version, current, held.embedding)


async def current_choice(held: Services, choice: ParameterChoice) -> InstallationParameters:
    """The parameters that an installation with this choice would have now. Waits for a model that still loads, which
    takes minutes on a small machine, as long as the call may take.

    Raises:
        InvalidInput: the choice cannot be met here; says why.
    """
    ocr = held.vision.parameters(choice.ocr_provider)
    return current_parameters(choice, await held.embedding.identity(held.settings.job_step_deadline_s), ocr)


async def check_choice(held: Services, choice: ParameterChoice) -> None:
    """Pass a choice that can be met, as far as it can be said at once: a model that still loads is the job's to await.

    Raises:
        InvalidInput: it cannot be met here; says why.
    """
    if held.embedding.status == "ready":
        await current_choice(held, choice)
    else:
        held.vision.parameters(choice.ocr_provider)


async def verify_dataset(
    held: Services, customer: str, parameter_version: int, files: int | None = None
) -> VerificationReport:
    """Counts against files and ledger, digests against the parameters: nothing is missing, nothing is left over, and
    some of it could be read.

    Args:
        files: how many the sources held when they were processed; None: as many as they hold now.
    """
    version = await held.installations.get(customer, parameter_version)
    store = await CustomerStore.open(held.settings, customer)
    found = len(await _files(held, store)) if files is None else files
    async with DatasetReader(store.path("dataset"), storage_options=store.storage_options) as reader:
        counts = reader.manifest.counts
        rows = {table: await _rows(reader, table) for table in COUNTED}
        failed = (await reader.sql("SELECT count(*) FROM documents WHERE status = 'failed'", limit=1)).rows[0][0]
        mixed = (
            await reader.sql(f"SELECT count(*) FROM chunks WHERE parameter_version <> {version.version:d}", limit=1)  # noqa: S608
        ).rows[0][0]
    checks = [
        _equal("files in the sources and documents in the ledger", found, counts.documents),
        _equal("processed and failed documents", counts.processed + counts.failed, counts.documents),
        _equal("failed documents in the ledger", failed, counts.failed),
        check(
            READABLE,
            counts.processed > 0 or counts.documents == 0,
            f"{counts.processed} of {counts.documents}",
        ),
        *(_equal(f"rows of {table}", number, getattr(counts, table)) for table, number in rows.items()),
        _equal("passages of another parameter version", mixed, 0),
        check("fingerprint of the parameters", reader.manifest.fingerprint == version.fingerprint, version.fingerprint),
    ]
    return VerificationReport(
        passed=all(each.passed for each in checks), checks=checks, dataset_digest=reader.manifest.dataset_digest
    )


async def _files(held: Services, store: CustomerStore) -> list[SourceFile]:
    return await find_files(SourceList(await _recorded(store)), held.settings, store)


async def _recorded(store: CustomerStore) -> list[str]:
    try:
        return orjson.loads(await store.get(SOURCES))
    except NotFound:
        raise NotFound("The customer's sources are not recorded. Onboard it with initialize_customer.") from None


async def _rows(reader: DatasetReader, table: str) -> int:
    return int((await reader.sql(f"SELECT count(*) FROM {table}", limit=1)).rows[0][0] or 0)  # noqa: S608  a constant


def _equal(name: str, left: object, right: object) -> VerificationCheck:
    return check(name, left == right, f"{left} and {right}")
