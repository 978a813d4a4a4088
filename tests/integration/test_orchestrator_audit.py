"""The orchestrator's tools that change something: in the audit log first, or refused."""

from __future__ import annotations

from typing import Any

import pytest

from shared.audit import AuditLog
from shared.contracts.job import JobQuestion
from tests.orchestrator_rig import TASKS, put_job, put_onboarded, running_rig, settings_in

pytestmark = pytest.mark.requirement("A-10")

ARGUMENTS: dict[str, dict[str, Any]] = {
    "initialize_customer": {
        "company_name": "Neu GmbH", "contact_email": "it@example.com", "data_sources": ["file:///data"],
    },
    "migrate_customer": {"company_name": "Alt GmbH", "contact_email": "it@example.com", "legacy": "file:///alt"},
    "rollback_customer": {"customer_id": "muster", "tag": "p1-0"},
    "save_installation_params": {"customer_id": "muster", "choice": {}},
}  # fmt: skip


async def test_with_the_log_down_nothing_is_ordered_or_cancelled_and_reading_goes_on(
    database: Any, postgres_server: Any, tmp_path: Any
) -> None:
    platform = await database("shared", "servers.orchestrator")
    urls = {"platform": platform.urls, "user_registry": (await database("servers.marketplace", "shared")).urls}
    async with (
        postgres_server.superuser(platform.urls) as superuser,
        running_rig(settings_in(tmp_path / "home"), urls) as rig,
    ):
        await put_onboarded(rig.store, "muster")
        job = await put_job(rig.store, "muster", "build")
        await rig.store.begin_step(job, 0)
        await rig.store.ask(job, 0, [JobQuestion(key="documents", message="Accept?")])
        naming = {"job_id": job.job_id}
        answering = {**naming, "answers": {"documents": True}}
        tools = (await rig.request("tools/list", {}, None))["result"]["tools"]
        changing = [tool["name"] for tool in tools if not tool["annotations"]["readOnlyHint"]]
        assert len(changing) == 11
        rows = (
            "SELECT (SELECT string_agg(t::text, ',') FROM jobs t), (SELECT string_agg(t::text, ',') FROM customers t)"
        )
        before = await superuser.fetchrow(rows)
        await superuser.execute("ALTER TABLE audit RENAME TO audit_away")
        for tool in changing:
            of_jobs = {"cancel_job": naming, "answer_job": answering}
            arguments = of_jobs.get(tool) or ARGUMENTS.get(tool) or {"customer_id": "muster"}
            refused = (await rig.call(tool, arguments))["result"]
            assert refused["_meta"]["0711/error"]["code"] == "unavailable", tool
            assert "audit log" in refused["content"][0]["text"], tool
        asked = {"taskId": job.job_id, "inputResponses": {"documents": {"action": "decline"}}}
        for method in ("tasks/cancel", "tasks/update"):
            stopped = await rig.request(method, asked, job.job_id, extensions={TASKS: {}})
            assert "audit log" in stopped["error"]["message"]
        assert await superuser.fetchrow(rows) == before
        assert (await rig.call("get_job", {"job_id": job.job_id}))["result"]["isError"] is False
        await superuser.execute("ALTER TABLE audit_away RENAME TO audit")
        assert (await rig.call("cancel_job", {"job_id": job.job_id}))["result"]["isError"] is False
        told = await AuditLog(platform.db).newest()
        assert [(each.verb, each.subject) for each in told] == [("cancel_job.called", job.job_id)]
