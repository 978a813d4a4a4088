"""A legacy deployment in a customer's bucket on S3: found, checked, copied object by object, and read where it lies."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from servers.cradle import migration
from servers.cradle.legacy.reconcile import Reconciliation
from servers.cradle.workplace import work_folder
from shared.auth import Principal
from shared.auth.principal import acting_as
from shared.errors import Conflict, InvalidInput
from shared.objects import CustomerStore
from tests.conftest import s3_settings
from tests.e2e.legacy_rig import TEXTS, write_legacy

OPERATOR = Principal("usr_admin", "platform_admin", frozenset(), None, "key_admin", 0.0)


@pytest.fixture
async def held(tmp_path: Path, s3_url: str) -> AsyncIterator[Any]:
    """Cradle's settings with the bucket of `alter-eimer`, in which a legacy deployment lies below `old`."""
    changes = {"work_folder": tmp_path, "source_roots": [tmp_path]}
    settings = s3_settings(tmp_path / "home", s3_url).model_copy(update=changes)
    write_legacy(tmp_path / "legacy")
    store = await CustomerStore.open(settings, "alter-eimer", create=True)
    for path in files(tmp_path / "legacy"):
        await store.put(f"old/{path.relative_to(tmp_path / 'legacy').as_posix()}", path)
    yield SimpleNamespace(settings=settings)
    await store.remove()


async def prepare(held: Any, legacy: str) -> None:
    with acting_as(OPERATOR):
        await migration.prepare(held, "alter-eimer", legacy)


def goes_once_listed(patch: pytest.MonkeyPatch, key: str) -> None:
    listed = CustomerStore.list

    async def listing(self: CustomerStore, prefix: str = "") -> list[tuple[str, int]]:
        found = await listed(self, prefix)
        await self.delete(key)
        return found

    patch.setattr(CustomerStore, "list", listing)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.requirement("O-07")
@pytest.mark.parametrize("where", ["bucket:old", "s3://customer-alter-eimer/old", "file"])
async def test_it_is_copied_whole_and_says_what_it_held(held: Any, tmp_path: Path, where: str) -> None:
    legacy = (tmp_path / "legacy").as_uri() if where == "file" else where
    await prepare(held, legacy)
    made = await migration.copy_legacy(held, "alter-eimer")
    store = await CustomerStore.open(held.settings, "alter-eimer")
    assert (made.files, made.tables) == (4, 3)
    hashes = orjson.loads(await store.get("legacy/manifest.json"))
    assert len(hashes) == len(files(tmp_path / "legacy")) == len(await store.list("legacy")) - 2
    for name, value in hashes.items():
        assert hashlib.sha256(await store.get(f"legacy/{name}")).hexdigest() == value
    export = await migration._export(store)
    assert export.documents == 4
    assert export.names == Counter(("rk4.txt", "hl240.txt", "nt24.txt", "preise.csv"))
    assert export.articles == {"RK-4", "HL-240-50"}
    assert {sample.text for sample in export.samples} == set(TEXTS.values())
    assert list(work_folder(held.settings).iterdir()) == []


