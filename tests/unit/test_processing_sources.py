"""Sources: what is allowed, what is found, and that nothing outside is opened or anything skipped silently."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

import pytest

from servers.cradle.processing import sources
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.sources import (
    EXAMPLE,
    MAX_FILE_BYTES,
    SourceFile,
    SourceList,
    check_sources,
    find_files,
)
from shared.errors import InvalidInput, Unavailable
from shared.objects import CustomerStore
from shared.settings import Settings


@pytest.fixture
def held(tmp_path: Path) -> Settings:
    root = tmp_path / "erlaubt"
    (root / "kunde" / "tief").mkdir(parents=True)
    return Settings(home=tmp_path / "home", source_roots=[root])


@pytest.fixture
def folder(held: Settings) -> Path:
    return held.source_roots[0] / "kunde"


async def streamed(file: SourceFile) -> bytes:
    assert file.blocks is not None
    return b"".join([block async for block in file.blocks()])


async def found(held: Settings, *uris: str) -> dict[str, SourceFile]:
    store = await CustomerStore.open(held, "acme", create=True)
    files = await find_files(SourceList.parse(list(uris), held), held, store)
    assert [file.path for file in files] == sorted(file.path for file in files)
    return {file.path: file for file in files}


def test_a_source_is_a_folder_below_an_allowed_one(held: Settings, folder: Path) -> None:
    plain = SourceList.parse([str(folder), folder.as_uri(), f"{folder}/../kunde"], held)
    assert plain.uris == [folder.as_uri()]


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("file:///etc", "P0711_SOURCE_ROOTS"),
        ("file:///gibt/es/nicht", "P0711_SOURCE_ROOTS"),
        ("file://anderer.example/etc", "file:///absolute/folder"),
        ("/etc\x00", "NUL"),
        ("http://x.example/", "Name each source so"),
        ("bucket:../anderer", "folder of your own"),
        ("bucket:dataset/tables", "none that the platform uses"),
        ("bucket:updates", "none that the platform uses"),  # whose files the last step of a job removes
        ("bucket:delivery", "none that the platform uses"),
        ("s3://customer-acme/ledgers/", "none that the platform uses"),
        ("bucket:", "folder of your own"),
        ("s3://", "Name each source so"),
        ("s3://[x", "cannot be opened"),
    ],
)
def test_a_source_that_cannot_be_used_is_refused_with_what_to_do(held: Settings, source: str, says: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        SourceList.parse([source], held)
    assert says in refused.value.message
    assert refused.value.field == "data_sources"


def test_a_missing_source_within_the_allowed_folders_says_that_it_is_missing(held: Settings, folder: Path) -> None:
    with pytest.raises(InvalidInput, match="not a folder or file"):
        SourceList.parse([str(folder / "fehlt")], held)
    with pytest.raises(InvalidInput, match=r"cannot be opened|not a folder or file"):
        SourceList.parse([str(folder / ("x" * 300))], held)


@pytest.mark.requirement("I-09")
def test_a_link_to_a_folder_outside_is_no_source(held: Settings, folder: Path, tmp_path: Path) -> None:
    (folder / "link").symlink_to(tmp_path)
    with pytest.raises(InvalidInput, match="P0711_SOURCE_ROOTS"):
        SourceList.parse([str(folder / "link")], held)


@pytest.mark.requirement("I-09", "F-13")
async def test_every_entry_is_found_and_what_cannot_be_read_says_why(
    held: Settings, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "geheim.txt").write_text("außerhalb")
    (folder / "a.txt").write_text("A")
    (folder / "tief" / "b.txt").write_text("B")
    (folder / ".versteckt").write_text("C")
    (folder / "hinaus").symlink_to(tmp_path / "geheim.txt")
    (folder / "hinaus-ordner").symlink_to(tmp_path)
    (folder / "nirgends").symlink_to(folder / "weg")
    (folder / "kreis").symlink_to(folder)
    (folder / "drinnen").symlink_to(folder / "a.txt")
    os.mkfifo(folder / "rohr")
    with (folder / "riese.bin").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    (folder / os.fsdecode(b"gr\xfcn.txt")).write_text("D")
    files = await found(held, str(folder))
    assert {path: file.problem.code if file.problem else "" for path, file in files.items()} == {
        ".versteckt": "",
        "a.txt": "",
        "drinnen": "",
        "gr\\xfcn.txt": "",
        "hinaus": "link_outside",
        "hinaus-ordner": "link_outside",
        "kreis": "link_to_folder",
        "nirgends": "broken_link",
        "riese.bin": "too_large",
        "rohr": "not_a_file",
        "tief/b.txt": "",
    }
    assert await files["drinnen"].read() == b"A"
    assert await files["gr\\xfcn.txt"].read() == b"D"


@pytest.mark.requirement("I-09")
async def test_a_link_put_in_place_of_a_file_is_not_followed(held: Settings, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "geheim.txt").write_text("außerhalb")
    (folder / "a.txt").write_text("A")
    files = await found(held, str(folder))
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(tmp_path / "geheim.txt")
    with pytest.raises(Unreadable) as refused:
        await files["a.txt"].read()
    assert refused.value.code == "cannot_open"


async def test_a_source_folder_that_is_gone_says_nothing_about_its_files(held: Settings, folder: Path) -> None:
    sources = SourceList.parse([str(folder)], held)
    store = await CustomerStore.open(held, "acme", create=True)
    await asyncio.to_thread(folder.rename, folder.with_name("umgezogen"))
    with pytest.raises(Unavailable, match="not there any more"):
        await find_files(sources, held, store)


async def test_files_in_the_customers_own_bucket_are_a_source(held: Settings, folder: Path) -> None:
    store = await CustomerStore.open(held, "acme", create=True)
    await store.put("eingang/b/c.txt", b"C")
    await store.put("eingang/a.txt", b"A")
    await store.put("eingang-2/x.txt", b"X")
    for uri in ("bucket:eingang", "s3://customer-acme/eingang"):
        files = await found(held, uri)
        assert {path: await file.read() for path, file in files.items()} == {"a.txt": b"A", "b/c.txt": b"C"}
    with pytest.raises(InvalidInput, match="own bucket"):
        await found(held, "s3://customer-fremd/eingang")
    files = await found(held, "bucket:eingang")
    await store.delete("eingang/a.txt")
    with pytest.raises(Unreadable) as refused:
        await files["a.txt"].read()
    assert refused.value.code == "cannot_open"


async def test_the_same_path_in_two_sources_stays_two_files(held: Settings, folder: Path) -> None:
    other = folder.with_name("zweiter")
    other.mkdir()
    (folder / "a.txt").write_text("eins")
    (other / "a.txt").write_text("zwei")
    files = await found(held, str(folder), str(other))
    assert {path: await file.read() for path, file in files.items()} == {"a.txt": b"eins", "source-2/a.txt": b"zwei"}
    assert [file.source for file in files.values()] == ["1", "2"]


async def test_every_file_that_is_found_can_be_read_in_blocks(
    held: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "BLOCK", 4)
    store = await CustomerStore.open(held, "acme", create=True)
    await store.put("eingang/a.txt", b"aus dem Bucket")
    (folder / "a.txt").write_bytes(b"aus dem Ordner")
    files = await found(held, str(folder), "bucket:eingang")
    expected = {"a.txt": b"aus dem Ordner", "source-2/a.txt": b"aus dem Bucket"}
    assert {path: await streamed(file) for path, file in files.items()} == expected


async def test_who_is_cancelled_while_a_block_is_read_is_cancelled_and_nothing_else(
    held: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, gate, plain = threading.Event(), threading.Event(), sources._opened

    def slow(handle: int, path: Path) -> Path:
        begun.set()
        assert gate.wait(240)
        return plain(handle, path)

    (folder / "a.txt").write_bytes(b"A")
    (file,) = (await found(held, str(folder))).values()
    monkeypatch.setattr(sources, "_opened", slow)
    reading = asyncio.create_task(streamed(file))
    assert await asyncio.to_thread(begun.wait, 60)
    reading.cancel()
    (ended,) = await asyncio.gather(reading, return_exceptions=True)
    gate.set()
    assert isinstance(ended, asyncio.CancelledError)


async def test_one_file_may_be_a_source_of_its_own(held: Settings, folder: Path) -> None:
    (folder / "katalog.xml").write_bytes(b"<a/>")
    (folder / "daneben.txt").write_text("gehört nicht dazu")
    files = await found(held, (folder / "katalog.xml").as_uri())
    assert list(files) == ["katalog.xml"]
    assert await files["katalog.xml"].read() == b"<a/>"


@pytest.mark.requirement("I-09")
async def test_a_folder_that_became_a_link_is_not_followed(held: Settings, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "anderer").mkdir()
    (tmp_path / "anderer" / "b.txt").write_text("außerhalb")
    (folder / "tief" / "b.txt").write_text("B")
    files = await found(held, str(folder))
    (folder / "tief").rename(tmp_path / "weg")
    (folder / "tief").symlink_to(tmp_path / "anderer")
    with pytest.raises(Unreadable) as refused:
        await files["tief/b.txt"].read()
    assert refused.value.code == "link_outside"


@pytest.mark.requirement("I-09")
async def test_the_platforms_own_folder_is_no_source_and_is_left_out_of_one(tmp_path: Path) -> None:
    held = Settings(home=tmp_path / ".0711", source_roots=[tmp_path])
    (held.home / "keys").mkdir(parents=True)
    (held.home / "keys" / "operator.json").write_text("{}")
    (held.home / EXAMPLE).mkdir()
    (held.home / EXAMPLE / "beispiel.txt").write_text("B")
    (tmp_path / "a.txt").write_text("A")
    for own in (held.home, held.home / "keys"):
        with pytest.raises(InvalidInput, match="platform itself"):
            SourceList.parse([str(own)], held)
    files = await found(held, str(tmp_path))
    assert {path: file.problem.code if file.problem else "" for path, file in files.items()} == {
        ".0711": "platform_folder",
        "a.txt": "",
    }
    assert list(await found(held, str(held.home / EXAMPLE))) == ["beispiel.txt"]


async def test_an_empty_source_is_never_taken_for_a_customer_without_files(held: Settings, folder: Path) -> None:
    (folder / "tief").rmdir()
    store = await CustomerStore.open(held, "acme", create=True)
    for uri in (str(folder), "bucket:eingnag"):
        sources = SourceList.parse([uri], held)
        with pytest.raises(Unavailable, match="holds no file"):
            await find_files(sources, held, store)
        with pytest.raises(InvalidInput, match="holds no file"):
            await check_sources(sources, held, store, store.bucket)
    with pytest.raises(InvalidInput, match="own bucket"):
        await check_sources(SourceList(["s3://customer-fremd/eingang"]), held, store, store.bucket)
    with pytest.raises(InvalidInput, match="no bucket"):
        await check_sources(SourceList(["bucket:eingang"]), held, None, "customer-neu")


async def test_no_file_is_lost_to_a_folder_that_is_named_like_a_second_source(held: Settings, folder: Path) -> None:
    other = folder.with_name("zweiter")
    for place in (folder / "source-2", other):
        place.mkdir()
        (place / "a.txt").write_text(place.name)
    (folder / "a.txt").write_text("eins")
    files = await found(held, str(folder), str(other))
    assert sorted([await file.read() for file in files.values()]) == [b"eins", b"source-2", b"zweiter"]


@pytest.mark.requirement("F-13")
async def test_a_name_that_a_bucket_cannot_hold_is_still_a_file(held: Settings, folder: Path) -> None:
    store = await CustomerStore.open(held, "acme", create=True)
    await store.put("eingang/a.txt", b"A")
    place = store.local("eingang")
    assert place is not None
    (place / "Plan #3").write_text("C")
    (place / "b\\c.txt").write_text("D")
    files = await found(held, "bucket:eingang")
    assert {path: await file.read() for path, file in files.items()} == {
        "Plan #3": b"C",
        "a.txt": b"A",
        "b\\c.txt": b"D",
    }


async def test_of_two_names_that_are_shown_as_one_the_same_bears_it_in_whatever_order_a_disk_lists_them(
    held: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, listed = (rb"a\xff.txt", b"a\xff.txt"), os.scandir
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(name)
    seen = []
    for turned in (False, True):

        def scanned(place: Path, turned: bool = turned) -> list[os.DirEntry[str]]:
            return sorted(listed(place), key=lambda entry: entry.path, reverse=turned)

        monkeypatch.setattr(os, "scandir", scanned)
        seen.append({path: await file.read() for path, file in (await found(held, str(folder))).items()})
    assert seen[0] == seen[1]
    assert set(seen[0].values()) == set(names)


async def test_a_file_that_has_grown_since_it_was_listed_is_not_held(
    held: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "STREAM_FROM", 1000)
    for name in ("a.txt", "b.txt"):
        (folder / name).write_bytes(b"x")
    files = await found(held, str(folder))
    (folder / "a.txt").write_bytes(b"a" * 1000)
    (folder / "b.txt").write_bytes(b"b" * 1001)
    assert await files["a.txt"].read() == b"a" * 1000
    with pytest.raises(Unreadable) as refused:
        await files["b.txt"].read()
    assert refused.value.code == "changed"
