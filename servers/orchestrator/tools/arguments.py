"""Arguments that several tools take, described once."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from servers.orchestrator.store import Job
from shared.contracts.job import JobHandle
from shared.ids import CustomerId, JobId

CustomerArgument = Annotated[
    CustomerId, Field(description="A customer's id, as list_customers and initialize_customer give it.")
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


def handle(job: Job) -> JobHandle:
    """What a tool that started a job answers."""
    following = (
        "The job has ended: get_job shows what it made."
        if job.ended
        else f"Call get_job with job_id={job.job_id} and wait_s=30 until the state is completed, failed or cancelled."
    )
    if job.choice.get("ask"):
        following += " In the state waiting it asks something: answer_job answers."
    return JobHandle(job_id=job.job_id, customer_id=job.customer_id, kind=job.kind, state=job.state, next=following)
