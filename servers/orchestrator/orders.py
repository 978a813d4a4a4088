"""Starting and stopping jobs, each at most once however often it is asked for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from servers.orchestrator.access import may_reach, partner_of
from servers.orchestrator.locks import Locks
from servers.orchestrator.store import Customer, Job, JobStore, NewJob, Session
from servers.orchestrator.upstreams import Upstreams
from servers.orchestrator.workflows.plan import STEPS, ParameterVersion, carried_over, processed_anew
from shared.auth import principal, require_sources
from shared.contracts.catalogue import CataloguePage, CustomerRegistered
from shared.contracts.deployment import LegacyPrepared, QuestionsKept
from shared.contracts.installation import ParameterChoice
from shared.contracts.job import JobKind, JobResult
from shared.contracts.processing import SourcesChecked, SourcesPrepared
from shared.errors import Conflict, InvalidInput
from shared.ids import EMAIL_PATTERN, canonical_digest, customer_id, new_handle

PREPARE_DEADLINE_S = 30.0
LOOK_EVERY_S = 0.4
ORDERS_AT_ONCE = 4
"""An order holds a connection to the database while cradle looks at its sources: most are for everything else."""
DEFAULTS = ParameterChoice.model_validate({})


@dataclass(frozen=True, slots=True)
class Migration:
    """What `migrate_customer` was asked beside.

    Args:
        host: where the new image is deployed once it is reconciled; None: nowhere.
        accepted: differences that do not refuse the cut-over (`AcceptedDifference`).
        asks: whether the job asks about other differences and waits, instead of failing.
        questions: planted questions (content), passed on to the customer's bucket.
    """

    host: str | None = None
    accepted: tuple[str, ...] = ()
    asks: bool = False
    questions: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Request:
    """What `initialize_customer` or `migrate_customer` was asked. `data_sources` says where content lies, for a
    migration the one place of the legacy deployment; only its digest is kept."""

    company_name: str
    contact_email: str
    data_sources: list[str]
    deployment_target: str = "package"
    mcps: list[str] = field(default_factory=list)
    choice: ParameterChoice = DEFAULTS
    migration: Migration | None = None

    @property
    def kind(self) -> JobKind:
        """Which job it asks for."""
        return "onboarding" if self.migration is None else "migration"

    @property
    def digest(self) -> str:
        """The digest over all of it."""
        asked: dict[str, object] = {
            "kind": self.kind,
            "company_name": self.company_name,
            "contact_email": self.contact_email,
            "data_sources": self.data_sources,
            "deployment_target": self.deployment_target,
            "mcps": sorted(self.mcps),
            "choice": self.choice.model_dump(mode="json"),
        }
        if self.migration is not None:
            asked["migration"] = [self.migration.host, sorted(self.migration.accepted), self.migration.questions]
            if self.migration.asks:
                asked["asks"] = True
        return canonical_digest(asked)

    @property
    def chosen(self) -> dict[str, Any]:
        """What the job's steps need of it; no content."""
        chosen = self.choice.model_dump(mode="json")
        if self.migration is not None:
            asked = self.migration
            chosen |= {"host": asked.host, "accept": sorted(asked.accepted), "ask": asked.asks}
        return chosen


@dataclass(frozen=True, slots=True)
class Order:
    """What a job of a customer that exists was asked for.

    Args:
        data_sources: the new list of sources; None: the known one.
        add_sources: they come to the known ones, and not in their place.
        parameter_version: process all files anew with these parameters; None: those of the present dataset.
        choice: what a deployment or a roll-back was ordered with; holds no content.
        said: what of the choice the caller named: the same said again is the same order, whatever it means now.
        questions: planted questions (content), which take the place of earlier ones once the order is accepted.
    """

    kind: JobKind
    data_sources: list[str] | None = None
    add_sources: bool = False
    parameter_version: ParameterVersion | None = None
    choice: dict[str, Any] | None = None
    said: dict[str, Any] | None = None
    questions: list[dict[str, Any]] | None = None

    def digest(self, customer: str) -> str:
        """The digest over all of it, for this customer."""
        asked: dict[str, object] = {"kind": self.kind, "customer_id": customer, "data_sources": self.data_sources}
        if self.add_sources:
            asked["add_sources"] = True
        if self.parameter_version is not None:
            asked["parameter_version"] = self.parameter_version
        if self.choice is not None:
            asked["choice"] = self.said or self.choice
        if self.questions is not None:
            asked["questions"] = canonical_digest(self.questions)
        return canonical_digest(asked)


