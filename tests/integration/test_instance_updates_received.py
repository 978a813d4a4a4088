"""Updates as an instance takes them, without a server: what is kept of one that is sent, and why one is refused."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from servers.cradle.images import updates as sending
from servers.cradle.images.signing import Signer
from servers.instance import updates as module
from servers.instance.updates import Updates
from servers.instance.versions import Versions
from shared.client import Upstream
from shared.contracts.instance import DatasetVersions, InstanceConfig, UpdatePart
from shared.dataset import delta
from shared.dataset.places import Place
from shared.errors import Conflict, InvalidInput, NotFound, ParameterDrift, PlatformError, TooLarge, Unavailable
from shared.ids import digest, hash_file
from shared.settings import Settings
from shared.signatures import DELTA, STATEMENT
from tests.dataset_corpus import FINGERPRINT, document, frozen, unpack, written
from tests.serving_rig import Issuer, build, running

SIGNER = Signer(ec.generate_private_key(ec.SECP256R1()))


@dataclass(frozen=True)
class Made:
    """A dataset that an instance has, the difference to a newer one, and what is signed of it."""

    base: Path
    base_digest: str
    newer_digest: str
    difference: Path

    def statement(self) -> dict[str, Any]:
        files = {path.name: hash_file(path) for path in sorted(self.difference.iterdir())}
        about = {"customer_id": "acme", "base": self.base_digest, "fingerprint": FINGERPRINT, "files": files}
        subject = {"name": "dataset", "digest": {"sha256": self.newer_digest.removeprefix("sha256:")}}
        return {"_type": STATEMENT, "subject": [subject], "predicateType": DELTA, "predicate": about}

    def tar(self, statement: dict[str, Any], signer: Signer = SIGNER, **files: bytes) -> bytes:
        """An update; `files`: contents in place of those of the difference, by name without its ending."""
        held = {path.name: path.read_bytes() for path in sorted(self.difference.iterdir())}
        held |= {name: files[name.partition(".")[0]] for name in held if name.partition(".")[0] in files}
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w") as tar:
            for name, data in {module.STATEMENT: signer.envelope(statement), **held}.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return raw.getvalue()


@pytest.fixture(scope="module")
async def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("delta")
    older = await written(folder / "bucket", [document(0)])
    base, known = unpack(frozen(folder / "bucket"), folder / "frozen"), delta.ledger(Place(str(folder / "bucket")))
    newer = await written(folder / "bucket", [document(0), document(1)])
    (folder / "difference").mkdir()
    delta.write_delta(Place(str(folder / "bucket")), known, folder / "difference")
    return Made(base, older.dataset_digest, newer.dataset_digest, folder / "difference")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return tmp_path / "state"


@pytest.fixture
def updates(made: Made, state: Path) -> Updates:
    return Updates(Versions(made.base, made.base_digest, state), config(made), SIGNER.verifier)


def config(made: Made) -> InstanceConfig:
    return InstanceConfig(
        customer_id="acme", company_name="x", tag="p1", fingerprint=FINGERPRINT, dataset_digest=made.base_digest,
        parameter_version=1,
    )  # fmt: skip


async def taken(updates: Updates, data: bytes) -> str:
    name = digest(data)
    await updates.receive(name, 0, data)
    return await updates.apply(name)


def files(state: Path) -> set[str]:
    return {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}


@pytest.mark.requirement("O-06")
async def test_a_whole_update_is_a_version_and_the_same_again_is_the_same_version(
    updates: Updates, made: Made, state: Path
) -> None:
    data = made.tar(made.statement())
    assert await taken(updates, data) == made.newer_digest
    there = files(state)
    assert {name.split("/")[1] for name in there} == {made.newer_digest.removeprefix("sha256:")}
    assert await taken(updates, data) == made.newer_digest
    assert files(state) == there
    with pytest.raises(NotFound, match="put_update"):
        await updates.apply(digest(data))  # what was merged is not kept


async def test_parts_are_joined_in_order_repeated_ones_too_and_another_update_takes_their_place(
    updates: Updates, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, incoming = digest(b"abcdef"), state / "incoming"
    assert await updates.receive(name, 0, b"abc") == 3
    with pytest.raises(Conflict, match="before this one is missing"):
        await updates.receive(name, 4, b"ef")
    assert await updates.receive(name, 3, b"def") == 6
    assert await updates.receive(name, 3, b"de") == 5  # the answer to a part was lost, and it comes otherwise
    assert [path.read_bytes() for path in incoming.iterdir()] == [b"abcde"]
    assert {path.stat().st_mode & 0o777 for path in (incoming, *incoming.iterdir())} == {0o700, 0o600}
    monkeypatch.setattr(module, "MAX_UPDATE", 6)
    with pytest.raises(TooLarge, match="at most 6 bytes"):
        await updates.receive(name, 5, b"fg")
    assert await updates.receive(name, 5, b"f") == 6
    assert await updates.receive(digest(b"other"), 0, b"o") == 1
    assert [path.read_bytes() for path in incoming.iterdir()] == [b"o"]


def _other(part: str, **changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda statement: (statement if part == "" else statement[part]).update(changes)


@pytest.mark.requirement("S-01", "G-02")
@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (_other("", predicateType="urn:0711:erasure:v1"), Conflict, "not an update"),
        (lambda statement: statement["predicate"]["files"].pop(delta.CHANGES), Conflict, "not an update"),
        (_other("predicate", customer_id="bolt"), Conflict, "another customer"),
        (_other("predicate", fingerprint=digest(b"other")), ParameterDrift, "other installation parameters"),
        (_other("predicate", base=digest(b"other")), Conflict, "does not have"),
        (_other("", predicate=[]), Conflict, "damaged"),
        (lambda statement: statement["predicate"]["files"].update({"../x": "0"}), InvalidInput, "does not belong"),
        (lambda statement: statement["predicate"]["files"].update({"more.parquet": "0"}), Conflict, "damaged"),
        (lambda statement: statement["subject"][0]["digest"].update(sha256="0" * 64), Conflict, "not the one that was"),
    ],
)
async def test_what_is_signed_has_to_fit_the_instance_in_every_part(
    updates: Updates, made: Made, state: Path, change: Callable[[Any], Any], error: type[PlatformError], words: str
) -> None:
    statement = made.statement()
    change(statement)
    with pytest.raises(error, match=words):
        await taken(updates, made.tar(statement))
    assert files(state) == set()
    assert [each.name for each in (state / "versions").iterdir()] == []


@pytest.mark.requirement("S-01")
async def test_an_update_of_another_signer_or_with_another_file_than_the_signed_one_is_refused(
    updates: Updates, made: Made, state: Path
) -> None:
    stranger = Signer(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Conflict, match="expected key"):
        await taken(updates, made.tar(made.statement(), stranger))
    with pytest.raises(Conflict, match="damaged"):
        await taken(updates, made.tar(made.statement(), chunks=b"other"))
    with pytest.raises(Conflict, match="damaged"):
        await taken(updates, made.tar({**made.statement(), "more": "x" * 2**20}))
    await updates.receive(digest(b"named otherwise"), 0, made.tar(made.statement()))
    with pytest.raises(Conflict, match="damaged"):
        await updates.apply(digest(b"named otherwise"))
    without = Updates(Versions(made.base, made.base_digest, state), config(made), None)
    with pytest.raises(Unavailable, match="INSTANCE_SIGNER"):
        await taken(without, made.tar(made.statement()))
    assert files(state) == set()


@pytest.mark.requirement("O-06")
async def test_an_update_does_not_take_the_place_of_approved_changes(made: Made, updates: Updates, state: Path) -> None:
    versions = Versions(made.base, made.base_digest, state)
    changed = await taken(updates, made.tar(made.statement()))  # any whole version will do
    versions.note_change(versions.place_of(changed), made.base_digest, digest(b"statement"))
    versions.choose(changed)
    with pytest.raises(Conflict, match="approved changes"):
        await taken(updates, made.tar(made.statement()))
    versions.choose(made.base_digest)
    assert await taken(updates, made.tar(made.statement())) == changed


@pytest.mark.requirement("O-06")
async def test_an_instance_that_takes_a_part_otherwise_than_it_was_sent_ends_the_update(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PART", 4)
    (tmp_path / "update.tar").write_bytes(b"0123456789")
    keys, settings = Issuer(), Settings(home=tmp_path)
    server, called, lost = build(settings, keys), list[int](), False

    async def put_update(update_digest: str, position: int, data_base64: str) -> UpdatePart:
        """Take a part of an update."""
        called.append(position)
        return UpdatePart(received=0 if lost else position + len(base64.b64decode(data_base64)))

    async def apply_update(update_digest: str) -> DatasetVersions:
        """Merge it."""
        called.append(-1)
        return DatasetVersions(versions=[])

    for tool in (put_update, apply_update):
        server.tool(tool, scope="dataset:update", title="x")
    token = keys.token(settings, scope="dataset:update")
    async with running(server, settings) as address, Upstream(f"{address}/mcp", key=token) as instance:
        await sending.push_update(tmp_path / "update.tar", instance)
        assert called == [0, 4, 8, -1]
        called.clear()
        lost = True
        with pytest.raises(Conflict, match="as it was sent"):
            await sending.push_update(tmp_path / "update.tar", instance)
        assert called == [0]
