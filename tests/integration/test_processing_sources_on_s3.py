"""Files in a bucket on S3: customers and consoles name objects as they like, and change them while they are read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import pytest

from servers.cradle.processing import sources
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.sources import SourceFile, SourceList, find_files
from shared.ids import new_handle
from shared.objects import STREAMED_BYTES, CustomerStore, s3_client
from tests.conftest import s3_settings

ODD = ["inbox//a.txt", "inbox/x//y.txt", "inbox/a\tb.txt", "inbox/a\\b.txt", "inbox/a#1", f"inbox/{'p' * 230}"]


class Bucket:
    """A customer's bucket, into which any client may put what it wants."""

    def __init__(self, home: Path, url: str) -> None:
        self.settings = s3_settings(home, url)

    async def open(self, objects: Mapping[str, bytes]) -> CustomerStore:
        self.store = await CustomerStore.open(self.settings, new_handle("acme").replace("_", "-"), create=True)
        for key, data in objects.items():
            self.put(key, data)
        return self.store

    def put(self, key: str, data: bytes) -> None:
        s3_client(self.settings).put_object(self.store.bucket, key, io.BytesIO(data), len(data))

    async def files(self) -> dict[str, SourceFile]:
        found = await find_files(SourceList(["bucket:inbox"]), self.settings, self.store)
        return {file.path: file for file in found}


@pytest.fixture
def bucket(tmp_path: Path, s3_url: str) -> Bucket:
    return Bucket(tmp_path, s3_url)


async def read(file: SourceFile) -> bytes | str:
    try:
        return await file.read()
    except Unreadable as why:
        return why.code


@pytest.mark.requirement("F-13")
@pytest.mark.parametrize("key", ODD, ids=["first", "inner", "tab", "backslash", "number", "long"])
async def test_a_key_that_is_not_read_is_a_row_and_costs_no_other_object(bucket: Bucket, key: str) -> None:
    store = await bucket.open({"inbox/plan.txt": b"Plan", key: b"x"})
    found = {path: await read(file) for path, file in (await bucket.files()).items()}
    assert found == {"plan.txt": b"Plan", key.removeprefix("inbox/"): "cannot_open"}
    await store.remove()


async def test_what_a_console_puts_for_a_folder_is_no_file_and_an_empty_object_is_one(bucket: Bucket) -> None:
    store = await bucket.open(
        {"inbox/": b"", "inbox/leer/": b"", "inbox/alt/": b"", "inbox/alt": b"", "inbox/alt/a": b"A"}
    )
    assert {path: await read(file) for path, file in (await bucket.files()).items()} == {"alt": b"", "alt/a": b"A"}
    await store.remove()


async def test_names_that_look_alike_are_files_of_their_own(bucket: Bucket) -> None:
    names = ["Prüfung.txt", "Pru\u0308fung.txt", "prüfung.txt", "PRÜFUNG.TXT"]
    store = await bucket.open({f"inbox/{name}": name.encode() for name in names})
    assert {path: await read(file) for path, file in (await bucket.files()).items()} == {
        name: name.encode() for name in names
    }
    await store.remove()


async def test_what_has_grown_since_it_was_listed_is_read_anew_and_held_only_while_it_is_small(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STREAM_FROM", 1000)
    store = await bucket.open({"inbox/a.txt": b"a", "inbox/b.txt": b"b"})
    files = await bucket.files()
    bucket.put("inbox/a.txt", b"a" * 1000)
    bucket.put("inbox/b.txt", b"b" * 1001)
    assert {path: await read(file) for path, file in files.items()} == {"a.txt": b"a" * 1000, "b.txt": "changed"}
    await store.remove()


async def test_a_large_object_that_is_replaced_again_and_again_is_a_row_and_not_the_end_of_the_run(
    bucket: Bucket,
) -> None:
    store = await bucket.open({"inbox/a.csv": b"a" * (STREAMED_BYTES + 1)})
    blocks = (await bucket.files())["a.csv"].blocks
    assert blocks is not None
    reading = blocks()
    assert len(await anext(reading)) == STREAMED_BYTES
    bucket.put("inbox/a.csv", b"b" * (STREAMED_BYTES + 1))
    with pytest.raises(Unreadable) as why:
        await anext(reading)
    assert why.value.code == "changed"
    await store.remove()
