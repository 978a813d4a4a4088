"""kill -9 of the orchestrator and of cradle on the way of an onboarding, an update and a build: each job ends, and each
effect exists once."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from servers.marketplace.tools.usage import Usage
from shared.client import Upstream
from shared.client.credentials import FileTokens
from shared.contracts.embedding import EmbeddingResult
from shared.contracts.installation import InstallationVersion
from shared.contracts.job import FINAL_STATES, JobHandle, JobKind, JobView
from shared.errors import PlatformError
from shared.metering.units import CRADLE
from tests.e2e.conftest import JOB_S, Running, platform_in
from tests.e2e.test_servers import operator_tokens
from tests.vision_rig import scan_request

pytestmark = pytest.mark.slow

LOOK_S = 0.1
"""Between two looks at a job: steps take seconds, and fifty looks a second would take a processor from them."""
KILLS: dict[JobKind, tuple[tuple[str, str], ...]] = {
    "onboarding": (
        ("orchestrator", "fix parameters"), ("cradle", "process"), ("orchestrator", "process"), ("cradle", "build"),
        ("orchestrator", "build"), ("cradle", "verify image"),
    ),
    "update": (
        ("cradle", "process"), ("orchestrator", "build"), ("cradle", "verify image"), ("orchestrator", "package"),
    ),
    "build": (("cradle", "build"), ("orchestrator", "verify image")),
}  # fmt: skip
"""Whom a kill meets in which step, in this order; a step that is over before it was seen is passed by."""


@pytest.fixture(scope="module")
async def victim(tmp_path_factory: pytest.TempPathFactory, made_before: dict[str, Path]) -> AsyncIterator[Running]:
    """A platform of its own: its servers are killed."""
    root = tmp_path_factory.mktemp("victim")
    (root / "files").mkdir()
    for number in range(40):
        text = f"Datenblatt {number}: Klemme K-{number} hält {number} Ampere. " * 60
        (root / "files" / f"blatt-{number}.txt").write_text(text)
    async with platform_in(root / "home", root, made_before) as running:
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


Order = dict[str, object]


@pytest.fixture(scope="module")
async def cancelled(victim: Running) -> tuple[Order, JobView]:
    """An onboarding of 40 files that was cancelled in the middle of processing: what was ordered, and how it ended."""
    source = victim.settings.home.parent / "growing"
    shutil.copytree(source.with_name("files"), source)
    order: Order = {"company_name": "Opfer GmbH", "contact_email": "it@example.com", "data_sources": [source.as_uri()]}
    handle = await victim.agent.orchestrator("initialize_customer", order, JobHandle)
    async with asyncio.timeout(JOB_S):
        while (view := await look(victim, handle.job_id)) is None or not under_way(view, "process"):
            assert view is None or view.state not in FINAL_STATES, "the job ended before it could be cancelled"
            await asyncio.sleep(LOOK_S)
    await victim.agent.orchestrator("cancel_job", {"job_id": handle.job_id}, JobView)
    return order, await victim.follow(handle.job_id)


async def metered(platform: Running, customer_id: str) -> dict[str, tuple[int, int]]:
    """Tool of cradle → calls, and tokens or (of `ocr`) pages, that are counted for a customer."""
    url = platform.settings.resource("marketplace")
    async with Upstream(url, operator_tokens(platform.settings)) as marketplace:
        usage = await marketplace.call("get_usage", {}, Usage, customer=customer_id)
    rows = [row for row in usage.rows if (row.customer_id, row.server_name) == (customer_id, CRADLE)]
    return {row.tool: (row.units.calls, row.units.tokens or row.units.pages) for row in rows}


async def killed_on_the_way(victim: Running, job_id: str, kind: JobKind) -> tuple[JobView, list[tuple[str, str]]]:
    """The job's end, and which kills met it."""
    left, met = list(KILLS[kind]), list[tuple[str, str]]()
    async with asyncio.timeout(JOB_S):
        while (view := await look(victim, job_id)) is None or view.state not in FINAL_STATES:
            hit = next((each for each in left if view is not None and under_way(view, each[1])), None)
            pid = process_of(hit[0], victim.process.pid) if hit is not None else None
            if hit is not None and pid is not None:
                os.kill(pid, signal.SIGKILL)
                left.remove(hit)
                met.append(hit)
            await asyncio.sleep(LOOK_S)
    assert view.state == "completed", view.error
    return view, met


def work_left(bucket: Path) -> list[str]:
    """What was half made when a server was killed, and is still there."""
    return [path.name for name in ("images", "updates", "delivery", "reports") for path in (bucket / name).glob(".*")]


@pytest.mark.requirement("M-05", "F-01")
async def test_a_job_cancelled_in_the_middle_of_processing_ends_and_makes_nothing(
    victim: Running, cancelled: tuple[Order, JobView]
) -> None:
    _, ended = cancelled
    assert ended.state == "cancelled"
    assert not (victim.settings.home / "archive" / ended.customer_id).exists()
    assert await metered(victim, ended.customer_id) == {}


