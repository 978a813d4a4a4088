"""The extension `io.modelcontextprotocol/tasks` over the durable job rows: a task's id is its job's id.

Only for clients that declare the extension; for all others the tool's answer is the job's handle. A task outlives this
process and can be read from any replica, because the row is all there is to it. As the extension has it, a job that
ended with an error that the caller can act on is `completed`, and its result is that error; `failed` is a fault of the
platform's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
    Result,
    TextContent,
)
from pydantic import Field, SerializerFunctionWrapHandler, TypeAdapter, ValidationError, model_serializer

from servers.orchestrator.access import known_job
from servers.orchestrator.questions import answer_of, form_of
from servers.orchestrator.services import Services
from servers.orchestrator.store import Job
from servers.orchestrator.tools.arguments import handle
from servers.orchestrator.tools.jobs import job_view
from shared.auth import require
from shared.contracts.job import JobHandle
from shared.errors import Internal, NotFound, PlatformError, from_dict
from shared.ids import JobId
from shared.serving.audited import note
from shared.serving.failures import protocol_error, tool_result

IDENTIFIER = "io.modelcontextprotocol/tasks"
VERSIONS = frozenset({"2026-07-28"})
POLL_MS = 1000

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
_STATUS: dict[str, TaskStatus] = {"waiting": "input_required", "completed": "completed", "cancelled": "cancelled"}
_JOB = TypeAdapter(JobId)


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str


class UpdateTaskParams(TaskParams):
    """Answers to a task's questions, by their keys."""

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

    @model_serializer(mode="wrap")
    def _with_ttl(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """`ttlMs` is null, not absent, where a task stays for good: the extension has it so."""
        return {"ttlMs": None, **serialize(self)}


class CreateTaskResult(TaskFields):
    """What a long tool answers instead of its result."""

    result_type: Literal["task"] = "task"


class GetTaskResult(TaskFields):
    """A task's state with its result, its error, or what it asks."""

    result_type: Literal["complete"] = "complete"
    input_requests: dict[str, Any] | None = None
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
        """A task's state; its result once there is one, its questions while it waits for answers."""
        job = await self._job(ctx, params.task_id, "jobs:read")
        fields = _fields(job, ctx)
        asked = {each.key: form_of(each) for each in job.unanswered} if fields["status"] == "input_required" else None
        result = _result(job) if fields["status"] == "completed" else None
        error = _fault(job) if fields["status"] == "failed" else None
        return GetTaskResult(**fields, input_requests=asked, result=result, error=error)

    async def update(self, ctx: ServerRequestContext[Any, Any], params: UpdateTaskParams) -> Acknowledged:
        """Take answers to what the task asks. Those to other questions are passed over, as the extension has it."""
        job = await self._job(ctx, params.task_id, "jobs:write")
        known = {each.key for each in job.unanswered}
        try:
            answers = {key: answer_of(said) for key, said in params.input_responses.items() if key in known}
            if answers:
                await note(self._services().audit, "answer_job.called", job.job_id, job.customer_id)
                await self._services().orders.answer(job, answers)
        except PlatformError as error:
            raise protocol_error(error) from None
        return Acknowledged()

    async def cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> Acknowledged:
        """Cancel the task's job."""
        job = await self._job(ctx, params.task_id, "jobs:write")
        try:
            await note(self._services().audit, "cancel_job.called", job.job_id, job.customer_id)
        except PlatformError as error:
            raise protocol_error(error) from None
        await self._services().orders.cancel(job)
        return Acknowledged()

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """A job's handle becomes a task for a client that declared the extension; other answers stay as they are."""
        answer = await call_next(ctx)
        given = _handle(answer) if _opted_in(ctx) else None
        job = None if given is None else await self._services().store.job(given.job_id, given.customer_id)
        return answer if job is None else CreateTaskResult(**_fields(job, ctx))

    async def _job(self, ctx: ServerRequestContext[Any, Any], task_id: str, scope: str) -> Job:
        require_client_extension(ctx, IDENTIFIER)
        if ctx.request is not None and decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != task_id:
            raise MCPError(HEADER_MISMATCH, f"The header {MCP_NAME_HEADER} does not name the task of the body.")
        try:
            require(scope)
            return await known_job(self._services().store, _JOB.validate_python(task_id))
        except (NotFound, ValidationError):
            raise MCPError(INVALID_PARAMS, "Unknown task") from None
        except PlatformError as error:
            raise protocol_error(error) from None


def _opted_in(ctx: ServerRequestContext[Any, Any]) -> bool:
    declared = ctx.session.client_capabilities
    return ctx.protocol_version in VERSIONS and bool(
        declared and declared.extensions and IDENTIFIER in declared.extensions
    )


def _shows_forms(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether the client says that it can show a form; one that names no kind of elicitation means forms."""
    declared = ctx.session.client_capabilities
    asked = declared and declared.elicitation
    return asked is not None and (asked.form is not None or asked.url is None)


def _handle(answer: HandlerResult) -> JobHandle | None:
    """The handle that a tool answered with, where it started a job."""
    if not isinstance(answer, CallToolResult) or answer.is_error:
        return None
    try:
        return JobHandle.model_validate(answer.structured_content)
    except ValidationError:
        return None


def _status(job: Job) -> TaskStatus:
    if job.state == "failed":
        return "failed" if isinstance(_why(job), Internal) else "completed"
    return _STATUS.get(job.state, "working")


def _fields(job: Job, ctx: ServerRequestContext[Any, Any]) -> dict[str, Any]:
    running = next((step.name for step in job.steps if step.state == "running"), None)
    status, message = _status(job), running or job.state
    if status == "input_required" and not _shows_forms(ctx):
        status, message = "working", "waits for answers: call get_job, then answer_job"
    return {
        "task_id": job.job_id,
        "status": status,
        "status_message": message,
        "created_at": job.created_at.isoformat(),
        "last_updated_at": job.updated_at.isoformat(),
        "ttl_ms": None,
        "poll_interval_ms": POLL_MS,
    }


def _result(job: Job) -> dict[str, Any]:
    """What the tool would have answered at the end: the job with what it made, or the error that it ended with.

    Its structured part is the tool's own, a handle: clients check it against the tool's output schema.
    """
    if job.state == "failed":
        result = tool_result(_why(job))
    else:
        view = job_view(job, "detailed").model_dump_json(exclude_none=True)
        result = CallToolResult(content=[TextContent(type="text", text=view)])
    result.structured_content = handle(job).model_dump(mode="json")
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


def _fault(job: Job) -> dict[str, Any]:
    return protocol_error(_why(job)).error.model_dump(by_alias=True, mode="json", exclude_none=True)


def _why(job: Job) -> PlatformError:
    return from_dict(job.error or {})
