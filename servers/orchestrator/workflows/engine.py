"""dbos, as used here: one durable workflow that walks the steps of a job. The only module that imports dbos.

The engine keeps, per job, which steps are done; its tables hold job ids and empty answers. It runs workflows on its own
event loop in its own thread; the pools and clients of this process belong to the main loop, so every step hops there.
At its start the engine takes every unfinished workflow of its executor id up again, and only the step in flight runs
again. All processes have the same id, so that any of them goes on after a crash; the worker's lease sees to it that
only one of them has its engine running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from servers.orchestrator.workflows.runner import Outcome, Runner
from shared.errors import Internal, Unavailable
from shared.telemetry import event

T = TypeVar("T")

NAME = "0711-orchestrator"
QUEUE = "jobs"
SCHEMA = "dbos"
VERSION = "1"  # fixed: a job that an older release started is taken up by a newer one; steps are idempotent
EXECUTOR = "orchestrator"
JOBS_AT_ONCE = 4
POLL_S = 0.5
RAISED = "raised"
CONNECTION = {
    "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000,
}  # fmt: skip
"""A call to a Postgres whose machine or network is gone ends after about a minute; else the worker would wait in it."""
ENDED = ["SUCCESS", "ERROR", "CANCELLED"]
FORGOTTEN_AT_ONCE = 500


class Engine:
    """Starts and stops dbos and hands it jobs.

    Args:
        url: `DatabaseUrls.dbos` of the database `platform`.
    """

    def __init__(self, url: str, runner: Runner) -> None:
        self._url = url
        self._runner = runner
        self._loop: asyncio.AbstractEventLoop | None = None
        self._workflow: Any = None

    async def start(self) -> None:
        """Import and start the engine; unfinished jobs go on at once. Takes a second or two, off the event loop. Does
        nothing where it runs.

        Raises:
            Unavailable: its database does not answer.
        """
        if self._workflow is not None:
            return
        self._loop = asyncio.get_running_loop()
        try:
            await asyncio.to_thread(self._launch)
        except Exception as error:  # noqa: BLE001  the engine's errors repeat addresses; none of them goes further
            event("engine_not_started", level=logging.WARNING, error=error)
            await asyncio.to_thread(_destroy)
            self._workflow = None
            raise Unavailable("The workflow engine did not start. It is tried again.") from None

    async def close(self) -> None:
        """Stop the engine. Running steps are interrupted; they run again at the next start."""
        if self._workflow is not None:
            await asyncio.to_thread(_destroy)
            self._workflow = None

    async def enqueue(self, job_id: str, customer_id: str, round_: int) -> None:
        """Hand over a job, or a job that has got its answers, `round_` times by now. The same again changes nothing."""
        await asyncio.to_thread(self._enqueue, job_id, customer_id, round_)

    async def forget(self, older_than: timedelta) -> int:
        """Delete what the engine keeps of workflows that ended so long ago, `FORGOTTEN_AT_ONCE` at most: the job's row
        is the truth, and a job that has ended is not handed over again. How many there were."""
        return await asyncio.to_thread(self._forget, (datetime.now(UTC) - older_than).isoformat())

    def _forget(self, before: str) -> int:
        from dbos import DBOS

        about: dict[str, Any] = {"load_input": False, "load_output": False, "limit": FORGOTTEN_AT_ONCE}
        found = [each.workflow_id for each in DBOS.list_workflows(status=ENDED, completed_before=before, **about)]
        DBOS.delete_workflows(found)
        return len(found)

    def _launch(self) -> None:
        from dbos import DBOS

        _quiet()
        DBOS(
            config={
                "name": NAME,
                "system_database_url": self._url.replace("postgresql://", "postgresql+psycopg://", 1),
                "dbos_system_schema": SCHEMA,
                "application_version": VERSION,
                "executor_id": EXECUTOR,
                "enable_otlp": False,
                "log_level": "WARNING",
                "use_listen_notify": False,
                "serializer": _json_serializer(),
                "sys_db_pool_size": 4,
                "max_executor_threads": 8,
                "db_engine_kwargs": {"hide_parameters": True, "connect_args": dict(CONNECTION)},
            }
        )

        async def job(job_id: str, customer_id: str, round_: int = 0) -> str:
            return await self._walk(job_id, customer_id, round_)

        self._workflow = DBOS.workflow(name="job", max_recovery_attempts=None)(job)
        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=JOBS_AT_ONCE, polling_interval_sec=POLL_S, on_conflict="always_update"
        )

    def _enqueue(self, job_id: str, customer_id: str, round_: int) -> None:
        from dbos import DBOS, SetWorkflowID

        with SetWorkflowID(f"{job_id}.{round_}" if round_ else job_id):
            DBOS.enqueue_workflow(QUEUE, self._workflow, job_id, customer_id, round_)

    async def _walk(self, job_id: str, customer_id: str, round_: int) -> str:
        """The workflow. Deterministic: what it does next depends on recorded answers alone. It ends where the job asks
        something; the answers start another one, which passes over the steps that are done."""
        from dbos import DBOS

        async def plan() -> list[str]:
            return await self._hop(self._runner.plan(job_id, customer_id))

        error = None
        for position, name in enumerate(await DBOS.run_step_async({"name": "plan"}, plan)):

            async def step(position: int = position, name: str = name) -> Outcome:
                return await self._hop(self._runner.step(job_id, customer_id, position, name, round_))

            outcome = await DBOS.run_step_async({"name": name}, step)
            if outcome.get("ended"):
                return "ended"
            error = outcome.get("error")
            if error is not None:
                break

        async def finish() -> Outcome:
            return await self._hop(self._runner.finish(job_id, customer_id, error, round_))

        await DBOS.run_step_async({"name": "finish"}, finish)
        return "failed" if error else "completed"

    async def _hop(self, work: Coroutine[Any, Any, T]) -> T:
        """Await something on the main loop. A cancellation on either side ends it on the other."""
        if self._loop is None or self._loop.is_closed():
            work.close()
            raise asyncio.CancelledError
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _destroy() -> None:
    from dbos import DBOS

    DBOS.destroy(destroy_registry=True)


def _quiet() -> None:
    """Let the engine's log records go to this process's own handlers, without its console output."""
    logger = logging.getLogger("dbos")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
    logger.setLevel(logging.WARNING)


def _json_serializer() -> Any:
    """JSON for the engine's tables: no pickles, which would run code on reading, and no text of any exception."""
    import orjson
    from dbos import Serializer

    class JsonSerializer(Serializer):
        def serialize(self, data: Any) -> str:
            if isinstance(data, BaseException):
                data = {RAISED: type(data).__name__}
            return orjson.dumps(data).decode()

        def deserialize(self, serialized_data: str) -> Any:
            data = orjson.loads(serialized_data)
            return Internal() if isinstance(data, dict) and RAISED in data else data

        def name(self) -> str:
            return "0711_json"

    return JsonSerializer()
