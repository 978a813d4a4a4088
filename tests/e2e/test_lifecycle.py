"""A customer's life after its image was built, by the orchestrator's tools alone: deploy, update, go back, migrate."""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest

from servers.cradle.images.engine import reachable
from servers.orchestrator.answers import CustomerView
from shared.client import Upstream
from shared.contracts.deployment import DeploymentList, DeploymentStopped
from shared.contracts.instance import SearchAnswer
from shared.contracts.job import JobHandle, JobView
from shared.errors import NotFound, Unavailable
from tests.e2e.conftest import Running
from tests.e2e.legacy_rig import GHOST, TEXTS, write_legacy

pytestmark = pytest.mark.slow
QUESTION, ANSWER = "Welches Anzugsdrehmoment hat die Reihenklemme RK 4?", "0,6 Nm"


async def ordered(platform: Running, tool: str, **arguments: object) -> JobView:
    """The job that a tool started, once it has ended."""
    handle = await platform.agent.orchestrator(tool, arguments, JobHandle)
    return await platform.follow(handle.job_id)


async def found(view: JobView, question: str) -> str:
    """What the deployed instance finds, with the key that the job names."""
    assert view.result is not None
    key = Path(view.result.places["access_key"]).read_text()  # noqa: ASYNC240
    async with Upstream(view.result.places["instance"], key=key) as instance:
        return "\n".join(hit.text for hit in (await instance.call("search", {"query": question}, SearchAnswer)).hits)


def kill_instance(customer_id: str) -> None:
    """Its container ends at once, and stays so until somebody starts it."""
    import docker

    client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"])
    (container,) = (each for each in client.containers.list() if each.name.endswith(f"-{customer_id}"))
    container.kill()
    client.close()


@pytest.fixture
def engine() -> None:
    if not os.environ.get("DOCKER_HOST") or not reachable(os.environ["DOCKER_HOST"]):
        pytest.skip("no container engine answers at DOCKER_HOST (.ci/engine starts one)")


@pytest.mark.engine
@pytest.mark.requirement("O-06")
async def test_a_customer_is_deployed_updated_without_a_new_address_and_rolled_back(
    platform: Running, corpus: Path, engine: None
) -> None:
    folder = corpus.parent / "deployed"
    folder.mkdir()
    (folder / "rk4.txt").write_text(TEXTS["datenblaetter/rk4.txt"])
    first = await platform.onboard("Betriebene Firma GmbH", folder)
    assert first.state == "completed", first.error
    named = {"customer_id": first.customer_id}
    planted = [{"question": QUESTION, "expected": ANSWER}]
    deployed = await ordered(platform, "deploy_customer", **named, questions=planted)
    assert deployed.state == "completed", deployed.error
    try:
        assert ANSWER in await found(deployed, QUESTION)
        (folder / "hl240.txt").write_text(TEXTS["datenblaetter/hl240.txt"])
        update = await ordered(platform, "process_new_documents", **named)
        assert update.state == "completed", update.error
        assert update.result is not None
        assert update.result.numbers["instances_updated"] == 1
        assert "IP66" in await found(deployed, "Welche Schutzart hat die Hallenleuchte HL-240-50?")
        listing = await platform.agent.orchestrator("list_deployments", named, DeploymentList)
        assert [each.state for each in listing.deployments] == ["serving"]
        assert len(listing.versions) == 2
        back = await ordered(platform, "rollback_customer", **named, tag=listing.versions[0])
        assert back.state == "completed", back.error
        assert "IP66" not in await found(deployed, "Welche Schutzart hat die Hallenleuchte HL-240-50?")
        kill_instance(first.customer_id)  # the way to another version does not ask it
        forth = await ordered(platform, "rollback_customer", **named, tag=listing.versions[1])
        assert forth.state == "completed", forth.error
        assert "IP66" in await found(forth, "Welche Schutzart hat die Hallenleuchte HL-240-50?")
        for tool in ("rollback_customer", "deploy_customer"):  # by the call, not by a job
            with pytest.raises(NotFound, match="list_deployments"):
                await platform.agent.orchestrator(tool, {**named, "tag": "p9-unknown"}, JobHandle)
    finally:
        stopped = await platform.agent.orchestrator(
            "stop_deployment", {**named, "release": True}, DeploymentStopped
        )  # fmt: skip
    assert stopped.was_running
    with pytest.raises(NotFound, match="deploy_customer"):
        await platform.agent.orchestrator("stop_deployment", named, DeploymentStopped)


@pytest.mark.requirement("O-07")
async def test_a_migration_is_refused_by_name_until_the_operator_has_accepted_each_difference(
    platform: Running, corpus: Path
) -> None:
    legacy = corpus.parent / "legacy"
    write_legacy(legacy, ghost=True)
    before = {path: path.read_bytes() for path in legacy.rglob("*") if path.is_file()}
    asked = {
        "company_name": "Umgezogene Firma GmbH", "contact_email": "it@example.com", "legacy": legacy.as_uri(),
        "questions": [{"question": QUESTION, "expected": ANSWER}, {"question": QUESTION, "expected": "99 Nm"}],
    }  # fmt: skip
    refused = await ordered(platform, "migrate_customer", **asked)
    assert refused.state == "failed"
    assert refused.error is not None
    message = str(refused.error["message"])
    assert "documents: 5 in the legacy export, 4 now" in message
    assert "missing documents: 1 of 5" in message
    assert "articles: 1 of 3 are missing" in message
    assert "sample answers: 3 of 4 found again" in message
    assert "planted questions: 1 of 2 answered" in message
    assert "verschollen" not in message
    assert ANSWER not in message
    assert {path: path.read_bytes() for path in legacy.rglob("*") if path.is_file()} == before
    bucket = platform.settings.home / "objects" / f"customer-{refused.customer_id}"
    report = orjson.loads((bucket / "legacy" / "reconciliation.json").read_bytes())
    assert report["missing"] == {
        "missing documents": ["verschollen.pdf"], "articles": ["GEIST-1"],
        "sample answers": [GHOST], "planted questions": [QUESTION],
    }  # fmt: skip
    customer = await platform.agent.orchestrator("get_customer", {"customer_id": refused.customer_id}, CustomerView)
    assert customer.state == "onboarding"
    ordering = {**asked, "accept_differences": ["missing documents", "planted questions"], "ask": True}
    handle = await platform.agent.orchestrator("migrate_customer", ordering, JobHandle)
    assert "answer_job" in handle.next
    waiting = await platform.follow(handle.job_id, {"waiting"})
    assert [question.key for question in waiting.questions] == ["documents", "articles", "sample_answers"]
    assert "(5 in the legacy export, 4 now)" in waiting.questions[0].message
    answered = {"job_id": handle.job_id, "answers": {"documents": True, "articles": True, "sample_answers": True}}
    await platform.agent.orchestrator("answer_job", answered, JobView)
    moved = await platform.follow(handle.job_id)
    assert moved.state == "completed", moved.error
    assert moved.result is not None
    assert moved.result.numbers["accepted_differences"] == 5
    assert moved.result.numbers["legacy_files"] == 4
    customer = await platform.agent.orchestrator("get_customer", {"customer_id": refused.customer_id}, CustomerView)
    assert customer.state == "active"


@pytest.mark.skipif(bool(os.environ.get("DOCKER_HOST")), reason="a container engine is set")
async def test_without_a_container_engine_the_tool_says_so_in_a_sentence(platform: Running, onboarded: JobView) -> None:
    with pytest.raises(Unavailable, match="container engine"):
        await platform.agent.orchestrator("deploy_customer", {"customer_id": onboarded.customer_id}, JobHandle)
