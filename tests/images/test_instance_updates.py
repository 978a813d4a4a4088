"""A running instance takes a signed update without down-time, keeps it, goes back, and refuses all others."""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from servers.cradle.images.signing import Signer
from servers.cradle.images.updates import DeliveredDataset, make_update, push_update
from servers.instance.tools.growth import DataChanges
from servers.instance.updates import Updates
from servers.instance.versions import KEPT, Versions
from shared.client import Upstream
from shared.contracts.image import UpdateMade
from shared.contracts.instance import DatasetAnswer, DatasetVersions, InstanceConfig, SearchAnswer, UpdatePart
from shared.dataset import lance
from shared.dataset.delta import ledger
from shared.dataset.manifest import MANIFEST, Manifest
from shared.dataset.places import Place
from shared.dataset.writer import DatasetWriter
from shared.errors import Conflict, DeadlineExceeded, NotFound, ParameterDrift, PlatformError, Unavailable
from shared.ids import digest
from shared.signatures import Verifier
from tests.image_rig import ANSWER, FINGERPRINT, QUESTION, TEXTS, unpack_frozen, write_dataset
from tests.serving_rig import free_port

pytestmark = pytest.mark.slow
KEY = "access-key-of-the-test"
NEW = {"neu.pdf": "Der Sanftanlasser SA-90 verträgt höchstens zwölf Anläufe je Stunde."}
NEW_QUESTION, NEW_ANSWER = "Wie viele Anläufe je Stunde verträgt der Sanftanlasser?", "zwölf Anläufe"


@dataclass(frozen=True)
class Delivered:
    """A customer's bucket after an update was made, and the frozen dataset that was delivered before."""

    bucket: Path
    frozen: Path
    base: Manifest
    manifest: Manifest
    update: UpdateMade
    signer: Signer
    model: Path


@pytest.fixture(scope="module")
async def delivered(tmp_path_factory: pytest.TempPathFactory, query_model: Path) -> Delivered:
    folder = tmp_path_factory.mktemp("updates")
    signer, bucket = Signer.open(folder / "keys"), folder / "bucket"
    base = await write_dataset(bucket / "dataset", TEXTS, query_model)
    frozen = unpack_frozen(bucket / "dataset", folder / "frozen")
    dataset = Place(str(bucket / "dataset"))
    known = DeliveredDataset(base.dataset_digest, ledger(dataset))
    async with DatasetWriter(str(bucket / "dataset"), base.model.dimension) as writer:
        gone = (await writer.documents())["manual.txt"].document_id
        await writer.remove_documents([gone])
    changed = {"leuchte.pdf": "Die Hallenleuchte HL-240-50 hat die Schutzart IP67."}
    manifest = await write_dataset(bucket / "dataset", NEW | changed, query_model)
    update = await make_update("acme", known, dataset, manifest, bucket, signer)
    return Delivered(bucket, frozen, base, manifest, update, signer, query_model)


@asynccontextmanager
async def instance(
    given: Delivered, state: Path | None, *, customer: str = "acme", fingerprint: str = FINGERPRINT,
    signer: Verifier | None = None, no_signer: bool = False,
) -> AsyncIterator[Upstream]:  # fmt: skip
    """The instance over the frozen dataset, on a port of its own."""
    config = given.frozen.with_name(f"instance-{customer}-{digest(fingerprint.encode())[7:15]}.json")
    config.write_text(
        InstanceConfig(
            customer_id=customer, company_name="Müller & Söhne KG", tag="p1", fingerprint=fingerprint,
            dataset_digest=given.base.dataset_digest, parameter_version=1,
        ).model_dump_json()
    )  # fmt: skip
    port = free_port()
    environment = {**os.environ, "INSTANCE_HOST": "127.0.0.1", "INSTANCE_PORT": str(port), "INSTANCE_ACCESS_KEY": KEY}
    if state is not None:
        environment["INSTANCE_STATE"] = str(state)
    if not no_signer:
        environment["INSTANCE_SIGNER"] = (signer or given.signer.verifier).text
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "servers.instance", "--dataset", given.frozen, "--model", given.model),
        *("--config", config), env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with Upstream(f"http://127.0.0.1:{port}/mcp", key=KEY) as upstream:
            async with asyncio.timeout(90):
                while not await listening(upstream):
                    assert process.returncode is None
                    await asyncio.sleep(0.1)  # the interval of a poll
            yield upstream
    finally:
        process.terminate()
        await process.wait()


