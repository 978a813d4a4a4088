"""Arguments that several tools take, described once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from servers.orchestrator.store import Job
from shared.contracts.job import JobHandle, JobKind
from shared.ids import CustomerId, JobId

CustomerArgument = Annotated[
    CustomerId,
    Field(description="A customer's id such as mueller-elektro, not its name: list_customers shows both."),
]
JobArgument = Annotated[JobId, Field(description="A job's id, as the tool that started it gave it.")]
KeyArgument = Annotated[
    Annotated[str, StringConstraints(pattern=r"^[!-~]{1,200}$")] | None,
    Field(description="Send the same key when you repeat a call whose answer was lost: it starts nothing twice."),
]
Source = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
SourcesArgument = Annotated[
    list[Source],
    Field(
        max_length=100,
        description="Places in the customer's bucket, as bucket:prefix or s3://bucket/prefix. A platform administrator "
        "may also name folders and files of the processing machine, as file:// addresses or absolute paths.",
    ),
]
Detail = Annotated[
    Literal["concise", "detailed"], Field(description="'detailed' also shows what a job has made before it ended.")
]


_IMAGE = "deploy_customer runs the image in a container engine; the package to hand over is at its place `delivery`."
_MADE: dict[JobKind, str] = {
    "onboarding": _IMAGE,
    "update": "Running instances serve the new version; where none runs, deploy_customer starts one.",
    "build": _IMAGE,
    "verification": "Every check held: nothing is left to do.",
    "deployment": "Ask the MCP server at its place `instance`, with the key in the file at its place `access_key`, or "
    "through the marketplace, where it is installed for the customer.",
    "rollback": "list_deployments shows what is served now.",
    "migration": "list_deployments shows whether the new image serves; deploy_customer lets it.",
}
"""What follows a job that was completed."""


def following(job: Job) -> str:
    """What to call after a look at a job."""
    if job.state == "completed":
        return _MADE[job.kind]
    if job.state == "failed":
        return "Do what the error says, then call the tool that started the job again."
    if job.state == "cancelled":
        return "Call the tool that started the job again where it is wanted after all."
    if job.state == "waiting":
        return "Answer its questions with answer_job."
    return f"Call get_job with job_id={job.job_id} and wait_s=30 again."


def handle(job: Job) -> JobHandle:
    """What a tool that started a job answers."""
    said = (
        "The job has ended: get_job shows what it made."
        if job.ended
        else f"Call get_job with job_id={job.job_id} and wait_s=30 until the state is completed, failed or cancelled."
    )
    if job.choice.get("ask"):
        said += " In the state waiting it asks something: answer_job answers."
    return JobHandle(job_id=job.job_id, customer_id=job.customer_id, kind=job.kind, state=job.state, next=said)
