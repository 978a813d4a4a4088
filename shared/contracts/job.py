"""Jobs: ids, states, counts, durations. Holds no content."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest, JobId

JobKind = Literal["onboarding", "update", "build", "verification", "deployment", "rollback", "migration"]
JobState = Literal["queued", "running", "waiting", "completed", "failed", "cancelled"]
FINAL_STATES = frozenset({"completed", "failed", "cancelled"})
QuestionKey = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,60}$")]


class JobHandle(Contract):
    """What a long-running tool returns at once."""

    job_id: JobId
    customer_id: CustomerId
    kind: JobKind
    state: JobState
    next: str = Field(description="What to call next, in words.")


class JobStep(Contract):
    """One step of a job."""

    name: str
    state: Literal["pending", "running", "completed", "failed"]
    seconds: float | None = Field(None, ge=0)


class JobProgress(Contract):
    """How far the running step is."""

    done: int = Field(0, ge=0)
    total: int | None = Field(None, ge=0)
    note: str = Field("", max_length=200, description="Counts in words; never a file name.")


class JobResult(Contract):
    """What a finished job made: digests and numbers."""

    numbers: dict[str, int | float] = Field(
        default_factory=dict,
        description="Counts; `seconds_` of a stage are added over documents that are read at once, with their waiting.",
    )
    digests: dict[str, Digest] = Field(default_factory=dict)
    places: dict[str, str] = Field(default_factory=dict)


class JobQuestion(Contract):
    """What a job asks before it goes on: yes or no."""

    key: QuestionKey = Field(description="Names it in answer_job; a job never uses one twice.")
    message: str = Field(max_length=1000, description="The question, with counts; never content.")
    answer: bool | None = None


class JobView(Contract):
    """A job as `get_job` shows it."""

    job_id: JobId
    customer_id: CustomerId
    kind: JobKind
    state: JobState
    steps: list[JobStep]
    progress: JobProgress
    questions: list[JobQuestion] = Field(
        default_factory=list, description="What it has asked. In the state waiting, those without an answer hold it up."
    )
    result: JobResult | None = None
    error: dict[str, str | bool | float] | None = None
    next: str = Field(default="", description="What to call next, in words.")
    created_at: datetime
    updated_at: datetime