async def listening(upstream: Upstream) -> bool:
    try:
        await upstream.call("list_versions", {}, DatasetVersions, deadline_s=10)
    except (Unavailable, DeadlineExceeded):
        return False
    return True


async def ask(upstream: Upstream, question: str) -> str:
    answer = await upstream.call("search", {"query": question, "limit": 3}, SearchAnswer, deadline_s=30)
    return "\n".join(hit.text for hit in answer.hits)


def folder(tmp_path: Path) -> Path:
    state = tmp_path / "state"
    state.mkdir()
    return state


@pytest.mark.requirement("O-06")
async def test_an_update_lands_while_answers_go_on_survives_a_restart_and_is_rolled_back(
    delivered: Delivered, tmp_path: Path
) -> None:
    state, answers, failures = folder(tmp_path), 0, 0
    async with instance(delivered, state) as upstream:
        landed = asyncio.Event()

        async def keep_asking() -> None:
            nonlocal answers, failures
            while not landed.is_set():
                try:
                    assert ANSWER in await ask(upstream, QUESTION)
                    answers += 1
                except PlatformError:
                    failures += 1

        assert NEW_ANSWER not in await ask(upstream, NEW_QUESTION)
        asking = asyncio.create_task(keep_asking())
        versions = await push_update(Path(delivered.update.location), upstream)
        landed.set()
        await asking
        assert failures == 0
        assert answers > 1
        assert [each.current for each in versions.versions] == [False, True]
        assert NEW_ANSWER in await ask(upstream, NEW_QUESTION)
        about = await upstream.call("describe_dataset", {}, DatasetAnswer)
        assert about.dataset_digest == delivered.manifest.dataset_digest
        assert about.counts["documents"] == 3
        assert "IP67" in await ask(upstream, "Welche Schutzart hat die Hallenleuchte?")
        assert "derates" not in await ask(upstream, "derating of the power supply NT-24-10")
        assert len(about.node_kinds) > 0
        changes = await upstream.call("get_data_changes", {}, DataChanges)
        assert (changes.older, changes.newer) == (delivered.base.dataset_digest, delivered.manifest.dataset_digest)
        assert (changes.documents_added, changes.documents_changed, changes.documents_removed) == (1, 1, 1)
        assert changes.offer is None
    async with instance(delivered, state) as upstream:  # a container that is made anew with the same volume
        assert NEW_ANSWER in await ask(upstream, NEW_QUESTION)
        back = {"dataset_digest": delivered.base.dataset_digest}
        await upstream.call("use_version", back, DatasetVersions)
        assert NEW_ANSWER not in await ask(upstream, NEW_QUESTION)
        assert "derates" in await ask(upstream, "derating of the power supply NT-24-10")
    async with instance(delivered, state) as upstream:
        assert NEW_ANSWER not in await ask(upstream, NEW_QUESTION)
        forward = {"dataset_digest": delivered.manifest.dataset_digest}
        await upstream.call("use_version", forward, DatasetVersions)
        assert NEW_ANSWER in await ask(upstream, NEW_QUESTION)
        with pytest.raises(NotFound, match="list_versions"):
            await upstream.call("use_version", {"dataset_digest": digest(b"none")}, DatasetVersions)


@pytest.mark.requirement("O-06")
def test_another_image_with_the_same_volume_starts_with_its_own_dataset(delivered: Delivered, tmp_path: Path) -> None:
    state, updated, other = folder(tmp_path), delivered.manifest.dataset_digest, digest(b"another image's dataset")
    shutil.copytree(delivered.bucket / "dataset", state / "versions" / updated.removeprefix("sha256:"))
    versions = Versions(delivered.frozen, delivered.base.dataset_digest, state)
    versions.choose(updated)
    assert versions.current() == updated
    assert Versions(delivered.frozen, other, state).current() == other


