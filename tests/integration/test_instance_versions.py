"""The versions in an instance's volume: which one is served, what is kept, and what lasts through a power cut."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from servers.instance import versions as module
from servers.instance.merging import publish
from servers.instance.versions import Versions
from shared.contracts.processing import Counts
from shared.dataset.manifest import MANIFEST, DatasetModel, Manifest, Pins
from shared.errors import Conflict, NotFound, Unavailable
from shared.ids import digest

IMAGE, OTHER_IMAGE = digest(b"the image's dataset"), digest(b"another image's dataset")


def put(place: Path, dataset_digest: str) -> Path:
    """A dataset of this digest, as far as its manifest tells."""
    made = Manifest(
        dataset_digest=dataset_digest, table_digests={}, parameter_version=1, fingerprint=IMAGE,
        model=DatasetModel(model="x", revision="1", dimension=1), pins=Pins(tables={}, vectors="x", graph="x"),
        counts=Counts.model_validate(dict.fromkeys(Counts.model_fields, 0)),
    )  # fmt: skip
    place.mkdir(parents=True)
    (place / MANIFEST).write_text(made.model_dump_json())
    return place


@pytest.fixture
def state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


@pytest.fixture
def versions(tmp_path: Path, state: Path) -> Versions:
    return Versions(put(tmp_path / "image", IMAGE), IMAGE, state)


def add(versions: Versions, name: bytes, *, change: bool = False, age: int = 0) -> str:
    made = digest(name)
    place = put(versions.place_of(made), made)
    if change:
        versions.note_change(place, IMAGE, digest(b"statement"))
    os.utime(place, (age, age))
    return made


def told(caplog: pytest.LogCaptureFixture, versions: Versions) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "platform-0711"):
        versions.sweep()
    return [record.getMessage() for record in caplog.records]


def test_what_is_chosen_is_served_with_its_image_alone(versions: Versions, state: Path, tmp_path: Path) -> None:
    update, change = add(versions, b"update"), add(versions, b"change", change=True)
    assert (versions.current(), versions.changed()) == (IMAGE, False)
    versions.choose(change)
    assert (versions.current(), versions.changed()) == (change, True)
    assert [(each.dataset_digest, each.origin, each.current) for each in versions.listed()] == [
        (IMAGE, "image", False), *sorted([(update, "update", False), (change, "change", True)]),
    ]  # fmt: skip
    again = Versions(tmp_path / "image", IMAGE, state)
    assert again.current() == change
    assert Versions(tmp_path / "image", OTHER_IMAGE, state).current() == OTHER_IMAGE
    versions.choose(IMAGE)
    assert (again.current(), again.changed()) == (IMAGE, False)
    with pytest.raises(NotFound, match="list_versions"):
        versions.choose(digest(b"none"))
    assert versions.current() == IMAGE


def test_a_version_under_anothers_name_or_without_a_readable_manifest_is_not_there(versions: Versions) -> None:
    put(versions.place_of(digest(b"name")), digest(b"content"))
    (versions.place_of(digest(b"empty"))).mkdir()
    damaged = versions.place_of(add(versions, b"damaged"))
    (damaged / MANIFEST).write_text("{")
    assert [each.dataset_digest for each in versions.listed()] == [IMAGE]
    for name in (b"name", b"empty", b"damaged"):
        with pytest.raises(NotFound):
            versions.folder(digest(name))


def test_a_start_says_that_the_volume_has_lost_what_was_served(
    versions: Versions, state: Path, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert told(caplog, versions) == []
    change = add(versions, b"change", change=True)
    versions.choose(change)
    assert told(caplog, versions) == []
    assert told(caplog, Versions(tmp_path / "image", OTHER_IMAGE, state)) == []
    (versions.place_of(change) / MANIFEST).unlink()
    assert (told(caplog, versions), versions.current()) == (["served_version_lost"], IMAGE)
    put(versions.place_of(digest(b"update")), digest(b"update"))
    (state / module._POINTER).write_text("")
    assert (told(caplog, versions), versions.current()) == (["served_version_lost"], IMAGE)
    assert told(caplog, Versions(tmp_path / "image", IMAGE, None)) == []


def test_a_start_removes_what_was_not_finished_and_nothing_else(versions: Versions, state: Path) -> None:
    kept = add(versions, b"update")
    for name in ("versions/.merging-1-aaaa/dataset/file", "incoming/half"):
        (state / name).parent.mkdir(parents=True)
        (state / name).write_text("half")
    versions.choose(kept)
    versions.sweep()
    left = {path.relative_to(state).as_posix() for path in state.rglob("*") if path.is_file()}
    assert left == {module._POINTER, f"versions/{kept.removeprefix('sha256:')}/{MANIFEST}"}


def test_room_is_made_of_the_oldest_updates_alone(versions: Versions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT", 2)
    ages = {add(versions, b"%d" % age, age=age): age for age in range(1, 7)}
    by_age = {age: each for each, age in ages.items()}
    change = add(versions, b"change", change=True)
    versions.choose(by_age[1])
    versions.make_room({by_age[2], IMAGE})
    stay = {IMAGE, change, *(by_age[age] for age in (1, 2, 5, 6))}
    assert {each.dataset_digest for each in versions.listed()} == stay


def test_without_a_volume_the_images_own_is_served_and_nothing_is_written(tmp_path: Path) -> None:
    for state in (None, tmp_path / "none"):
        versions = Versions(put(tmp_path / f"image-{state is None}", IMAGE), IMAGE, state)
        assert [each.dataset_digest for each in versions.listed()] == [versions.current()] == [IMAGE]
        with pytest.raises(Unavailable, match="INSTANCE_STATE"):
            versions.choose(IMAGE)
    assert not (tmp_path / "none").exists()


def test_a_version_has_its_name_on_the_disk_when_it_is_published(
    versions: Versions, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wanted, steps = digest(b"made"), list[str]()
    final, sync, fsync = versions.place_of(wanted), os.sync, os.fsync

    def synced() -> None:
        steps.append("files" if not final.exists() else "files, too late")
        sync()

    def named(descriptor: int) -> None:
        if os.path.samestat(os.fstat(descriptor), final.parent.stat()) and final.exists():
            steps.append("name")
        fsync(descriptor)

    monkeypatch.setattr(os, "sync", synced)
    monkeypatch.setattr(os, "fsync", named)
    final.parent.mkdir()
    with pytest.raises(Conflict, match="not the one that was signed"):
        publish(put(tmp_path / "other", digest(b"other")), wanted, final)
    with pytest.raises(Conflict, match="not the one that was signed"):
        publish(tmp_path / "empty", wanted, final)
    assert not final.exists()
    publish(put(tmp_path / "made", wanted), wanted, final)
    assert steps == ["files", "name"]
    assert [each.dataset_digest for each in versions.listed()] == [IMAGE, wanted]
