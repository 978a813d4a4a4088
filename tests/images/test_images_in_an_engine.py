"""The image in a real container engine: loads, starts closed in, answers over MCP, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from servers.cradle.images.assemble import assemble
from servers.cradle.images.base import architecture
from servers.cradle.images.engine import Container, Engine
from servers.cradle.images.layers import Entry, write_layer
from servers.cradle.images.prepared import prepared_layers
from servers.cradle.images.running import running_instance
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.unpack import read_image
from servers.cradle.images.verify import verify_image
from shared.client import Upstream
from shared.contracts.instance import DatasetAnswer, SearchAnswer
from shared.errors import PlatformError, Unavailable
from tests.faults.test_cancelled_work import Gate
from tests.image_rig import ANSWER, QUESTION, CustomerImage, build, probes_of

pytestmark = [pytest.mark.engine, pytest.mark.slow]
KEY = "k" * 24


def docker(*arguments: str) -> str:
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.fixture
def container(customer_image: CustomerImage, engine_host: str) -> Iterator[Container]:
    """The customer's image, started by the platform in the engine."""
    with Engine.connect(engine_host) as engine:
        started = engine.start(
            customer_image.tar, customer_image.built.image_id, 9312, {"INSTANCE_ACCESS_KEY": KEY}, "tests-acme"
        )
        try:
            yield started
        finally:
            started.remove()


@pytest.mark.requirement("M-05")
async def test_an_image_whose_check_is_cancelled_while_the_engine_starts_it_leaves_no_container(
    customer_image: CustomerImage, engine_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch, Engine, "load")

    async def check() -> None:
        async with running_instance(customer_image.tar, tmp_path, docker_host=engine_host, owner="tests-left"):
            pass

    await gate.cancel(asyncio.create_task(check()), waits=True)
    assert docker("ps", "-aq", "--filter", "label=com.0711.deployment=tests-left") == ""


