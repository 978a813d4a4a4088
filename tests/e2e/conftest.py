"""A whole platform as its users see it: `0711 up` in a process of its own, and the operator's MCP client."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Container, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from examples.corpus import write
from examples.corpus.catalogue import COMPANY
from servers.cradle.images.running import RunningInstance, running_instance
from servers.local.agent import Agent
from servers.local.platform import environment
from shared.client import Upstream
from shared.contracts.job import FINAL_STATES, JobHandle, JobView
from shared.postgres.launcher import EmbeddedPostgres
from shared.settings import Settings, load
from tests.image_rig import linked
from tests.serving_rig import free_port

PORTS = ("orchestrator", "marketplace", "cradle", "embedding", "vision", "postgres")
READY_S, JOB_S = 300, 900
WAIT_S, LOOK_S = 10, 0.5
"""How long a look at a job waits for its end, and the time between two: five a second took a tenth of a processor."""
CUSTOMER = "habersaat-lichtwerk-elektrotechnik"


@dataclass
class Running:
    """A platform that runs, and an agent that is connected to it."""

    settings: Settings
    agent: Agent
    process: asyncio.subprocess.Process

    async def follow(self, job_id: str, until: Container[str] = FINAL_STATES) -> JobView:
        """The job once it has ended, or has come to another state that is waited for."""
        async with asyncio.timeout(JOB_S):
            while True:
                view = await self.agent.orchestrator("get_job", {"job_id": job_id, "wait_s": WAIT_S}, JobView)
                if view.state in until:
                    return view
                await asyncio.sleep(LOOK_S)  # the interval of a poll, not a wait for a condition

    async def onboard(self, company: str, folder: Path) -> JobView:
        """Onboards a folder; the finished job."""
        arguments = {"company_name": company, "contact_email": "it@example.com", "data_sources": [folder.as_uri()]}
        handle = await self.agent.orchestrator("initialize_customer", arguments, JobHandle)
        return await self.follow(handle.job_id)


@asynccontextmanager
async def platform_in(home: Path, root: Path, made: Mapping[str, Path]) -> AsyncIterator[Running]:
    """`0711 up` with free ports and a home of its own, until the block ends; then its home is removed.

    `made`: what lies in the home before, as after an earlier run (`made_before`); empty: it makes everything itself.
    """
    for place, source in made.items():
        await asyncio.to_thread(linked, source, home / place)
    unlimited = dict.fromkeys(("calls_per_minute_user", "calls_per_minute_customer", "calls_per_minute_tool"), 10**6)
    ports = {f"{name}_port": free_port() for name in PORTS}
    settings = load(home=home, source_roots=[root], **unlimited, **ports)
    log = home.parent / f"{home.name}.up.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "servers", "up", env=environment(settings), stdout=out, stderr=out
        )
    try:
        async with asyncio.timeout(READY_S):
            while "ready in" not in log.read_text():
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.1)
        async with Agent(settings) as agent:
            yield Running(settings, agent, process)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            await asyncio.wait_for(process.wait(), 60)
        await asyncio.to_thread(EmbeddedPostgres(home / "postgres", 0).remove)  # as root its files lie elsewhere
        await asyncio.to_thread(shutil.rmtree, home)
    assert process.returncode == 0, log.read_text()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example customer's files."""
    folder = tmp_path_factory.mktemp("corpus")
    write(folder)
    return folder


@pytest.fixture(scope="package")
async def platform(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, made_before: dict[str, Path]
) -> AsyncIterator[Running]:
    """One platform for all end-to-end tests. It ends with the last of them: standing about, it and an instance in an
    engine, which is asked every few seconds whether it is healthy, take processor time from the tests that follow."""
    async with platform_in(tmp_path_factory.mktemp("platform") / "home", corpus.parent, made_before) as running:
        _shared.append(running.settings.home)
        yield running
    _shared.clear()


_shared: list[Path] = []


@pytest.fixture(scope="module", autouse=True)
def _few_images() -> Iterator[None]:
    """Images that a file's tests made of customers of their own are gone with them: each is a third of a gigabyte."""
    yield
    for home in _shared:
        for customer in (home / "archive").iterdir():
            if customer.name != CUSTOMER:
                shutil.rmtree(customer)
                shutil.rmtree(home / "objects" / f"customer-{customer.name}" / "delivery", ignore_errors=True)


@pytest.fixture(scope="package")
async def onboarded(platform: Running, corpus: Path) -> JobView:
    """The example customer's finished onboarding."""
    view = await platform.onboard(COMPANY, corpus)
    assert view.state == "completed", view.error
    return view


@pytest.fixture(scope="package")
async def instance(platform: Running, onboarded: JobView) -> AsyncIterator[RunningInstance]:
    """The archived image, started."""
    assert onboarded.result is not None
    scratch = platform.settings.home / "scratch-of-test"
    scratch.mkdir()
    async with running_instance(Path(onboarded.result.places["image"]), scratch) as started:
        yield started


@pytest.fixture(scope="package")
async def image(instance: RunningInstance) -> AsyncIterator[Upstream]:
    """The started image's MCP server."""
    async with Upstream(instance.url, key=instance.access_key) as upstream:
        yield upstream


@pytest.fixture(scope="session", autouse=True)
def _no_proxy() -> Iterator[None]:
    before = os.environ.get("NO_PROXY")
    os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    yield
    if before is None:
        del os.environ["NO_PROXY"]
    else:
        os.environ["NO_PROXY"] = before
