"""A customer's bucket: the same behaviour in a folder and on an S3-compatible server.

The S3 half runs against moto's server, or against the endpoint that TEST_S3_URL names: `http://KEY:SECRET@127.0.0.1:9000`.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from shared import objects
from shared.errors import InvalidInput, NotFound, Unavailable
from shared.ids import new_handle
from shared.objects import CustomerStore, bucket_name, checked_key
from shared.settings import Settings
from tests.conftest import s3_settings

HOSTILE = [
    "", ".", "..", "/", "/etc/passwd", "../other/key", "a/../../b", "a//b", "a/", "a/./b", "a\\b", "..\\b", "a\0b",
    "a\nb",     "\x7f", "\ud800", "a/b#12", "k" * 901, "k" * 201, "a/" * 440 + "bbbbbbbbbbbbbbbbbbbbb",
]  # fmt: skip


@pytest.fixture(params=["folder", "s3"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    if request.param == "s3":
        return s3_settings(tmp_path, request.getfixturevalue("s3_url"))
    return Settings(home=tmp_path, _env_file=None)  # pyright: ignore[reportCallIssue]


@pytest.fixture
async def store(settings):
    opened = await CustomerStore.open(settings, new_handle("acme").replace("_", "-"), create=True)
    yield opened
    await opened.remove()


async def test_what_was_put_is_got_listed_and_deleted(store) -> None:
    await store.put("dataset/manifest.json", b"{}")
    await store.put("images/v1/ä b+c%20~.tar", b"tar")
    await store.put("images/v10/x", b"")
    assert await store.get("images/v1/ä b+c%20~.tar") == b"tar"
    assert await store.list() == [("dataset/manifest.json", 2), ("images/v1/ä b+c%20~.tar", 3), ("images/v10/x", 0)]
    assert await store.list("images/v1") == [("images/v1/ä b+c%20~.tar", 3)]
    await store.delete("dataset/manifest.json")
    await store.delete("dataset/manifest.json")
    assert not await store.exists("dataset/manifest.json")
    assert await store.exists("images/v10/x")


async def test_a_large_file_goes_in_from_disk(store, tmp_path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(12 * 2**20))
    await store.put("scratch/large", file)
    assert await store.get("scratch/large") == file.read_bytes()
    assert await store.size("scratch/large") == 12 * 2**20
    pieces = [piece async for piece in store.stream("scratch/large")]
    assert b"".join(pieces) == file.read_bytes()
    assert max(map(len, pieces)) < 12 * 2**20


async def test_who_reads_slower_than_a_request_may_last_gets_all(settings, monkeypatch) -> None:
    store = await CustomerStore.open(settings, new_handle("slow").replace("_", "-"), create=True)
    data = os.urandom(24 * 2**20)
    await store.put("scratch/large", data)  # which may take longer on a busy machine
    monkeypatch.setattr(objects, "REQUEST_TIMEOUT_S", 5)  # of each request: two seconds are over on a busy machine
    limited = await CustomerStore.open(settings, store.bucket.removeprefix("customer-"))
    reading = limited.stream("scratch/large")
    pieces = [await anext(reading)]
    await asyncio.sleep(5.5)  # the reader has other work for longer than the limit
    pieces += [piece async for piece in reading]
    assert b"".join(pieces) == data
    await store.remove()


async def test_an_object_that_is_replaced_while_it_is_read_is_not_a_mixture_of_two(store) -> None:
    await store.put("scratch/large", bytes(12 * 2**20))
    reading = store.stream("scratch/large")
    await anext(reading)
    await store.put("scratch/large", b"1" * 13 * 2**20)
    with pytest.raises(Unavailable, match="replaced"):
        await anext(reading)
    await store.put("scratch/none", b"")
    assert [piece async for piece in store.stream("scratch/none")] == []


async def test_deleting_a_prefix_leaves_its_neighbours(store) -> None:
    for key in ("scratch/a", "scratch/b/c", "scratched"):
        await store.put(key, b"x")
    assert await store.delete_all("scratch") == 2
    assert await store.list() == [("scratched", 1)]


async def test_what_is_not_there_is_not_found(store, settings) -> None:
    with pytest.raises(NotFound):
        await store.get("nothing")
    with pytest.raises(NotFound):
        await store.size("nothing")
    with pytest.raises(NotFound):
        await anext(store.stream("nothing"))
    with pytest.raises(NotFound):
        await CustomerStore.open(settings, "unknown")


async def test_opening_twice_with_create_is_opening_once(store, settings) -> None:
    await store.put("kept", b"1")
    again = await CustomerStore.open(settings, store.bucket.removeprefix("customer-"), create=True)
    assert await again.get("kept") == b"1"


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize("key", HOSTILE)
async def test_a_hostile_key_is_refused_by_every_call(store, key) -> None:
    calls = [store.put(key, b"x"), store.get(key), store.exists(key), store.delete(key), store.delete_all(key)]
    calls[:0] = [store.size(key), anext(store.stream(key))]
    if key not in ("", "/", "a/"):  # a prefix may be empty and may end with a slash
        calls.append(store.list(key))
    else:
        calls.pop().close()
    for call in calls:
        with pytest.raises(InvalidInput):
            await call
    with pytest.raises(InvalidInput):
        store.path(key)
    with pytest.raises(InvalidInput):
        checked_key(key)


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize("name", ["", "..", "../beta", "a/b", "A", "acme-", "a\n", "x" * 41, "a.b"])
async def test_a_hostile_customer_id_opens_nothing(settings, name) -> None:
    with pytest.raises(InvalidInput):
        await CustomerStore.open(settings, name, create=True)
    with pytest.raises(InvalidInput):
        bucket_name(name)


async def test_removing_a_bucket_leaves_nothing(store, settings) -> None:
    await store.put("a/b", b"x")
    await store.remove()
    with pytest.raises(NotFound):
        await CustomerStore.open(settings, store.bucket.removeprefix("customer-"))


async def test_tables_and_vectors_open_at_the_stores_address(store) -> None:
    import deltalake
    import lancedb
    import pyarrow as pa

    rows = pa.table({"id": [1, 2, 3]})
    address, options = store.path("dataset", "tables", "rows"), store.storage_options()
    deltalake.write_deltalake(address, rows, storage_options=options or None)
    assert deltalake.DeltaTable(address, storage_options=options or None).version() == 0
    vectors = await lancedb.connect_async(store.path("dataset", "vectors"), storage_options=options or None)
    assert await (await vectors.create_table("rows", rows)).count_rows() == 3


async def test_an_s3_server_that_is_not_there_is_unavailable(tmp_path) -> None:
    settings = Settings(home=tmp_path, s3_endpoint="http://127.0.0.1:1", _env_file=None)
    with pytest.raises(Unavailable):
        await CustomerStore.open(settings, "acme", create=True)
