"""kill -9 of the orchestrator and of cradle at every step of an onboarding: the job ends, each effect exists once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servers.marketplace.tools.usage import Usage
from shared.client import Upstream
from shared.contracts.embedding import EmbeddingResult
from shared.contracts.installation import InstallationVersion
from shared.contracts.job import FINAL_STATES, JobHandle, JobView
from shared.errors import PlatformError
from shared.metering.units import CRADLE
from tests.e2e.conftest import JOB_S, Running, platform_in
from tests.e2e.test_servers import operator_tokens

pytestmark = pytest.mark.slow

LOOK_S = 0.1
"""Between two looks at a job: steps take seconds, and fifty looks a second would take a processor from them."""
STEPS = {
    "orchestrator": ("fix parameters", "process", "build", "verify image"),
    "cradle": ("process", "build", "verify image"),
}


@pytest.fixture(scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    """A platform of its own: its servers are killed."""
    root = tmp_path_factory.mktemp("victim")
    (root / "files").mkdir()
    for number in range(40):
        text = f"Datenblatt {number}: Klemme K-{number} hält {number} Ampere. " * 60
        (root / "files" / f"blatt-{number}.txt").write_text(text)
    async with platform_in(root / "home", root) as running:
        yield running


def process_of(server: str, parent: int) -> int | None:
    """The process that `0711 up` runs a server in."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                status = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(status[1]) == parent and b"serve" in words and server.encode() in words:
                return int(folder.name)
    return None


async def look(platform: Running, job_id: str) -> JobView | None:
    """The job, or None while the orchestrator is away."""
    try:
        return await platform.agent.orchestrator("get_job", {"job_id": job_id}, JobView)
    except PlatformError as error:
        if not error.retryable:
            raise
        return None


def under_way(view: JobView, step: str) -> bool:
    """Whether a step runs; processing only once it has documents behind it and writes."""
    running = any(each.name == step and each.state == "running" for each in view.steps)
    return running and (step != "process" or view.progress.done > 0)


@pytest.mark.requirement("M-05", "F-01")
async def test_a_job_cancelled_in_the_middle_of_processing_leaves_nothing_in_the_way(victim: Running) -> None:
    source = victim.settings.home.parent / "files"
    order = {"company_name": "Abbruch GmbH", "contact_email": "it@example.com", "data_sources": [source.as_uri()]}
    handle = await victim.agent.orchestrator("initialize_customer", order, JobHandle)
    async with asyncio.timeout(JOB_S):
        while (view := await look(victim, handle.job_id)) is None or not under_way(view, "process"):
            assert view is None or view.state not in FINAL_STATES, "the job ended before it could be cancelled"
            await asyncio.sleep(LOOK_S)
    await victim.agent.orchestrator("cancel_job", {"job_id": handle.job_id}, JobView)
    assert (await victim.follow(handle.job_id)).state == "cancelled"
    again = await victim.agent.orchestrator("initialize_customer", order, JobHandle)
    assert again.job_id != handle.job_id
    view = await victim.follow(again.job_id)
    assert view.state == "completed", view.error
    assert view.result is not None
    assert view.result.numbers["documents"] == 40


async def metered(platform: Running, customer_id: str) -> dict[str, tuple[int, int]]:
    """Tool of cradle → calls and tokens that are counted for a customer."""
    url = platform.settings.resource("marketplace")
    async with Upstream(url, operator_tokens(platform.settings)) as marketplace:
        usage = await marketplace.call("get_usage", {}, Usage, customer=customer_id)
    rows = [row for row in usage.rows if (row.customer_id, row.server_name) == (customer_id, CRADLE)]
    return {row.tool: (row.units.calls, row.units.tokens) for row in rows}


@pytest.mark.requirement("L-05")
async def test_texts_embedded_for_a_customer_are_counted_though_the_orchestrator_is_killed(victim: Running) -> None:
    source = victim.settings.home.parent / "files"
    job = await victim.onboard("Zählung GmbH", source)
    assert job.result is not None
    assert await metered(victim, job.customer_id) == {"process_documents": (1, int(job.result.numbers["tokens"]))}
    tokens = 0
    for number in range(3):
        texts = [f"Klemme {number} für {count} Ampere" for count in range(number + 1)]
        arguments = {"texts": texts, "customer_id": job.customer_id}
        tokens += (await victim.agent.orchestrator("embed", arguments, EmbeddingResult)).tokens
    pid = process_of("orchestrator", victim.process.pid)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)  # what it has counted lies in its spool, told or not
    async with asyncio.timeout(JOB_S):
        while (await metered(victim, job.customer_id)).get("embed") != (3, tokens):  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # until the next process has told what this one left
    assert (await metered(victim, job.customer_id))["embed"] == (3, tokens)


@pytest.mark.requirement("F-01", "L-05")
@pytest.mark.parametrize("server", STEPS)
async def test_a_server_killed_at_each_step_costs_no_effect_and_doubles_none(victim: Running, server: str) -> None:
    company, left = f"Opfer {server} GmbH", list(STEPS[server])
    source = victim.settings.home.parent / "files"
    arguments = {"company_name": company, "contact_email": "it@example.com", "data_sources": [source.as_uri()]}
    handle = await victim.agent.orchestrator("initialize_customer", arguments, JobHandle)
    killed = []
    async with asyncio.timeout(JOB_S):
        while (view := await look(victim, handle.job_id)) is None or view.state not in FINAL_STATES:
            hit = next((step for step in left if view is not None and under_way(view, step)), None)
            pid = process_of(server, victim.process.pid)
            if hit is not None and pid is not None:
                os.kill(pid, signal.SIGKILL)
                left.remove(hit)
                killed.append(hit)
            await asyncio.sleep(LOOK_S)
    assert view.state == "completed", view.error
    assert "process" in killed
    assert view.result is not None
    assert view.result.numbers["documents"] == 40
    assert view.result.numbers["processed"] == 40
    tokens = int(view.result.numbers["tokens"])
    assert tokens > 0
    assert await metered(victim, handle.customer_id) == {"process_documents": (1, tokens)}
    stored = await victim.agent.orchestrator(
        "get_installation_params", {"customer_id": handle.customer_id}, InstallationVersion
    )
    assert stored.version == 1
    archived = list((victim.settings.home / "archive" / handle.customer_id).iterdir())
    assert len(archived) == 1
    bucket = victim.settings.home / "objects" / f"customer-{handle.customer_id}"
    assert [path.name for path in (bucket / "images").iterdir() if path.name.startswith(".")] == []
    assert not any((bucket / "scratch").glob("*")) if (bucket / "scratch").exists() else True
