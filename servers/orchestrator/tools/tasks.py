"""The extension `io.modelcontextprotocol/tasks` over the durable job rows: a task's id is its job's id.

Only for clients that declare the extension; for all others the tool's answer is the job's handle. A task outlives this
process and can be read from any replica, because the row is all there is to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
    Result,
    TextContent,
)
from pydantic import Field, TypeAdapter, ValidationError

from servers.orchestrator.access import known_job
from servers.orchestrator.services import Services
from servers.orchestrator.store import Job
from servers.orchestrator.tools.jobs import job_view
from shared.auth import require
from shared.contracts.job import JobHandle, JobState
from shared.errors import Internal, NotFound, PlatformError
from shared.ids import JobId
from shared.serving.audited import note

IDENTIFIER = "io.modelcontextprotocol/tasks"
VERSIONS = frozenset({"2026-07-28"})
LONG_TOOLS = frozenset({"initialize_customer", "process_new_documents", "build_image", "verify_customer"})
POLL_MS = 1000

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
STATUS: dict[JobState, TaskStatus] = {
    "queued": "working",
    "running": "working",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
}
_JOB = TypeAdapter(JobId)


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str


class UpdateTaskParams(TaskParams):
    """Answers to a task's questions; jobs ask none."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


class TaskFields(Result):
    """A task's state."""

    task_id: str
    status: TaskStatus
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None = None
    poll_interval_ms: int | None = None


class CreateTaskResult(TaskFields):
    """What a long tool answers instead of its result."""

    result_type: Literal["task"] = "task"


class GetTaskResult(TaskFields):
    """A task's state with its result or error."""

    result_type: Literal["complete"] = "complete"
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class Acknowledged(Result):
    """The request was taken."""

    result_type: Literal["complete"] = "complete"


class Tasks(Extension):
    """Offers the extension's methods and turns handles into tasks."""

    identifier = IDENTIFIER

    def __init__(self, services: Callable[[], Services]) -> None:
        self._services = services

    def methods(self) -> list[MethodBinding]:
        return [
            MethodBinding("tasks/get", TaskParams, self.get, VERSIONS),
            MethodBinding("tasks/update", UpdateTaskParams, self.update, VERSIONS),
            MethodBinding("tasks/cancel", TaskParams, self.cancel, VERSIONS),
        ]

    async def get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> GetTaskResult:
        """A task's state; its result once there is one."""
        job = await self._job(ctx, params.task_id, "jobs:read")
        result = _result(job) if job.state == "completed" else None
        error = _error(job) if job.state == "failed" else None
        return GetTaskResult(**_fields(job), result=result, error=error)

    async def update(self, ctx: ServerRequestContext[Any, Any], params: UpdateTaskParams) -> Acknowledged:
        """Jobs ask no questions, so there is nothing to take."""
        await self._job(ctx, params.task_id, "jobs:read")
        return Acknowledged()

    async def cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Acknowledged:
        """Cancel the task's job."""
        job = await self._job(ctx, params.task_id, "jobs:write")
        try:
            await note(self._services().audit, "cancel_job.called", job.job_id, job.customer_id)
        except PlatformError as error:
            raise MCPError(INTERNAL_ERROR, error.message, {"0711/error": error.as_dict()}) from None
        await self._services().orders.cancel(job)
        return Acknowledged()

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """A long tool's handle becomes a task for a client that declared the extension; errors stay as they are."""
        answer = await call_next(ctx)
        if params.name not in LONG_TOOLS or not _opted_in(ctx) or not isinstance(answer, CallToolResult):
            return answer
        if answer.is_error or answer.structured_content is None:
            return answer
        handle = JobHandle.model_validate(answer.structured_content)
        job = await self._services().store.job(handle.job_id, handle.customer_id)
        return answer if job is None else CreateTaskResult(**_fields(job))

    async def _job(self, ctx: ServerRequestContext[Any, Any], task_id: str, scope: str) -> Job:
        require_client_extension(ctx, IDENTIFIER)
        try:
            require(scope)
            return await known_job(self._services().store, _JOB.validate_python(task_id))
        except (NotFound, ValidationError):
            raise MCPError(INVALID_PARAMS, "Unknown task") from None
        except PlatformError as error:
            raise MCPError(INTERNAL_ERROR, error.message, {"0711/error": error.as_dict()}) from None


def _opted_in(ctx: ServerRequestContext[Any, Any]) -> bool:
    declared = ctx.session.client_capabilities
    return ctx.protocol_version in VERSIONS and bool(
        declared and declared.extensions and IDENTIFIER in declared.extensions
    )


def _fields(job: Job) -> dict[str, Any]:
    running = next((step.name for step in job.steps if step.state == "running"), None)
    return {
        "task_id": job.job_id,
        "status": STATUS[job.state],
        "status_message": running or job.state,
        "created_at": job.created_at.isoformat(),
        "last_updated_at": job.updated_at.isoformat(),
        "ttl_ms": None,
        "poll_interval_ms": POLL_MS,
    }


def _result(job: Job) -> dict[str, Any]:
    """What the tool would have answered at the end: the job with what it made."""
    view = job_view(job, "detailed")
    result = CallToolResult(
        content=[TextContent(type="text", text=view.model_dump_json(exclude_none=True))],
        structured_content=view.model_dump(mode="json"),
    )
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


def _error(job: Job) -> dict[str, Any]:
    told = job.error or Internal().as_dict()
    return {"code": INTERNAL_ERROR, "message": str(told.get("message", "")), "data": {"0711/error": told}}