@pytest.mark.requirement("G-03")
async def test_the_merged_vectors_are_those_that_a_whole_installation_writes(
    delivered: Delivered, tmp_path: Path
) -> None:
    state = folder(tmp_path)
    async with instance(delivered, state) as upstream:
        await push_update(Path(delivered.update.location), upstream)
    whole = tmp_path / "whole"
    texts = {name: text for name, text in TEXTS.items() if name != "manual.txt"} | NEW
    texts["leuchte.pdf"] = "Die Hallenleuchte HL-240-50 hat die Schutzart IP67."
    installed = await write_dataset(whole, texts, delivered.model)
    assert installed.dataset_digest == delivered.manifest.dataset_digest
    merged = state / "versions" / installed.dataset_digest.removeprefix("sha256:")

    def vectors(root: Path) -> dict[str, np.ndarray]:
        manifest = Manifest.model_validate_json((root / "manifest.json").read_bytes())
        table = lance.connect(str(root / "vectors"), dict).open_table(manifest.pins.vectors).to_arrow()
        return dict(zip(table["chunk_id"].to_pylist(), map(np.array, table["vector"].to_pylist()), strict=True))

    one, two = vectors(merged), vectors(whole)
    assert one.keys() == two.keys()
    for name, vector in one.items():
        assert float(vector @ two[name]) >= 1 - 1e-3


@pytest.mark.parametrize("name", ["statement.json", "changes.json", "chunks.parquet", "vectors.parquet"])
async def test_an_update_that_was_altered_changes_nothing(delivered: Delivered, tmp_path: Path, name: str) -> None:
    harmed = tmp_path / "harmed.tar"
    data = bytearray(Path(delivered.update.location).read_bytes())  # noqa: ASYNC240
    with tarfile.open(delivered.update.location) as tar:
        member = tar.getmember(name)
    data[member.offset_data + member.size // 2] ^= 1
    harmed.write_bytes(data)
    state = folder(tmp_path)
    async with instance(delivered, state) as upstream:
        with pytest.raises(Conflict):
            await push_update(harmed, upstream)
        await unchanged(upstream, state)


async def unchanged(upstream: Upstream, state: Path) -> None:
    versions = await upstream.call("list_versions", {}, DatasetVersions)
    assert [each.origin for each in versions.versions] == ["image"]
    assert ANSWER in await ask(upstream, QUESTION)
    left = [path.name for path in state.rglob("*") if path.is_file()]  # noqa: ASYNC240
    assert left == []


async def test_the_volume_holds_the_newest_updates_and_every_version_with_approved_changes(
    delivered: Delivered, tmp_path: Path
) -> None:
    state = folder(tmp_path)
    config = InstanceConfig(
        customer_id="acme", company_name="Müller & Söhne KG", tag="p1", fingerprint=FINGERPRINT,
        dataset_digest=delivered.base.dataset_digest, parameter_version=1,
    )  # fmt: skip
    versions = Versions(delivered.frozen, delivered.base.dataset_digest, state)
    earlier = [digest(bytes([number])) for number in range(KEPT + 3)]
    for number, each in enumerate(earlier):
        place = versions.place_of(each)
        place.mkdir(parents=True)
        made = delivered.manifest.model_copy(update={"dataset_digest": each})
        (place / MANIFEST).write_text(made.model_dump_json())
        if number == 1:
            versions.note_change(place, delivered.base.dataset_digest, digest(b"statement"))
        os.utime(place, (number, number))
    versions.choose(earlier[2])
    updates = Updates(versions, config, delivered.signer.verifier)
    whole = await asyncio.to_thread(Path(delivered.update.location).read_bytes)
    await updates.receive(delivered.update.update_digest, 0, whole)
    made = await updates.apply(delivered.update.update_digest)
    there = {each.dataset_digest for each in versions.listed()}
    assert there == {delivered.base.dataset_digest, made, *earlier[1:3], *earlier[-KEPT + 1 :]}


async def test_parts_that_were_sent_and_left_are_gone_with_the_next_start(delivered: Delivered, tmp_path: Path) -> None:
    versions = Versions(delivered.frozen, delivered.base.dataset_digest, folder(tmp_path))
    (versions.state() / "incoming").mkdir()
    (versions.state() / "incoming" / ("a" * 64)).write_bytes(b"half of an update")
    versions.sweep()
    assert not (versions.state() / "incoming").exists()


@pytest.mark.requirement("G-02", "S-01")
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"customer": "other"}, Conflict, "another customer"),
        ({"fingerprint": digest(b"other parameters")}, ParameterDrift, "other installation parameters"),
        ({"signer": "stranger"}, Conflict, "not signed by the expected key"),
        ({"no_signer": True}, Unavailable, "INSTANCE_SIGNER"),
    ],
)
async def test_an_update_for_another_instance_or_by_another_signer_is_refused_by_name(
    delivered: Delivered, tmp_path: Path, change: dict[str, object], error: type[PlatformError], words: str
) -> None:
    if change.get("signer"):
        change = {"signer": Signer.open(tmp_path / "stranger").verifier}
    state = folder(tmp_path)
    async with instance(delivered, state, **change) as upstream:  # pyright: ignore[reportArgumentType]
        with pytest.raises(error, match=words):
            await push_update(Path(delivered.update.location), upstream)
        await unchanged(upstream, state)


