"""Deployments in a real container engine: gate, exchange, roll-back, faults in between, ports, and who is refused."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from servers.cradle import delivery, deployment
from servers.cradle.deployments.access import Access
from servers.cradle.deployments.access_keys import key_file
from servers.cradle.deployments.service import Deployments
from servers.cradle.deployments.store import DeploymentStore
from servers.cradle.images.containers import Containers, owner_of
from servers.cradle.images.engine import OWNER, Engine
from servers.cradle.images.running import wait_until_healthy
from servers.cradle.images.signed import SignedImage, signed_image
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import STATE
from servers.cradle.images.updates import DeliveredDataset, make_update, push_update
from servers.cradle.services import Services
from shared.client import Upstream
from shared.contracts.deployment import Question
from shared.contracts.instance import DatasetVersions, SearchAnswer
from shared.dataset.delta import ledger
from shared.dataset.places import Place
from shared.errors import Conflict, InvalidInput, PlatformError, Unavailable
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.image_rig import ANSWER, QUESTION, CustomerImage, build, small_image, write_dataset
from tests.serving_rig import free_port

slow = pytest.mark.slow
PLANTED = [Question(question=QUESTION, expected=ANSWER)]
NEW = {"neu.pdf": "Der Sanftanlasser SA-90 verträgt höchstens zwölf Anläufe je Stunde."}
NEW_QUESTION, NEW_ANSWER = "Wie viele Anläufe je Stunde verträgt der Sanftanlasser?", "zwölf Anläufe"


@dataclass
class Site:
    """A platform with its deployments, and the customer's image."""

    settings: Settings
    deployments: Deployments
    first: CustomerImage
    image: SignedImage

    async def deploy(self, image: SignedImage | None = None, **changes):
        given = {"host": "local", "port": None, "planted": PLANTED, **changes}
        return await self.deployments.deploy("acme", image or self.image, **given)

    async def ask(self, port: int, question: str) -> str:
        key = (self.settings.home / "keys" / "instances" / "acme").read_text()
        async with Upstream(f"http://127.0.0.1:{port}/mcp", key=key) as instance:
            return "\n".join(
                hit.text for hit in (await instance.call("search", {"query": question}, SearchAnswer)).hits
            )

    def containers(self) -> list[str]:
        platform = self.first.signer.verifier.key_id.removeprefix("sha256:")[:8]
        return sorted(docker("ps", "-a", "--filter", f"name={platform}-acme", "--format", "{{.Names}}").split())


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="session")
def kept(customer_image: CustomerImage, second_image: CustomerImage, engine_host: str) -> Iterator[None]:
    """Both images stay in the engine under a name of the tests, so that each is uploaded once."""
    with Engine.connect(engine_host) as engine:
        for number, image in enumerate((customer_image, second_image)):
            docker("tag", engine.load(image.tar, image.built.image_id), f"0711-tests/kept:{number}")
        yield
        docker("rmi", "-f", "0711-tests/kept:0", "0711-tests/kept:1")


@pytest.fixture
async def site(
    customer_image: CustomerImage, kept: None, engine_host: str, tmp_path: Path, database
) -> AsyncIterator[Site]:  # fmt: skip
    first = free_port()
    settings = Settings(home=tmp_path, docker_host=engine_host, deployment_ports=(first, first + 50))
    held = await database("servers.cradle.deployments")
    deployments = Deployments(settings, held.db, customer_image.signer.verifier)
    image = signed_image(customer_image.bucket, customer_image.spec.tag, "acme", customer_image.signer.verifier)
    try:
        yield Site(settings, deployments, customer_image, image)
    finally:
        await deployments.erase("acme")


@pytest.fixture(scope="session")
async def second_image(
    customer_image: CustomerImage, tmp_path_factory: pytest.TempPathFactory, layer_cache: Path, query_model: Path
) -> CustomerImage:
    """The customer's next image, with one more document; signed with the same key."""
    bucket = tmp_path_factory.mktemp("next") / "bucket"
    shutil.copytree(customer_image.bucket / "dataset", bucket / "dataset")
    keys = customer_image.bucket.with_name(customer_image.bucket.name + "-keys")
    shutil.copytree(keys, bucket.with_name(bucket.name + "-keys"))
    await write_dataset(bucket / "dataset", NEW, query_model)
    return await build(bucket, layer_cache, query_model, tag="p1-two")


