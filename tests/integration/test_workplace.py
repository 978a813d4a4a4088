"""Where images are worked on when the bucket is on S3: in memory, whole or not at all, and nothing stays behind."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from servers.cradle import workplace as module
from servers.cradle.workplace import sweep_work, work_folder, workplace
from servers.local import demo
from shared.contracts.job import JobResult, JobView
from shared.errors import NotFound, PlatformError, StorageFull, Unavailable
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.conftest import s3_settings


@pytest.fixture
async def there(tmp_path: Path, s3_url: str) -> AsyncIterator[tuple[Settings, CustomerStore]]:
    settings = s3_settings(tmp_path / "home", s3_url).model_copy(update={"work_folder": tmp_path})
    store = await CustomerStore.open(settings, "arbeit", create=True)
    yield settings, store
    await store.remove()


async def test_what_is_needed_is_there_and_what_is_given_replaces_the_bucket(
    there: tuple[Settings, CustomerStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, store = there
    for key in ("images/a/image.tar", "images/a/image.json", "images/a/old.sig", "images/b/image.tar"):
        await store.put(key, key.encode())
    done, put, delete = list[str](), store.put, store.delete

    async def noted_put(key: str, data: bytes | Path) -> None:
        done.append(f"put {key}")
        await put(key, data)

    async def noted_delete(key: str) -> None:
        done.append(f"delete {key}")
        await delete(key)

    monkeypatch.setattr(store, "put", noted_put)
    monkeypatch.setattr(store, "delete", noted_delete)
    async with workplace(settings, "arbeit", store, "images/a", "reports/a") as place:
        assert place.folder.is_relative_to(work_folder(settings))
        assert (place.folder / "images" / "a" / "image.tar").read_bytes() == b"images/a/image.tar"
        assert not (place.folder / "images" / "b").exists()
        assert await place.give("images/a", "image.json") == "s3://customer-arbeit/images/a"
        assert [each for each in done if "put" in each] == []  # nothing changed
        (place.folder / "images" / "a" / "image.tar").write_bytes(b"new")
        (place.folder / "images" / "a" / "old.sig").unlink()
        (place.folder / "images" / "a" / "new.sig").write_bytes(b"signed")
        done.clear()
        await place.give("images/a", "image.json")
        record = "images/a/image.json"
        assert done[done.index(f"delete {record}") :][-1] == f"put {record}"
        assert done.index(f"delete {record}") < done.index("put images/a/image.tar") < done.index(f"put {record}")
        monkeypatch.undo()
        folder = place.folder
    assert not folder.exists()
    assert [key for key, _ in await store.list("images")] == [
        "images/a/image.json", "images/a/image.tar", "images/a/new.sig", "images/b/image.tar",
    ]  # fmt: skip
    assert await store.get("images/a/image.tar") == b"new"


@pytest.mark.requirement("Z-01")
async def test_a_failure_leaves_nothing_and_a_killed_process_nothing_for_long(
    there: tuple[Settings, CustomerStore],
) -> None:
    settings, store = there
    await store.put("images/a/image.tar", b"content")
    with pytest.raises(NotFound):
        async with workplace(settings, "arbeit", store, "images/a") as place:
            await place.fetch("images/a/gone")
    assert list(work_folder(settings).iterdir()) == []
    process = await asyncio.create_subprocess_exec("true")
    await process.wait()
    killed = work_folder(settings) / f".building-arbeit-{process.pid}-abcd"
    alive = work_folder(settings) / f".building-arbeit-{os.getpid()}-abcd"
    for folder in (killed, alive):
        folder.mkdir()
        (folder / "image.tar").write_bytes(b"content")
    sweep_work(settings)
    assert (killed.exists(), alive.exists()) == (False, True)


async def test_a_work_folder_without_room_or_of_another_user_is_refused_by_its_setting(
    there: tuple[Settings, CustomerStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, store = there
    await store.put("images/a/image.tar", b"content")

    async def refusal(settings: Settings) -> PlatformError:
        with pytest.raises(PlatformError, match="P0711_WORK_FOLDER") as refused:
            async with workplace(settings, "arbeit", store, "images/a"):
                pass
        return refused.value

    with monkeypatch.context() as full:
        full.setattr(module, "_free", lambda _: 3)
        assert isinstance(await refusal(settings), StorageFull)
    assert list(work_folder(settings).iterdir()) == []
    work_folder(settings).chmod(0o755)
    assert isinstance(await refusal(settings), Unavailable)
    work_folder_of_none = settings.model_copy(update={"work_folder": tmp_path / "none"})
    assert isinstance(await refusal(work_folder_of_none), Unavailable)


async def test_a_bucket_that_is_a_folder_is_worked_on_where_it_is(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    store = await CustomerStore.open(settings, "arbeit", create=True)
    async with workplace(settings, "arbeit", store, "images/a") as place:
        assert place.folder == store.local()
        (place.folder / "x.txt").write_text("stays")
        assert await place.give("x.txt") == str(tmp_path / "objects" / "customer-arbeit" / "x.txt")
    assert await store.get("x.txt") == b"stays"


async def test_the_demo_asks_an_image_that_lies_on_s3(there: tuple[Settings, CustomerStore]) -> None:
    settings, store = there
    await store.put("images/p1-a/image.tar", b"layers")
    result = JobResult(places={"image": store.path("images", "p1-a")})
    view = JobView.model_construct(customer_id="arbeit", result=result)
    async with demo._image(settings, view) as (image, scratch):  # pyright: ignore[reportPrivateUsage]
        assert (image / "image.tar").read_bytes() == b"layers"
        assert scratch.is_dir()
    assert list(work_folder(settings).iterdir()) == []
