"""A bucket in a folder: links lead nowhere, a full disk leaves no half object, a killed write is never seen."""

from __future__ import annotations

import asyncio
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from servers.cradle.images.archive import make_immutable, release
from shared.errors import InvalidInput, Unavailable
from shared.objects import CustomerStore
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
LIMITED = """
import asyncio, resource, signal, sys
from pathlib import Path
from shared.errors import StorageFull
from shared.objects import CustomerStore
from shared.settings import Settings

async def main():
    store = await CustomerStore.open(Settings(home=Path(sys.argv[1]), _env_file=None), "acme")
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    for size in (200_000, 12_000_000):
        try:
            await store.put("images/v1/image.tar", b"z" * size)
        except StorageFull as error:
            print(error.message)

asyncio.run(main())
"""
WRITER = """
import asyncio, sys
from pathlib import Path
from shared.objects import CustomerStore
from shared.settings import Settings

async def main():
    store = await CustomerStore.open(Settings(home=Path(sys.argv[1]), _env_file=None), "acme")
    print("writing", flush=True)
    while True:
        await store.put("image.tar", b"new" * 20_000_000)

asyncio.run(main())
"""


@pytest.fixture
async def store(tmp_path):
    return await CustomerStore.open(Settings(home=tmp_path, _env_file=None), "acme", create=True)


async def test_what_cannot_be_removed_is_not_told_as_removed(store) -> None:
    await store.put("scratch/job/part", b"content")
    job = Path(store.path("scratch", "job"))
    if not make_immutable(job):
        release(job)
        pytest.skip("only root, on a file system that knows it, can let it refuse a deletion")
    try:
        with pytest.raises(Unavailable, match="Check the rights"):
            await store.delete_all("scratch")
    finally:
        release(job)
    assert await store.delete_all("scratch") == 1
    assert await store.list() == []


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize("key", ["link", "folder/secret", "sub/deeper/secret"])
async def test_a_link_out_of_the_bucket_is_followed_by_no_call(store, tmp_path, key) -> None:
    outside = tmp_path / "outside"
    (outside / "deeper").mkdir(parents=True)
    for secret in (outside / "secret", outside / "deeper" / "secret"):
        secret.write_bytes(b"secret")
    bucket = store.local()
    (bucket / "link").symlink_to(outside / "secret")
    (bucket / "folder").symlink_to(outside)
    (bucket / "sub").symlink_to(outside)
    reading = (store.get(key), store.exists(key), store.size(key), anext(store.stream(key)), store.list(key))
    for call in (*reading, store.put(key, b"x"), store.delete(key), store.delete_all(key)):
        with pytest.raises(InvalidInput):
            await call
    with pytest.raises(InvalidInput):
        store.path(key)
    assert (outside / "secret").read_bytes() == b"secret"
    assert (outside / "deeper" / "secret").read_bytes() == b"secret"


async def test_a_link_is_not_listed_out_of_the_bucket(store, tmp_path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (store.local() / "folder").symlink_to(outside)
    await store.put("own", b"x")
    assert await store.list() == [("own", 1)]


async def test_the_bucket_is_private(store) -> None:
    assert stat.S_IMODE(store.local().stat().st_mode) == 0o700
    assert stat.S_IMODE(store.local().parent.stat().st_mode) == 0o700


@pytest.mark.requirement("F-09")
async def test_no_room_is_one_sentence_leaves_no_half_object_and_a_retry_works(store, tmp_path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = await asyncio.to_thread(subprocess.run, command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert done.stdout.count("no room") == 2
    assert await store.list() == []
    assert [path for path in store.local().rglob("*") if path.is_file()] == []
    await store.put("images/v1/image.tar", b"z")
    assert await store.get("images/v1/image.tar") == b"z"


async def test_a_place_that_is_no_folder_is_one_sentence(tmp_path) -> None:
    (tmp_path / "objects").write_text("a file")
    with pytest.raises(Unavailable, match="folder cannot be used"):
        await CustomerStore.open(Settings(home=tmp_path, _env_file=None), "acme", create=True)


async def test_a_writer_killed_in_the_middle_leaves_the_old_object(store, tmp_path) -> None:
    await store.put("image.tar", b"old" * 20_000_000)
    writer = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, str(tmp_path), cwd=ROOT, stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    assert await writer.stdout.readline()
    writer.kill()
    await writer.wait()
    assert await store.get("image.tar") in (b"old" * 20_000_000, b"new" * 20_000_000)
    assert [key for key, _ in await store.list()] == ["image.tar"]