@slow
@pytest.mark.engine
@pytest.mark.requirement("O-02", "O-06")
async def test_an_image_is_deployed_exchanged_updated_in_place_and_rolled_back(
    site: Site, second_image: CustomerImage, query_model: Path
) -> None:
    made = await site.deploy()
    port = made.deployment.port
    assert (made.how, made.deployment.state) == ("deployed", "serving")
    assert ANSWER in await site.ask(port, QUESTION)
    (name,) = site.containers()
    found = json.loads(docker("inspect", name))[0]
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert found["Config"]["User"] == "65532:65532"
    assert (await site.deploy()).how == "unchanged"
    assert site.containers() == [name]
    # a signed difference: answers go on, and it survives the container
    base = DeliveredDataset(site.image.built.dataset_digest, ledger(Place(str(site.first.bucket / "dataset"))))
    async with _manifest(second_image) as manifest:
        dataset = Place(str(second_image.bucket / "dataset"))
        update = await make_update("acme", base, dataset, manifest, second_image.bucket, second_image.signer)
    (row,) = await site.deployments.serving("acme")
    planted = [*PLANTED, Question(question=NEW_QUESTION, expected=NEW_ANSWER)]

    async def push(it: Upstream) -> object:
        return await push_update(Path(update.location), it)

    async def push_and_lose_the_answer(it: Upstream) -> object:
        await push(it)
        raise Unavailable("The instance does not answer.")

    with pytest.raises(Unavailable):
        await site.deployments.update("acme", row, second_image.built, push_and_lose_the_answer, planted)
    assert NEW_ANSWER not in await site.ask(port, NEW_QUESTION)
    # a call that died between the change and its gate: the next one asks, and goes back where the gate is not passed
    async with site.deployments._access.instance("acme", "127.0.0.1", row.port) as instance:
        await push(instance)
    wrong = [Question(question=QUESTION, expected="neunundneunzig Nm")]
    with pytest.raises(Conflict, match="gate"):
        await site.deployments.update("acme", row, second_image.built, push, wrong)
    assert NEW_ANSWER not in await site.ask(port, NEW_QUESTION)
    async with site.deployments._access.instance("acme", "127.0.0.1", row.port) as instance:
        await push(instance)
    gated = await site.deployments.update("acme", row, second_image.built, push, planted)
    assert (gated.how, gated.checks) == ("unchanged", 3)
    assert gated.deployment.tag == "p1-two"
    back = await site.deployments.switch("acme", row, site.image.built, PLANTED)
    pushed = await site.deployments.update("acme", row, second_image.built, push, planted)
    assert pushed.how == "updated in place"
    # a version that holds approved changes is not lost to another image, nor to the same one
    image = signed_image(second_image.bucket, "p1-two", "acme", site.first.signer.verifier)
    digits = second_image.built.dataset_digest.removeprefix("sha256:")
    note = f"{STATE}/versions/{digits}/change.json"
    docker("exec", name, "/usr/local/bin/python3", "-c", f"open({note!r}, 'w').write('{{}}')")
    with pytest.raises(Conflict, match="approved changes"):
        await site.deploy(image, planted=planted)
    docker("stop", name)  # as a call that died may leave it: it serves again, whatever becomes of the image
    with pytest.raises(Conflict, match="approved changes"):
        await site.deploy(image, planted=planted)
    docker("kill", name)  # a way back does not ask it: its changes stay in the volume and come back with their image
    assert (await site.deploy(image, planted=planted, aside=True)).how == "deployed"
    returned = (await site.deploy()).deployment
    assert (returned.tag, returned.dataset_digest) == ("p1-two", second_image.built.dataset_digest)
    kept = await site.deploy(planted=planted)
    assert (kept.how, kept.deployment.dataset_digest) == ("unchanged", second_image.built.dataset_digest)
    assert NEW_ANSWER in await site.ask(port, NEW_QUESTION)
    docker("exec", name, "/usr/local/bin/python3", "-c", f"import os; os.unlink({note!r})")
    back = await site.deployments.switch("acme", row, site.image.built, PLANTED)
    assert back.how == "version switched"
    assert NEW_ANSWER not in await site.ask(port, NEW_QUESTION)
    forth = await site.deployments.switch("acme", row, second_image.built, planted)
    assert forth.how == "version switched"
    docker("rm", "-f", name)  # a container that is lost: made anew with the same volume, the update is still there
    assert (await site.deploy()).how == "deployed"
    assert (await site.deployments.switch("acme", row, second_image.built, planted)).how == "version switched"
    # a whole new image at the same address
    assert (await site.deploy(image, planted=planted)).deployment.port == port
    assert NEW_ANSWER in await site.ask(port, NEW_QUESTION)
    assert site.containers() == [name]
    assert await site.deployments.stop("acme", "local", release=False)
    assert site.containers() == []
    (row,) = await site.deployments.listed("acme")
    assert (row.port, row.state) == (port, "stopped")
    assert f"{name}-state" in docker("volume", "ls", "-q").split()
    assert not await site.deployments.stop("acme", "local", release=True)
    assert f"{name}-state" not in docker("volume", "ls", "-q").split()
    assert await site.deployments.listed("acme") == []