async def test_a_copy_that_broke_off_goes_on_and_one_that_came_out_otherwise_is_refused(
    held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(held, "bucket:old")
    made = await migration.copy_legacy(held, "alter-eimer")
    store = await CustomerStore.open(held.settings, "alter-eimer")
    cut = "legacy/files/files/preise.csv"
    await store.put(cut, b"cut o")
    put, done = CustomerStore.put, list[str]()

    async def noted(self: CustomerStore, key: str, data: bytes | Path, **more: Any) -> None:
        done.append(key)
        await put(self, key, data, **more)

    monkeypatch.setattr(CustomerStore, "put", noted)
    assert (await migration.copy_legacy(held, "alter-eimer")).digest == made.digest
    assert done == ["legacy/begun.json", cut, "legacy/manifest.json"]

    async def damaging(self: CustomerStore, key: str, data: bytes | Path, **more: Any) -> None:
        await put(self, key, b"other" if key == cut else data, **more)

    await store.delete(cut)
    monkeypatch.setattr(CustomerStore, "put", damaging)
    with pytest.raises(Conflict, match="changed while it was copied"):
        await migration.copy_legacy(held, "alter-eimer")
    assert not await store.exists(cut)


async def test_a_second_copy_that_fails_leaves_the_first_one_and_what_the_customer_put_beside_it(
    held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(held, "bucket:old")
    made = await migration.copy_legacy(held, "alter-eimer")
    store = await CustomerStore.open(held.settings, "alter-eimer")
    await store.put("legacy/files/neu.pdf", b"the customer's")
    first = {key: await store.get(key) for key, _ in await store.list("legacy")}
    await store.put("half/files/preise.csv", b"other prices")
    await store.put("half/files/fremd.pdf", b"of another")
    await store.put("half/zuletzt.pdf", b"gone before it is read")
    await prepare(held, "bucket:half")
    with monkeypatch.context() as going:
        goes_once_listed(going, "half/zuletzt.pdf")
        with pytest.raises(Conflict, match="Stop its updates"):
            await migration.copy_legacy(held, "alter-eimer")
    kept = {key: await store.get(key) for key in first}
    assert kept | {"legacy/source.json": b""} == first | {"legacy/source.json": b""}
    await prepare(held, "bucket:old")
    assert (await migration.copy_legacy(held, "alter-eimer")).digest == made.digest
    assert {key: await store.get(key) for key, _ in await store.list("legacy")} == first
    await store.put("old/neu.pdf", b"of the legacy deployment")
    with pytest.raises(Conflict, match="customer's own"):
        await migration.copy_legacy(held, "alter-eimer")
    assert await store.get("legacy/files/neu.pdf") == b"the customer's"


async def test_a_prefix_without_files_of_another_bucket_or_with_a_broken_table_is_refused(held: Any) -> None:
    for legacy, words in (("bucket:none", "no original files"), ("s3://customer-other/old", "own bucket")):
        with pytest.raises(InvalidInput, match=words):
            await prepare(held, legacy)
    store = await CustomerStore.open(held.settings, "alter-eimer")
    (data,) = [key for key, _ in await store.list("old/delta/products") if key.endswith(".parquet")]
    kept = await store.get(data)
    await store.delete(data)
    with pytest.raises(InvalidInput, match="cannot be read"):
        await prepare(held, "bucket:old")
    await store.put(data, kept)
    await prepare(held, "bucket:old")
    (log,) = [key for key, _ in await store.list("old/delta/documents/_delta_log") if key.endswith(".json")]
    await store.put(log, b"{broken")
    with pytest.raises(InvalidInput, match="cannot be read"):
        await prepare(held, "bucket:old")


@pytest.mark.requirement("O-07")
@pytest.mark.parametrize("where", ["bucket:old", "file"])
async def test_what_the_legacy_deployment_gets_after_its_copy_is_a_difference(
    held: Any, tmp_path: Path, where: str
) -> None:
    await prepare(held, (tmp_path / "legacy").as_uri() if where == "file" else where)
    await migration.copy_legacy(held, "alter-eimer")
    store = await CustomerStore.open(held.settings, "alter-eimer")
    manifest = orjson.loads(await store.get("legacy/manifest.json"))

    async def put(name: str, data: bytes | None) -> None:
        if where == "file":
            path = tmp_path / "legacy" / name
            path.unlink() if data is None else path.write_bytes(data)
        else:
            await (store.delete(f"old/{name}") if data is None else store.put(f"old/{name}", data))

    async def once_more() -> Reconciliation:
        found = Reconciliation()
        await migration._compare_once_more(held, "alter-eimer", store, manifest, found)
        return found

    assert [(check.passed, check.detail) for check in (await once_more()).checks] == [(True, "0 files")]
    await put("files/neu.txt", b"new")
    await put("files/preise.csv", (tmp_path / "legacy" / "files" / "preise.csv").read_bytes().replace(b"1,20", b"1,30"))
    await put("files/handbuch/nt24.txt", None)
    found = await once_more()
    assert not found.checks[0].passed
    names = ["files/files/handbuch/nt24.txt", "files/files/neu.txt", "files/files/preise.csv"]
    assert found.missing == {"changes since the copy": names}
    if where == "file":
        (tmp_path / "legacy" / "nas").symlink_to(tmp_path)
        assert [check.name for check in (await once_more()).checks] == ["changes since the copy", "links"]
        (tmp_path / "legacy").rename(tmp_path / "away")
        (check,) = (await once_more()).checks
        assert (check.passed, check.detail) == (False, "the legacy deployment cannot be read any more")
    # what is copied again is the present state, and nothing else
    else:
        await migration.copy_legacy(held, "alter-eimer")
        assert not await store.exists("legacy/files/files/handbuch/nt24.txt")
        assert await store.exists("legacy/files/files/neu.txt")


async def test_an_object_that_goes_while_it_is_compared_is_a_difference_and_no_failed_step(
    held: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prepare(held, "bucket:old")
    await migration.copy_legacy(held, "alter-eimer")
    store, found = await CustomerStore.open(held.settings, "alter-eimer"), Reconciliation()
    manifest = orjson.loads(await store.get("legacy/manifest.json"))
    goes_once_listed(monkeypatch, "old/files/preise.csv")
    await migration._compare_once_more(held, "alter-eimer", store, manifest, found)
    (check,) = found.checks
    assert (check.passed, check.detail) == (False, "the legacy deployment cannot be read any more")
    assert list(work_folder(held.settings).iterdir()) == []


async def test_the_folder_of_the_copy_is_no_legacy_deployment(held: Any) -> None:
    store = await CustomerStore.open(held.settings, "alter-eimer")
    await store.put("legacy/files/original.pdf", b"would be removed, as no file of the copy")
    for where in ("bucket:legacy", "s3://customer-alter-eimer/legacy/files"):
        with pytest.raises(InvalidInput, match="takes the copy"):
            await prepare(held, where)