def test_a_check_removes_what_a_killed_one_of_the_same_customer_left(
    customer_image: CustomerImage, engine_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = "check-1.00000000-0a0b0c0d"  # the number lives, and began at another moment
    with Engine.connect(engine_host) as engine:

        def start(owner: str) -> Container:
            return engine.start(customer_image.tar, customer_image.built.image_id, 9312, {}, owner)

        with monkeypatch.context() as before:
            before.setattr("servers.cradle.images.engine.work_name", lambda _: killed)
            left, other = start("tests-left"), start("tests-other")
            before.setattr("platform.node", lambda: "another")
            elsewhere = start("tests-left")
        running = [start("tests-left"), start("tests-left")]
        try:
            there = docker("ps", "-aq", "--no-trunc", "--filter", "label=com.0711.check").split()
            assert [each.id in there for each in (left, other, elsewhere, *running)] == [False, True, True, True, True]
        finally:
            for each in (other, elsewhere, *running):
                each.remove()


@pytest.mark.requirement("O-02")
async def test_the_image_runs_closed_in_is_found_healthy_by_the_engine_and_answers_the_planted_question(
    container: Container, customer_image: CustomerImage
) -> None:
    found = json.loads(docker("inspect", container.id))[0]
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["HostConfig"]["Privileged"] is False
    assert found["Config"]["Labels"]["com.0711.deployment"] == "tests-acme"  # so an erasure finds it
    write = "import os; print(os.getuid(), os.getgid()); open('/data/probe', 'w')"
    tried = await asyncio.to_thread(
        subprocess.run, ["docker", "exec", container.id, "/usr/local/bin/python3", "-c", write],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert tried.stdout.split() == ["65532", "65532"]
    assert "Read-only file system" in tried.stderr
    async with asyncio.timeout(90):
        while (state := container.engine.inspect(container.id)["State"])["Health"]["Status"] != "healthy":
            assert state["Running"], docker("logs", container.id)
            await asyncio.sleep(0.2)  # the interval of a poll
    async with Upstream(f"http://{container.host}:{container.port}/mcp", key=KEY) as upstream:
        answer = await upstream.call("search", {"query": QUESTION, "limit": 1}, SearchAnswer)
        about = await upstream.call("describe_dataset", {}, DatasetAnswer)
    assert ANSWER in answer.hits[0].text
    assert about.dataset_digest == customer_image.built.dataset_digest


async def test_a_check_leaves_no_container_and_no_image_in_the_engine(
    customer_image: CustomerImage, engine_host: str, query_model: Path, tmp_path: Path
) -> None:
    before = set(docker("ps", "-aq").split())
    report = await verify_image(
        customer_image.tar, customer_image.built, tmp_path, customer_image.signer.verifier, probes_of(query_model),
        engine_host,
    )  # fmt: skip
    assert report.passed, report.checks
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240
    assert customer_image.spec.reference not in docker("images", "--format", "{{.Repository}}:{{.Tag}}").split()
    of_image = set(docker("ps", "-aq", "--filter", f"ancestor={customer_image.built.image_id}").split())
    assert of_image <= before  # a run that was cut off leaves its own, of the same image: builds are reproducible


async def test_the_engine_builds_the_same_files_and_settings_as_the_assembler(
    customer_image: CustomerImage, engine_host: str, layer_cache: Path, query_model: Path
) -> None:
    by_engine = await build(customer_image.bucket, layer_cache, query_model, tag="p1-engine", method="engine")
    ours, theirs = read_image(customer_image.tar), read_image(by_engine.tar)
    assert theirs.files == ours.files
    assert theirs.dataset_manifest == ours.dataset_manifest
    for setting in ("User", "Entrypoint", "Healthcheck", "StopSignal", "ExposedPorts", "WorkingDir"):
        assert theirs.config["config"][setting] == ours.config["config"][setting], setting
    assert sorted(theirs.config["config"]["Env"]) == sorted(ours.config["config"]["Env"])
    assert theirs.config["config"]["Labels"].keys() == ours.config["config"]["Labels"].keys()


@pytest.mark.parametrize("there", ["as the engine says", "more than there is"])
def test_an_engine_is_sent_the_layers_that_it_lacks_and_the_whole_image_where_that_was_not_enough(
    engine_host: str, layer_cache: Path, layers_in_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    there: str,
) -> None:  # fmt: skip
    own = write_layer("config", [Entry("app/instance.json", os.urandom(1 << 18))], tmp_path)
    layers = [*prepared_layers(layer_cache, None, architecture()), own]
    spec = ImageSpec.model_validate(
        {"customer_id": "sent", "tag": "p1-sent", "fingerprint": own.digest, "dataset_digest": own.digest}
    )
    written = assemble(spec, layers, tmp_path / "image.tar")
    sent: list[int] = []
    with Engine.connect(engine_host) as engine:
        load = engine.api.load_image

        def counted(pieces: Iterable[bytes]) -> Iterable[dict[str, str]]:
            whole = b"".join(pieces)
            sent.append(len(whole))
            return load(whole)

        monkeypatch.setattr(engine.api, "load_image", counted)
        if there == "more than there is":  # as where another call removes it meanwhile
            every = {f"blobs/sha256/{layer.digest.removeprefix('sha256:')}" for layer in layers}
            monkeypatch.setattr(engine, "_files_there", lambda _: every)
        loaded = engine.load(tmp_path / "image.tar", written.image_id)
        try:
            assert engine.api.inspect_image(loaded)["RootFS"]["Layers"] == [layer.diff_id for layer in layers]
        finally:
            engine.drop_image(loaded)
    if there == "as the engine says":
        assert len(sent) == 1
        assert own.size < sent[0] < 2 * own.size
    else:
        assert sent[0] < own.size
        assert sent[1] == written.size


def test_an_engine_that_is_gone_is_one_clear_sentence(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="engine does not answer"):
        Engine.connect(f"unix://{tmp_path}/none.sock")


async def test_an_image_that_is_cut_off_is_refused_before_it_reaches_the_engine(
    customer_image: CustomerImage, engine_host: str, tmp_path: Path
) -> None:
    cut = tmp_path / "image.tar"
    cut.write_bytes(customer_image.tar.read_bytes()[: customer_image.built.size_bytes // 2])
    with pytest.raises(PlatformError, match="damaged"):
        async with running_instance(cut, tmp_path, docker_host=engine_host):
            pass