@slow
@pytest.mark.engine
async def test_the_same_image_is_started_anew_where_the_access_key_or_the_token_keys_are_others(site: Site) -> None:
    port, access = (await site.deploy()).deployment.port, site.deployments._access
    key_file(site.settings.home, "acme").unlink()
    with pytest.raises(Conflict, match="deploy_customer"):
        async with access.instance("acme", "127.0.0.1", port) as instance:
            await instance.call("list_versions", {}, DatasetVersions)
    assert (await site.deploy()).how == "deployed"
    assert ANSWER in await site.ask(port, QUESTION)
    assert (await site.deploy()).how == "unchanged"

    async def token_keys() -> str:
        return '{"keys":[]}'

    site.deployments._access = Access(site.settings, site.first.signer.verifier, token_keys)
    assert [(await site.deploy()).how for _ in range(2)] == ["deployed", "unchanged"]
    assert len(site.containers()) == 1


def _manifest(image: CustomerImage):
    from contextlib import asynccontextmanager

    from shared.dataset.reader import DatasetReader

    @asynccontextmanager
    async def opened():
        async with DatasetReader(image.bucket / "dataset") as reader:
            yield reader.manifest

    return opened()


@slow
@pytest.mark.engine
async def test_an_image_that_fails_its_gate_or_dies_at_the_exchange_leaves_what_served(
    site: Site, second_image: CustomerImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = (await site.deploy()).deployment.port
    image = signed_image(second_image.bucket, "p1-two", "acme", site.first.signer.verifier)
    before = site.containers()
    with pytest.raises(Conflict, match=r"planted questions: 0 of 1 answered") as refused:
        await site.deploy(image, planted=[Question(question=QUESTION, expected="neunundneunzig Nm")])
    assert QUESTION not in refused.value.message
    assert ANSWER in await site.ask(port, QUESTION)
    # the engine breaks off just after the exchange: the next call takes it back, and ends it
    real = Containers.exchange

    def dies(self: Containers, *arguments, **named) -> None:
        real(self, *arguments, **named)
        monkeypatch.setattr(Engine, "connect", lambda _host: (_ for _ in ()).throw(Unavailable("gone")))
        monkeypatch.setattr(Containers, "_inspect", lambda *_: (_ for _ in ()).throw(Unavailable("gone")))
        raise Unavailable("The container engine refused or broke off. Look at its log and call again.")

    with monkeypatch.context() as broken:
        monkeypatch = broken
        broken.setattr(Containers, "exchange", dies)
        with pytest.raises(Unavailable):
            await site.deploy(image)
    assert len(site.containers()) == 2
    assert (await site.deploy()).how == "unchanged"  # taken back: what served before serves
    assert site.containers() == before
    assert ANSWER in await site.ask(port, QUESTION)


@slow
@pytest.mark.engine
async def test_an_image_that_ends_before_it_is_healthy_is_told_at_once_and_leaves_what_served(
    site: Site, second_image: CustomerImage, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, before = (await site.deploy()).deployment.port, site.containers()
    image = signed_image(second_image.bucket, "p1-two", "acme", site.first.signer.verifier)
    create, bad = Containers._create, {"INSTANCE_QUERY_DEADLINE_S": "never"}
    for ends in (True, False):  # the candidate, then what was exchanged

        def broken(self: Containers, name: str, *said: Any, ends: bool = ends, **named: Any) -> None:
            hit = bad if name.endswith(".candidate") == ends else {}
            create(self, name, *said[:2], said[2] | hit, *said[3:], **named)

        with monkeypatch.context() as changed:
            changed.setattr(Containers, "_create", broken)
            with pytest.raises(Unavailable, match="ended before it was healthy"):
                await site.deploy(image)
        assert site.containers() == before
        await wait_until_healthy("127.0.0.1", port, lambda: False)


@slow
@pytest.mark.engine
async def test_a_port_in_use_is_refused_by_name_or_passed_over(site: Site) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as a server does: the tests hold the port
        other.bind(("127.0.0.1", site.settings.deployment_ports[0]))
        other.listen()
        with pytest.raises(Conflict, match="Another program has this port"):
            await site.deploy(port=site.settings.deployment_ports[0])
        assert site.containers() == []
        platform = owner_of(site.first.signer.verifier, "acme")
        assert docker("volume", "ls", "-q", "--filter", f"name=0711-{platform}-state") == ""
        made = await site.deploy()
    assert made.deployment.port > site.settings.deployment_ports[0]
    with pytest.raises(Conflict, match="has port"):
        await site.deploy(port=free_port())


@pytest.mark.engine
@pytest.mark.requirement("Z-04")
async def test_an_erasure_finds_in_the_engine_what_no_row_tells_of(engine_host: str, database, tmp_path: Path) -> None:
    signer = Signer.open(tmp_path / "keys")
    checked, loaded = (small_image(tmp_path / "bucket", signer, customer="wegzug", tag=f"p1-{n}") for n in "ab")
    images = ("images", "-q", "--filter", "label=com.0711.customer=wegzug")
    with Engine.connect(engine_host) as engine:
        name = engine.load(checked.tar, checked.built.image_id)  # a check that was killed
        engine.api.create_container(name, labels={OWNER: owner_of(signer.verifier, "wegzug")})
        engine.load(loaded.tar, loaded.built.image_id)  # a deployment that was killed before it made a container
        with pytest.raises(Unavailable, match="meanwhile"):  # and one whose image a check has removed again
            Containers(engine, signer.verifier, "wegzug").start_candidate("sha256:" + "0" * 64, loaded.built, {})
    assert len(docker(*images).split()) == 2
    settings = Settings(home=tmp_path, docker_host=engine_host)
    deployments = Deployments(settings, (await database("servers.cradle.deployments")).db, signer.verifier)
    assert await deployments.erase("wegzug") == 1
    assert docker(*images) == ""


@pytest.mark.engine
@pytest.mark.requirement("T-01")
def test_a_customer_who_is_called_as_another_ones_container_loses_none_of_its_own(
    engine_host: str, tmp_path: Path
) -> None:
    verifier, names = Signer.open(tmp_path / "keys").verifier, ("wolf", "wolf-candidate", "wolf-previous")
    image = small_image(tmp_path / "bucket", Signer.open(tmp_path / "keys"), customer="wolf", tag="p1-a")
    with Engine.connect(engine_host) as engine:
        loaded = engine.load(image.tar, image.built.image_id)
        all_of = {name: Containers(engine, verifier, name) for name in names}
        try:
            for each in all_of.values():
                each._create(each._name, loaded, image.built, {}, None, volume=False)
            before = {each._name: engine.inspect(each._name)["Id"] for each in all_of.values()}
            standing = all_of["wolf"].settle()
            assert {name: engine.inspect(name)["Id"] for name in before} == before
            assert standing is not None
            assert standing.id == before[all_of["wolf"]._name]
        finally:
            for each in reversed(all_of.values()):  # the image goes with its own customer, once no other uses it
                each.erase()


async def test_two_processes_do_not_change_one_deployment_at_a_time(database, tmp_path: Path) -> None:
    verifier, held = Signer.open(tmp_path / "keys").verifier, (await database("servers.cradle.deployments")).db
    one, other = (Deployments(Settings(home=tmp_path), held, verifier) for _ in range(2))
    async with one._turn("acme", "local"):
        with pytest.raises(Unavailable, match="Another process"):
            async with other._turn("acme", "local"):
                pass
        async with other._turn("acme", "far"), other._turn("beta", "local"):
            pass
    async with other._turn("acme", "local"):
        pass


async def test_two_customers_never_get_the_same_port_of_a_host(database, tmp_path: Path) -> None:
    store = DeploymentStore((await database("servers.cradle.deployments")).db)
    rows = await asyncio.gather(*(store.reserve(f"customer-{n}", "local", range(9400, 9420)) for n in range(20)))
    assert sorted(row.port for row in rows) == list(range(9400, 9420))
    assert (await store.reserve("customer-3", "local", range(9400, 9420))).port == rows[3].port
    assert (await store.reserve("customer-3", "other", range(9400, 9420))).port == 9400
    with pytest.raises(Conflict, match="port"):
        await store.reserve("customer-99", "local", range(9400, 9420))
    assert await store.all("nobody") == []


@pytest.mark.engine
def test_a_docker_context_leads_to_its_engine(
    engine_host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    docker("context", "create", "edge", "--docker", f"host={engine_host}")
    docker("context", "create", "far", "--docker", "host=ssh://user@example.com")
    with Engine.connect("context:edge") as engine:
        assert "container engine" in engine.how
    for name, words in (("far", "over ssh"), ("none", "no such docker context")):
        with pytest.raises(InvalidInput, match=words):
            Engine.connect(f"context:{name}")


@pytest.mark.requirement("S-01")
@pytest.mark.parametrize("case", ["unsigned", "another key", "altered", "another customer's"])
def test_only_the_image_that_this_platform_signed_for_this_customer_is_let_through(tmp_path: Path, case: str) -> None:
    signer = Signer.open(tmp_path / "keys")
    stranger = Signer.open(tmp_path / "strangers-keys")
    customer = "other" if case == "another customer's" else "acme"
    made = small_image(tmp_path / "bucket", stranger if case == "another key" else signer, customer=customer)
    if case == "unsigned":
        (made.folder / "signature.json").unlink()
        words = "not signed"
    elif case == "altered":
        data = bytearray(made.tar.read_bytes())
        data[len(data) // 2] ^= 1
        made.tar.write_bytes(data)
        words = "altered after it was signed"
    else:
        words = {"another key": "another key", "another customer's": "another customer's image"}[case]
    with pytest.raises(PlatformError, match=words):
        signed_image(made.bucket, made.spec.tag, "acme", signer.verifier)
    good = small_image(tmp_path / "good", signer)
    assert signed_image(good.bucket, good.spec.tag, "acme", signer.verifier).tar == good.tar


@pytest.mark.requirement("S-01")
@pytest.mark.parametrize("where", ["the bucket", "the archive"])
async def test_the_tool_asks_no_engine_for_an_image_that_is_not_as_it_was_signed(
    database, tmp_path: Path, where: str
) -> None:
    settings = Settings(home=tmp_path, docker_host=f"unix://{tmp_path}/none.sock")
    signer = Signer.open(tmp_path / "keys")
    store = await CustomerStore.open(settings, "acme", create=True)
    made = small_image(Path(store.path()), signer)
    deployments = Deployments(settings, (await database("servers.cradle.deployments")).db, signer.verifier)
    unused: Any = None
    held = Services(settings, unused, unused, unused, unused, deployments)
    altered = made.folder / "signature.json"
    if where == "the archive":
        kept = await delivery.archive(held, "acme", made.spec.tag)
        shutil.rmtree(made.folder)
        altered = Path(kept.location) / "signature.json"
    with pytest.raises(Unavailable, match="engine does not answer"):  # it is as it was signed, and may go on
        await deployment.deploy(held, "acme", made.spec.tag, "local", None)
    altered.chmod(0o644)
    altered.write_bytes(altered.read_bytes().replace(b"sha256:", b"sha257:"))
    if where == "the archive":
        shutil.rmtree(made.folder)  # which the first call brought back from it
    with pytest.raises(Conflict):
        await deployment.deploy(held, "acme", made.spec.tag, "local", None)


async def test_without_an_engine_or_with_an_unknown_host_one_sentence_says_so(database, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, docker_host=f"unix://{tmp_path}/none.sock")
    signer = Signer.open(tmp_path / "keys")
    made = small_image(tmp_path / "bucket", signer)
    image = signed_image(made.bucket, made.spec.tag, "acme", signer.verifier)
    deployments = Deployments(settings, (await database("servers.cradle.deployments")).db, signer.verifier)
    with pytest.raises(Unavailable, match="engine does not answer"):
        await deployments.deploy("acme", image, "local", None, ())
    with pytest.raises(InvalidInput, match="P0711_DEPLOYMENT_HOSTS"):
        await deployments.deploy("acme", image, "moon", None, ())
    assert await deployments.listed("acme") == []