@pytest.mark.requirement("M-05", "F-01", "L-05")
async def test_an_order_made_again_its_update_and_a_build_lose_and_double_no_effect_by_kills_at_their_steps(
    victim: Running, cancelled: tuple[Order, JobView]
) -> None:
    order, before = cancelled
    handle = await victim.agent.orchestrator("initialize_customer", order, JobHandle)
    assert (handle.job_id != before.job_id, handle.customer_id) == (True, before.customer_id)
    customer, named = handle.customer_id, {"customer_id": handle.customer_id}
    source = victim.settings.home.parent / "growing"
    archive = victim.settings.home / "archive" / customer
    bucket = victim.settings.home / "objects" / f"customer-{customer}"

    async def end_of(job_id: str, kind: JobKind, documents: int, must_meet: set[tuple[str, str]]) -> int:
        """The tokens of the dataset that it ends with."""
        view, met = await killed_on_the_way(victim, job_id, kind)
        assert must_meet <= set(met)
        stored = await victim.agent.orchestrator("get_installation_params", named, InstallationVersion)
        assert stored.version == 1
        assert work_left(bucket) == []
        assert not any((bucket / "scratch").glob("*"))
        assert view.result is not None
        if documents:
            counts = view.result.numbers
            assert (counts["documents"], counts["processed"]) == (documents, documents)
        return int(view.result.numbers.get("tokens", 0))

    first = await end_of(handle.job_id, "onboarding", 40, {("cradle", "process"), ("orchestrator", "process")})
    assert first > 0
    assert await metered(victim, customer) == {"process_documents": (1, first)}
    assert len(list(archive.iterdir())) == 1
    for number in range(40, 60):
        (source / f"blatt-{number}.txt").write_text(f"Datenblatt {number}: Klemme K-{number} hat {number} mm². " * 60)
    handle = await victim.agent.orchestrator("process_new_documents", named, JobHandle)
    second = await end_of(handle.job_id, "update", 60, {("orchestrator", "build"), ("cradle", "verify image")})
    assert await metered(victim, customer) == {"process_documents": (2, second)}
    assert len(list(archive.iterdir())) == 2
    assert len(list((bucket / "updates").iterdir())) == 1
    handle = await victim.agent.orchestrator("build_image", named, JobHandle)
    await end_of(handle.job_id, "build", 0, {("orchestrator", "verify image")})
    assert await metered(victim, customer) == {"process_documents": (2, second)}
    assert len(list(archive.iterdir())) == 2


@pytest.mark.requirement("L-05")
async def test_texts_embedded_for_a_customer_are_counted_though_the_orchestrator_is_killed(
    victim: Running, cancelled: tuple[Order, JobView]
) -> None:
    customer = cancelled[1].customer_id
    tokens = 0
    for number in range(3):
        texts = [f"Klemme {number} für {count} Ampere" for count in range(number + 1)]
        arguments = {"texts": texts, "customer_id": customer}
        tokens += (await victim.agent.orchestrator("embed", arguments, EmbeddingResult)).tokens
    pid = process_of("orchestrator", victim.process.pid)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)  # what it has counted lies in its spool, told or not
    async with asyncio.timeout(JOB_S):
        while (await metered(victim, customer)).get("embed") != (3, tokens):  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # until the next process has told what this one left
    assert (await metered(victim, customer))["embed"] == (3, tokens)


@pytest.mark.requirement("L-05")
async def test_what_cradle_s_own_ports_serve_a_customer_is_counted_once_though_cradle_is_killed(
    victim: Running, cancelled: tuple[Order, JobView]
) -> None:
    customer, settings = cancelled[1].customer_id, victim.settings
    calls, tokens = (await metered(victim, customer)).get("embed", (0, 0))
    keys, texts = FileTokens(settings, "operator"), ["Klemme für 32 Ampere", "Schutzart"]
    scan = scan_request().model_dump(mode="json", exclude_none=True)
    async with Upstream(settings.resource("cradle"), keys, name="cradle") as cradle:
        told = await cradle.call("embed", {"texts": texts}, EmbeddingResult, customer=customer)
        await cradle.call("ocr", scan, customer=customer)
    calls, tokens = calls + 1, tokens + told.tokens
    async with httpx2.AsyncClient(trust_env=False, timeout=JOB_S) as http:
        for server, base in (
            ("cradle", settings.here(settings.embedding_port)), ("marketplace", settings.url("marketplace")),
        ):  # fmt: skip
            bearer = {"authorization": f"Bearer {await keys.token(settings.resource(server), customer)}"}
            answer = await http.post(
                f"{base}/v1/embeddings", json={"model": told.model, "input": texts}, headers=bearer
            )
            assert answer.status_code == 200, answer.text
            calls, tokens = calls + 1, tokens + int(answer.headers["x-tokens"])
        bearer = {"authorization": f"Bearer {await keys.token(settings.resource('cradle'), customer)}"}
        answer = await http.post(f"{settings.here(settings.vision_port)}/process", json=scan, headers=bearer)
        assert answer.status_code == 200, answer.text
    pid = process_of("cradle", victim.process.pid)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    expected = {"embed": (calls, tokens), "ocr": (2, 2)}
    async with asyncio.timeout(JOB_S):
        while not expected.items() <= (await metered(victim, customer)).items():  # noqa: ASYNC110
            await asyncio.sleep(0.2)  # until the next process has told what this one left
        while [each for each in settings.home.glob("metering*/*") if each.stat().st_size]:  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    assert expected.items() <= (await metered(victim, customer)).items()