class Orders:
    """Takes orders for jobs.

    Args:
        wake: tells this process's worker, where it has one, that a job was queued or cancelled.
    """

    def __init__(self, store: JobStore, upstreams: Upstreams, wake: Callable[[], None] = lambda: None) -> None:
        self._store = store
        self._upstreams = upstreams
        self._wake = wake
        self._locks = Locks()
        self._turns = asyncio.Semaphore(ORDERS_AT_ONCE)

    async def onboard(self, request: Request, key: str | None = None) -> Job:
        """Start a customer's onboarding, or give the job that the same request has started.

        Cradle checks the sources before the customer is registered, and keeps them before anything is stored here: a
        refused source leaves no customer, and name and address free for the request that mends it.

        Raises:
            InvalidInput: a value does not fit; cradle's word on a source passes through.
            Conflict: the customer exists with another request, or the key was used for another one.
            Forbidden: a source is not in the customer's bucket, and the caller is no platform administrator.
        """
        request = _checked(request)
        require_sources(request.data_sources)
        named = customer_id(request.company_name)

        async def place(session: Session) -> Job:
            job = await self._onboarding_of(session, named, request)
            return job or await self._queue_onboarding(session, named, request)

        return await self._once(named, request.digest, key, place)

    async def start(
        self,
        customer: Customer,
        order: Order,
        key: str | None = None,
        check: Callable[[], Awaitable[object]] | None = None,
    ) -> Job:
        """Start a job of a customer that exists, or give the open job that the same order has started.

        Args:
            check: raises where a new job could not do its work; not called where the order has a job already.

        Raises:
            Conflict: another job of the customer is open, it has no dataset yet, or the key was used otherwise.
            Forbidden: a source is not in the customer's bucket, and the caller is no platform administrator.
        """
        require_sources(order.data_sources or [])
        named = customer.customer_id
        digest = order.digest(named)

        async def place(session: Session) -> Job:
            open_job = await session.open_job(named)
            if open_job is not None and open_job.request_digest == digest:
                return open_job
            if open_job is not None:
                raise busy(open_job)
            if check is not None:
                await check()
            start_from = await _start_from(session, named, order)
            if order.data_sources is not None:
                kept = await self._prepare(named, order.data_sources, add=order.add_sources)
                await session.put_sources(named, kept)
            if order.questions is not None:
                await self._keep(named, order.questions)
            return await session.add_job(self._new(named, order.kind, digest, start_from, order.choice))

        return await self._once(named, digest, key, place)

    async def cancel(self, job: Job) -> Job:
        """Cancel a job and stop the call that it waits for. A job that has ended stays as it is."""
        await self._store.cancel(job)
        self._wake()
        return await self._store.job(job.job_id, job.customer_id) or job

    async def answer(self, job: Job, answers: dict[str, bool]) -> Job:
        """Answer what a job waits for, all of it or a part; with the last answer it goes on."""
        answered = await self._store.answer(job, answers)
        self._wake()
        return answered

    async def _once(self, named: str, digest: str, key: str | None, place: Callable[[Session], Awaitable[Job]]) -> Job:
        """The job that the key was answered with before, or what `place` gives, which the key then stands for."""
        async with self._locks.of(named), self._turns, self._store.session(named) as session:
            await session.lock(named)
            known = await session.job_by_key(principal().subject, key) if key is not None else None
            if known is not None and known.request_digest != digest:
                raise Conflict(
                    "This idempotency key was used for another request: use a new key, or send the same request again.",
                    field="idempotency_key",
                )
            job = known or await place(session)
            if key is not None and known is None:
                await session.add_key(principal().subject, key, job)
        self._wake()
        return job

    async def _onboarding_of(self, session: Session, named: str, request: Request) -> Job | None:
        """The job that this very request has started and that is open or went well."""
        existing = await session.customer(named)
        if existing is None:
            return None
        if not may_reach(principal(), existing):
            raise Conflict("A customer of this name exists already: choose another name.", field="company_name")
        job = await session.last_job(named, request.kind)
        if existing.request_digest == request.digest and job is not None and job.state not in {"failed", "cancelled"}:
            return job
        if existing.state == "active":
            raise Conflict(
                f"The customer {named} exists already: use process_new_documents for further files, "
                "save_installation_params and then process_new_documents with parameter_version for other parameters, "
                "or another company name.",
                field="company_name",
            )
        if (open_job := await session.open_job(named)) is not None:
            raise busy(open_job)
        return None

    async def _queue_onboarding(self, session: Session, named: str, request: Request) -> Job:
        await self._check(named, request)
        existing = await session.customer(named)
        partner = existing.partner if existing is not None else partner_of(principal())
        await self._upstreams.marketplace.call(
            "register_customer",
            {
                "customer_id": named,
                "company_name": request.company_name,
                "contact_email": request.contact_email,
                "partner": partner,
            },
            CustomerRegistered,
            deadline_s=PREPARE_DEADLINE_S,
        )
        customer = Customer(
            customer_id=named,
            company_name=request.company_name,
            contact_email=request.contact_email,
            deployment_target=request.deployment_target,
            mcps=tuple(sorted(request.mcps)),
            partner=partner,
            request_digest=request.digest,
            sources_digest=await self._prepare_all(named, request),
        )
        if not await session.put_customer(customer):
            raise Conflict(f"The customer {named} exists already: use process_new_documents for further files.")
        return await session.add_job(self._new(named, request.kind, request.digest, JobResult(), request.chosen))

    async def _check(self, named: str, request: Request) -> None:
        """What can be refused before the customer is registered, asked as the platform: until then it has no token.

        Raises:
            InvalidInput: a source or a server is none, or a choice of parameters cannot be met.
        """
        for server_name in request.mcps:
            if not await self._listed(named, server_name):
                raise InvalidInput(
                    f"The catalogue has no server {server_name}: list_marketplace_mcps of the marketplace names them.",
                    field="mcps",
                )
        if request.migration is None:
            tool, arguments, answer = "check_customer", {"data_sources": request.data_sources}, SourcesChecked
        else:
            tool, arguments, answer = "check_migration", {"legacy": request.data_sources[0]}, LegacyPrepared
        arguments |= {"customer_id": named, "choice": request.choice.model_dump(mode="json")}
        await self._upstreams.cradle.call(tool, arguments, answer, deadline_s=PREPARE_DEADLINE_S)

    async def _listed(self, named: str, server_name: str) -> bool:
        """Whether the catalogue has a server that this customer could have; another customer's own is none."""
        cursor = None
        while True:
            arguments = {"query": server_name, "limit": 100, "cursor": cursor}
            page = await self._upstreams.marketplace.call(
                "list_marketplace_mcps", arguments, CataloguePage, deadline_s=PREPARE_DEADLINE_S
            )
            for entry in page.entries:
                if entry.server_name == server_name:
                    return entry.customer_id in {None, named}
            if (cursor := page.next_cursor) is None:
                return False

    async def _prepare_all(self, named: str, request: Request) -> str:
        if request.migration is None:
            return await self._prepare(named, request.data_sources)
        prepared = await self._upstreams.cradle.call(
            "prepare_migration", {"legacy": request.data_sources[0]}, LegacyPrepared,
            customer=named, deadline_s=PREPARE_DEADLINE_S,
        )  # fmt: skip
        if request.migration.questions:
            await self._keep(named, request.migration.questions)
        return prepared.sources_digest

    async def _keep(self, named: str, questions: list[dict[str, Any]]) -> None:
        await self._upstreams.cradle.call(
            "keep_questions", {"questions": questions}, QuestionsKept, customer=named, deadline_s=PREPARE_DEADLINE_S
        )

    async def _prepare(self, named: str, data_sources: list[str], *, add: bool = False) -> str:
        prepared = await self._upstreams.cradle.call(
            "prepare_customer", {"data_sources": data_sources, "add": add}, SourcesPrepared,
            customer=named, deadline_s=PREPARE_DEADLINE_S,
        )  # fmt: skip
        return prepared.sources_digest

    def _new(
        self, named: str, kind: JobKind, digest: str, start_from: JobResult, choice: dict[str, Any] | None
    ) -> NewJob:
        return NewJob(
            job_id=new_handle("job"),
            customer_id=named,
            kind=kind,
            steps=STEPS[kind],
            request_digest=digest,
            created_by=principal().subject,
            choice=choice or {},
            result=start_from,
        )