async def test_an_instance_without_a_volume_says_so(delivered: Delivered) -> None:
    async with instance(delivered, None) as upstream:
        with pytest.raises(Unavailable, match="INSTANCE_STATE"):
            await push_update(Path(delivered.update.location), upstream)


async def test_parts_come_in_order_and_an_unknown_update_is_not_applied(delivered: Delivered, tmp_path: Path) -> None:
    async with instance(delivered, folder(tmp_path)) as upstream:
        part = {"update_digest": digest(b"x"), "position": 5, "data_base64": "AAAA"}
        with pytest.raises(Conflict, match="missing"):
            await upstream.call("put_update", part, UpdatePart)
        with pytest.raises(NotFound, match="put_update"):
            await upstream.call("apply_update", {"update_digest": digest(b"y")}, DatasetVersions)
        with pytest.raises(PlatformError, match="base64"):
            await upstream.call("put_update", part | {"data_base64": "*****"}, UpdatePart)


async def test_an_update_holds_the_documents_that_changed_and_no_others(delivered: Delivered, tmp_path: Path) -> None:
    with tarfile.open(delivered.update.location) as tar:
        names = tar.getnames()
    assert names[0] == "statement.json"
    assert "chunks.parquet" in names
    assert delivered.update.changed == 2
    assert delivered.update.removed == 1


@pytest.mark.requirement("I-09")
async def test_a_signed_update_that_names_a_file_outside_is_refused(delivered: Delivered, tmp_path: Path) -> None:
    about = {
        "customer_id": "acme", "base": delivered.base.dataset_digest, "fingerprint": FINGERPRINT,
        "parameter_version": 1, "files": {"../../escape": digest(b"x")[7:], "changes.json": digest(b"x")[7:]},
    }  # fmt: skip
    subject = {"name": "dataset", "digest": {"sha256": "0" * 64}}
    envelope = delivered.signer.envelope(
        {"subject": [subject], "predicateType": "urn:0711:dataset-delta:v1", "predicate": about}
    )
    path = tmp_path / "update.tar"
    with tarfile.open(path, "w") as tar:
        for name, data in (("statement.json", envelope), ("../../escape", b"x"), ("changes.json", b"x")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    async with instance(delivered, folder(tmp_path)) as upstream:
        with pytest.raises(PlatformError, match="does not belong"):
            await push_update(path, upstream)
    assert not list(tmp_path.parent.rglob("escape"))
