"""What a layer can hold beside plain files, as GNU tar, the platform and a container engine read it."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from servers.cradle.images.assemble import assemble
from servers.cradle.images.engine import Engine
from servers.cradle.images.layers import Entry, Layer, write_layer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.unpack import read_image
from shared.errors import InvalidInput
from shared.ids import digest

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep, revision 2
LOWER = [
    Entry("data/kept", b"kept"),
    Entry("data/gone", b"gone"),
    Entry("data/folder/old", b"old"),
    Entry("data/folder/deep/old", b"old"),
    Entry("data/whole/old", b"old"),
]
UPPER = [
    Entry("data/gone", removes="name"),
    Entry("data/whole", removes="name"),
    Entry("data/folder", removes="content"),
    Entry("data/folder/new", b"new"),
    Entry("data/a-link", same_as="data/file"),
    Entry(
        "data/file", b"file", mode=0o755, attributes={"security.capability": CAPABILITY, "user.note": b"gr\xc3\xbcn"}
    ),
    Entry("data/symbolic", link="file"),
]
LEFT = {
    "data/kept": "kept",
    "data/folder/new": "new",
    "data/file": "file",
    "data/a-link": "file",
    "data/symbolic": "-> file",
}


def layers(folder: Path) -> list[Layer]:
    folder.mkdir()
    return [write_layer("vectors", LOWER, folder), write_layer("tables", UPPER, folder)]


def image(folder: Path, made: list[Layer]) -> tuple[Path, str]:
    spec = ImageSpec(
        customer_id="acme", tag="p1-kinds", fingerprint=digest(b"kinds"), dataset_digest=digest(b"kinds of files")
    )
    return folder / "image.tar", assemble(spec, made, folder / "image.tar").image_id


@pytest.mark.requirement("O-03")
def test_the_same_entries_in_any_order_give_the_same_layer(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir(), two.mkdir()
    turned = [*reversed(UPPER)]
    turned[1] = Entry("data/file", b"file", mode=0o755, attributes=dict(reversed(UPPER[5].attributes.items())))
    assert write_layer("tables", UPPER, one).path.read_bytes() == write_layer("tables", turned, two).path.read_bytes()


def test_a_hard_link_comes_after_its_file_and_attributes_are_pax_headers(tmp_path: Path) -> None:
    (tmp_path / "upper").mkdir()
    plain = zlib.decompress(write_layer("tables", UPPER, tmp_path / "upper").path.read_bytes(), 31)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = {member.name: member for member in tar.getmembers()}
        names = list(members)
    assert names.index("data/file") < names.index("data/a-link")
    assert (members["data/a-link"].type, members["data/a-link"].linkname) == (tarfile.LNKTYPE, "data/file")
    assert members["data/.wh.gone"].size == members["data/folder/.wh..wh..opq"].size == 0
    assert members["data/file"].pax_headers["SCHILY.xattr.user.note"] == "grün"


@pytest.mark.skipif(shutil.which("tar") is None, reason="there is no tar")
def test_gnu_tar_reads_names_links_and_attributes(tmp_path: Path) -> None:
    made, target = layers(tmp_path / "made"), tmp_path / "target"
    target.mkdir()
    command = ["tar", "--xattrs", "--xattrs-include=*", "-xzf", str(made[1].path), "-C", str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (target / "data/a-link").samefile(target / "data/file")
    assert (target / "data/symbolic").readlink() == Path("file")
    try:
        assert os.getxattr(target / "data/file", "user.note") == "grün".encode()
    except OSError:
        pytest.skip("this file system keeps no attributes")


def test_what_the_upper_layer_removes_is_not_unpacked(tmp_path: Path) -> None:
    tar, _ = image(tmp_path, layers(tmp_path / "made"))
    read_image(tar, tmp_path / "root")
    root = tmp_path / "root"
    found = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if not path.is_dir()}
    assert {
        name: f"-> {path.readlink()}" if path.is_symlink() else path.read_text() for name, path in found.items()
    } == LEFT
    assert found["data/a-link"].samefile(found["data/file"])


@pytest.mark.engine
def test_a_container_engine_sees_the_same_files_links_and_capabilities(engine_host: str, tmp_path: Path) -> None:
    tar, image_id = image(tmp_path, layers(tmp_path / "made"))
    with Engine.connect(engine_host) as engine:
        loaded = engine.load(tar, image_id)
        container = engine.api.create_container(loaded)["Id"]
        try:
            whole = b"".join(engine.api.export(container))
        finally:
            engine.api.remove_container(container)
            engine.drop_image(loaded)
    with tarfile.open(fileobj=io.BytesIO(whole)) as seen:
        members = {each.name: each for each in seen if each.name.startswith("data/") and not each.isdir()}
        assert {name: content(seen, each) for name, each in members.items()} == LEFT
        linked = [each.linkname for each in members.values() if each.islnk()]
        assert linked in (["data/file"], ["data/a-link"])  # which of the two names comes first is the engine's choice
        (kept,) = (each for name, each in members.items() if each.isreg() and name in ("data/file", "data/a-link"))
        assert kept.mode & 0o777 == 0o755
        attributes: Mapping[str, str] = kept.pax_headers
        assert attributes["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape") == CAPABILITY


def content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    if member.issym():
        return f"-> {member.linkname}"
    file = tar.extractfile(member)
    return file.read().decode() if file is not None else ""


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize(
    "entries",
    [
        [Entry("data/.wh.kept", b"")],
        [Entry("data/.wh..wh..opq", b"")],
        [Entry("../out", removes="name")],
        [Entry("data/a", same_as="data/none")],
        [Entry("data/a", same_as="../etc/passwd")],
        [Entry("data/a", same_as="data"), Entry("data/b", b"b")],
        [Entry("data/a", same_as="data/a")],
        [Entry("data/b", b"b"), Entry("data/a", same_as="data/b"), Entry("data/a/c", b"c")],
        [Entry("data/a", b"a", attributes={"trusted.overlay.opaque": b"y"})],
        [Entry("data/a", b"a", attributes={"user.x=1\n": b"y"})],
        [Entry("data/a", b"a", attributes={"user.x": b"y" * 65_537})],
        [Entry("data/a", b"a", attributes={f"user.{number}": b"y" for number in range(17)})],
    ],
)
def test_what_would_reach_beyond_its_own_name_is_refused(tmp_path: Path, entries: list[Entry]) -> None:
    with pytest.raises(InvalidInput):
        write_layer("tables", entries, tmp_path)
    assert list(tmp_path.iterdir()) == []
