"""A customer whose bucket is on S3: onboarded, deployed, updated, rolled back, and migrated from a bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import orjson
import pytest

from servers.cradle.workplace import work_folder
from shared.contracts.deployment import DeploymentList, DeploymentStopped
from shared.objects import CustomerStore
from tests.conftest import s3_settings
from tests.e2e.conftest import Running, platform_in
from tests.e2e.legacy_rig import TEXTS, write_legacy
from tests.e2e.test_lifecycle import ANSWER, QUESTION, engine, found, ordered

__all__ = ["engine"]
pytestmark = pytest.mark.slow
HALL = "Welche Schutzart hat die Hallenleuchte HL-240-50?"


@pytest.fixture(scope="module")
async def on_s3(tmp_path_factory: pytest.TempPathFactory, corpus: Path, s3_url: str) -> AsyncIterator[Running]:
    """A platform whose buckets are on an S3 server, with a work folder of its own."""
    home = tmp_path_factory.mktemp("on-s3") / "home"
    there = s3_settings(home, s3_url)
    changes = {name: getattr(there, name) for name in ("s3_endpoint", "s3_access_key", "s3_secret_key", "s3_region")}
    async with platform_in(home, corpus.parent, **changes) as running:
        yield running
        assert list(work_folder(running.settings).iterdir()) == []
        work_folder(running.settings).rmdir()


@pytest.mark.engine
@pytest.mark.requirement("O-06")
async def test_a_customer_on_s3_is_deployed_updated_and_rolled_back(on_s3: Running, corpus: Path, engine: None) -> None:
    folder = corpus.parent / "deployed-from-s3"
    folder.mkdir()
    (folder / "rk4.txt").write_text(TEXTS["datenblaetter/rk4.txt"])
    first = await on_s3.onboard("Firma im Objektspeicher GmbH", folder)
    assert first.state == "completed", first.error
    assert first.result is not None
    assert first.result.places["image"].startswith("s3://")
    named = {"customer_id": first.customer_id}
    deployed = await ordered(on_s3, "deploy_customer", **named, questions=[{"question": QUESTION, "expected": ANSWER}])
    assert deployed.state == "completed", deployed.error
    try:
        assert ANSWER in await found(deployed, QUESTION)
        (folder / "hl240.txt").write_text(TEXTS["datenblaetter/hl240.txt"])
        update = await ordered(on_s3, "process_new_documents", **named)
        assert update.state == "completed", update.error
        assert update.result is not None
        assert update.result.numbers["instances_updated"] == 1
        assert "IP66" in await found(deployed, HALL)
        listing = await on_s3.agent.orchestrator("list_deployments", named, DeploymentList)
        assert len(listing.versions) == 2
        store = await CustomerStore.open(on_s3.settings, first.customer_id)
        for key, _ in await store.list("images"):  # then only the archive has it
            await store.delete(key)
        back = await ordered(on_s3, "rollback_customer", **named, tag=listing.versions[0])
        assert back.state == "completed", back.error
        assert "IP66" not in await found(deployed, HALL)
        keys = {key.split("/")[0] for key, _ in await store.list()}
        assert {"dataset", "delivery", "reports", "updates", "ledgers"} <= keys
        assert "scratch" not in keys
    finally:
        await on_s3.agent.orchestrator("stop_deployment", {**named, "release": True}, DeploymentStopped)


@pytest.mark.requirement("O-07")
async def test_a_legacy_deployment_in_the_customers_bucket_is_migrated(on_s3: Running, tmp_path: Path) -> None:
    write_legacy(tmp_path / "legacy", ghost=True)
    asked = {"company_name": "Alter Eimer GmbH", "contact_email": "it@example.com"}
    store = await CustomerStore.open(on_s3.settings, "alter-eimer", create=True)
    for path in (tmp_path / "legacy").rglob("*"):
        if path.is_file():
            await store.put(f"old/{path.relative_to(tmp_path / 'legacy').as_posix()}", path)
    refused = await ordered(on_s3, "migrate_customer", **asked, legacy="bucket:old")
    assert refused.customer_id == "alter-eimer"
    assert refused.error is not None
    message = str(refused.error["message"])
    assert "documents: 5 in the legacy export, 4 now" in message
    assert "articles: 1 of 3 are missing" in message
    assert "sample answers" not in message
    report = orjson.loads(await store.get("legacy/reconciliation.json"))
    assert report["missing"] == {"missing documents": ["verschollen.pdf"], "articles": ["GEIST-1"]}
    accepted = ["documents", "missing documents", "articles"]
    moved = await ordered(on_s3, "migrate_customer", **asked, legacy="bucket:old", accept_differences=accepted)
    assert moved.state == "completed", moved.error
