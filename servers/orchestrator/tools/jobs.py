"""Following, answering and cancelling jobs, and starting those of a customer that exists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from servers.orchestrator.access import known_customer, known_job
from servers.orchestrator.orders import Order, ended
from servers.orchestrator.services import Services
from servers.orchestrator.store import Job
from servers.orchestrator.tools.arguments import (
    CustomerArgument,
    Detail,
    JobArgument,
    KeyArgument,
    SourcesArgument,
    following,
    handle,
)
from servers.orchestrator.tools.parameters import stored_parameters
from shared.contracts.job import JobHandle, JobView, QuestionKey
from shared.errors import Conflict, InvalidInput
from shared.serving import report

LONGEST_WAIT_S = 50


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def get_job(
        job_id: JobArgument,
        detail: Detail = "concise",
        wait_s: Annotated[
            int,
            Field(ge=0, le=LONGEST_WAIT_S, description="Wait up to this many seconds for the job to end or to ask."),
        ] = 0,
    ) -> JobView:
        """Show how far a job is, what it asks and, at its end, what it made or why it failed.

        Use it after any tool that returned a job_id. With wait_s it waits and reports progress meanwhile.
        """
        store = services().store
        job = await known_job(store, job_id)
        if wait_s:
            job = await ended(store, job, wait_s, _report)
        return job_view(job, detail)

    async def cancel_job(job_id: JobArgument) -> JobView:
        """Cancel a job and stop the work behind it. A job that has ended stays as it is.

        Use it for a job that was started by mistake or hangs. What its finished steps made is kept.
        """
        held = services()
        return job_view(await held.orders.cancel(await known_job(held.store, job_id)), "concise")

    async def answer_job(
        job_id: JobArgument,
        answers: Annotated[
            dict[QuestionKey, bool],
            Field(min_length=1, max_length=20, description="By the keys of the questions that get_job shows."),
        ],
    ) -> JobView:
        """Answer yes or no to what a job asks before it goes on. It goes on once each question has its answer.

        Use it when get_job shows the state waiting, with what a person has decided. An answer cannot be taken back.
        """
        held = services()
        job = await known_job(held.store, job_id)
        asked = [question.key for question in job.questions]
        if not set(answers) <= set(asked):
            asks = f"It has asked: {', '.join(asked)}." if asked else "It has asked nothing."
            raise InvalidInput(f"The job asks no such question. {asks}", field="answers")
        job = await held.orders.answer(job, answers)
        kept = {question.key: question.answer for question in job.questions}
        if other := [key for key, said in answers.items() if kept[key] is not said]:
            raise Conflict(
                f"The answer to {', '.join(other)} was not taken: it has another one already, or the job has ended."
            )
        return job_view(job, "concise")

    async def process_new_documents(
        customer_id: CustomerArgument,
        data_sources: Annotated[
            SourcesArgument | None,
            Field(
                description="Leave out to read the known sources again. Else these take their place, and files that "
                "only the known ones hold are removed; with add_sources they come beside them."
            ),
        ] = None,
        add_sources: Annotated[bool, Field(description="Keep the known sources and add data_sources.")] = False,
        parameter_version: Annotated[
            Annotated[int, Field(ge=1, le=2**31 - 1)] | Literal["newest"] | None,
            Field(
                description="Process all files anew with this version of the installation parameters; 'newest': the "
                "one saved last. Leave out to keep the dataset's own."
            ),
        ] = None,
        idempotency_key: KeyArgument = None,
    ) -> JobHandle:
        """Bring a customer's dataset and image up to date with its files. Returns a job at once.

        Use it when files were added, changed or removed; where new ones lie in another place than the known sources,
        name it with add_sources. It uses exactly the dataset's installation parameters and refuses if what would be
        computed now differs from them, as after an upgrade of the platform: then call save_installation_params and
        this tool with parameter_version='newest'.
        """
        if data_sources is not None and not [source for source in data_sources if source.strip()]:
            raise InvalidInput(
                "No data source is named: name at least one, or leave data_sources out.", field="data_sources"
            )
        if add_sources and data_sources is None:
            raise InvalidInput("Name what to add in data_sources.", field="data_sources")
        order = Order("update", data_sources, add_sources, parameter_version)
        return await _start(services(), customer_id, order, idempotency_key)

    async def build_image(customer_id: CustomerArgument, idempotency_key: KeyArgument = None) -> JobHandle:
        """Build, archive and package the image of a customer's present dataset once more. Returns a job at once.

        Use it after a change of the platform; new files need process_new_documents. Equal datasets give equal images.
        """
        return await _start(services(), customer_id, Order("build"), idempotency_key)

    async def verify_customer(customer_id: CustomerArgument, idempotency_key: KeyArgument = None) -> JobHandle:
        """Check a customer's dataset against its sources and start its image to ask it. Returns a job at once.

        Use it before a hand-over or when in doubt. The job fails with the first check that does not hold.
        """
        return await _start(services(), customer_id, Order("verification"), idempotency_key)

    server.tool(get_job, scope="jobs:read", title="Show a job", read_only=True, idempotent=True)
    server.tool(cancel_job, scope="jobs:write", title="Cancel a job", destructive=True, idempotent=True)
    server.tool(answer_job, scope="jobs:write", title="Answer a job", idempotent=True)
    server.tool(process_new_documents, scope="customers:write", title="Process new documents", idempotent=True)
    server.tool(build_image, scope="images:write", title="Build a customer's image", idempotent=True)
    server.tool(verify_customer, scope="images:read", title="Verify a customer", idempotent=True)


def job_view(job: Job, detail: str) -> JobView:
    """A job as callers see it; concise: what it made is shown once it has ended."""
    view = job.view().model_copy(update={"next": following(job)})
    return view if detail == "detailed" or job.ended else view.model_copy(update={"result": None})


async def _start(held: Services, customer_id: str, order: Order, key: str | None) -> JobHandle:
    customer = await known_customer(held.store, customer_id)

    async def check() -> None:
        if isinstance(order.parameter_version, int):
            await stored_parameters(held, customer_id, order.parameter_version)

    return handle(await held.orders.start(customer, order, key, check))


async def _report(job: Job) -> None:
    done = sum(step.state == "completed" for step in job.steps)
    running = next((step.name for step in job.steps if step.state == "running"), job.state)
    await report(done, len(job.steps), f"{running}: {job.progress.note}" if job.progress.note else running)