async def _start_from(session: Session, named: str, order: Order) -> JobResult:
    """What of earlier jobs a new one builds on.

    Raises:
        Conflict: the customer has no dataset yet.
    """
    before, delivered = await session.last_with_dataset(named), await session.last_delivery(named)
    known = carried_over(
        before.result if before is not None else JobResult(), delivered.result if delivered is not None else None
    )
    return known if order.parameter_version is None else processed_anew(order.parameter_version)


async def ended(store: JobStore, job: Job, deadline_s: float, seen: Callable[[Job], Awaitable[None]]) -> Job:
    """Wait until a job ends or asks something, `deadline_s` seconds at most; `seen` gets each state of it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not job.ended and not job.unanswered and loop.time() < end:
        await asyncio.sleep(min(LOOK_EVERY_S, max(0.0, end - loop.time())))
        job = await store.job(job.job_id, job.customer_id) or job
        await seen(job)
    return job


def _checked(request: Request) -> Request:
    name, email = " ".join(request.company_name.split()), request.contact_email.strip().lower()
    if not name:
        raise InvalidInput("The company name is empty: give the company's name.", field="company_name")
    if len(customer_id(name)) < 2:
        raise InvalidInput(
            "The company name has no two Latin letters to make a customer id from: write it in Latin letters.",
            field="company_name",
        )
    if len(email) > 254 or not re.fullmatch(EMAIL_PATTERN, email):
        raise InvalidInput(
            "The contact address is not an e-mail address such as name@example.com.", field="contact_email"
        )
    if not request.data_sources or not all(source.strip() for source in request.data_sources):
        raise InvalidInput("No data source is named: name at least one folder or file.", field="data_sources")
    return replace(request, company_name=name, contact_email=email)


def busy(job: Job) -> Conflict:
    """What whoever orders something else is told while a job is open."""
    if job.unanswered:
        return Conflict(
            f"The job {job.job_id} of this customer waits for answers: get_job shows the questions, answer_job answers "
            "them, cancel_job cancels it."
        )
    return Conflict(
        f"The job {job.job_id} of this customer has not ended: wait for it with get_job, or cancel it with cancel_job."
    )
