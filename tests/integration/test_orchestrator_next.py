"""A look at a job says what to call next, and a deployment before there is an image says what is being made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.contracts.job import JobQuestion
from tests.orchestrator_rig import Rig, databases_of, put_customer, put_job, put_onboarded, running_rig, settings_in


@pytest.fixture
async def rig(database: Any, tmp_path: Any) -> AsyncIterator[Rig]:
    async with running_rig(settings_in(tmp_path / "home"), await databases_of(database)) as running:
        yield running


async def following(rig: Rig, job_id: str) -> str:
    return (await rig.call("get_job", {"job_id": job_id}))["result"]["structuredContent"]["next"]


async def test_a_job_says_what_to_call_next_however_it_stands(rig: Rig) -> None:
    await put_onboarded(rig.store, "weiter")
    async with rig.store.session("weiter") as session:
        onboarded = await session.last_job("weiter", "onboarding")
    assert onboarded is not None
    assert "deploy_customer" in await following(rig, onboarded.job_id)
    job = await put_job(rig.store, "weiter", "deployment")
    assert "get_job" in await following(rig, job.job_id)
    await rig.store.fail(job, {"code": "conflict", "message": "It has no port.", "retryable": False})
    assert "Do what the error says" in await following(rig, job.job_id)
    job = await put_job(rig.store, "weiter", "migration")
    await rig.store.begin_step(job, 0)
    await rig.store.ask(job, 0, [JobQuestion(key="documents", message="One document less. Go on?")])
    assert "answer_job" in await following(rig, job.job_id)
    await rig.call("cancel_job", {"job_id": job.job_id})
    assert "where it is wanted after all" in await following(rig, job.job_id)


async def test_a_deployment_while_the_first_image_is_made_names_the_job_that_makes_it(rig: Rig) -> None:
    await put_customer(rig.store, "unfertig")
    job = await put_job(rig.store, "unfertig")
    told = (await rig.call("deploy_customer", {"customer_id": "unfertig"}))["result"]["content"][0]["text"]
    assert job.job_id in told
    assert "get_job" in told
    await rig.call("cancel_job", {"job_id": job.job_id})
    told = (await rig.call("deploy_customer", {"customer_id": "unfertig"}))["result"]["content"][0]["text"]
    assert "initialize_customer" in told
