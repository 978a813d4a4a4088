"""Layers in zstd: the same bytes for the same files, read by other programs, and refused where they were damaged."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import orjson
import pytest

from servers.cradle.images.assemble import assemble
from servers.cradle.images.build import Means, Sources, _content_layers, build_image
from servers.cradle.images.layers import Entry, Layer, write_layer
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.unpack import read_image
from shared.contracts.image import Compression
from shared.errors import Conflict, InvalidInput
from shared.ids import digest

TEXT = b"Leitungsschutzschalter B16, 1-polig\n" * 40_000
ENTRIES = [Entry("data/text", TEXT), Entry("data/numbers", bytes(range(256)) * 20_000), Entry("data/link", link="text")]
ZSTD, GZIP = (f"application/vnd.oci.image.layer.v1.tar+{kind}" for kind in ("zstd", "gzip"))


def layer(folder: Path, kind: Compression = "zstd") -> Layer:
    folder.mkdir(exist_ok=True)
    return write_layer("vectors", ENTRIES, folder, compression=kind)


def spec(**more: str) -> ImageSpec:
    told = {"customer_id": "acme", "tag": "p1-z", "fingerprint": digest(b"p"), "dataset_digest": digest(b"d"), **more}
    return ImageSpec.model_validate(told)


@pytest.mark.requirement("O-03")
def test_the_same_files_give_the_same_zstd_layer_of_the_same_tar_as_gzip(tmp_path: Path) -> None:
    one, two, zipped = layer(tmp_path / "one"), layer(tmp_path / "two"), layer(tmp_path / "three", "gzip")
    assert one == two
    assert one.path.read_bytes() == two.path.read_bytes()
    assert (one.diff_id, one.content_size) == (zipped.diff_id, zipped.content_size)
    assert one.size < zipped.size


def test_an_image_may_hold_layers_of_both_kinds_and_its_manifest_says_which(tmp_path: Path) -> None:
    lower = write_layer("base", [Entry("etc/issue", b"base")], tmp_path)
    assemble(spec(), [lower, layer(tmp_path / "made")], tmp_path / "image.tar")
    with tarfile.open(tmp_path / "image.tar") as tar:
        place = orjson.loads(_read(tar, "index.json"))["manifests"][0]["digest"].removeprefix("sha256:")
        manifest = orjson.loads(_read(tar, f"blobs/sha256/{place}"))
    assert [each["mediaType"] for each in manifest["layers"]] == [GZIP, ZSTD]
    read_image(tmp_path / "image.tar", tmp_path / "root")
    assert (tmp_path / "root/data/text").read_bytes() == TEXT
    assert (tmp_path / "root/etc/issue").read_bytes() == b"base"


def test_every_layer_of_a_customer_is_compressed_as_asked(tmp_path: Path) -> None:
    sources = Sources(tmp_path, [("vectors/a", TEXT), ("tables/b", TEXT), ("manifest.json", b"{}")], b"{}")
    for kind in ("gzip", "zstd"):
        (folder := tmp_path / kind).mkdir()
        made = _content_layers(sources, folder, kind)
        assert {each.kind: each.compression for each in made} == dict.fromkeys(("vectors", "tables", "config"), kind)
        assert {file.open("rb").read(2) for file in folder.iterdir()} == {b"\x1f\x8b" if kind == "gzip" else b"(\xb5"}


@pytest.mark.parametrize("damage", ["altered", "cut"])
def test_a_damaged_layer_is_refused(tmp_path: Path, damage: str) -> None:
    made = layer(tmp_path / "made")
    blob = bytearray(made.path.read_bytes())
    if damage == "altered":
        blob[len(blob) // 2] ^= 0xFF
    else:
        del blob[-40:]
    made.path.unlink()
    name = digest(bytes(blob)).removeprefix("sha256:")  # under its own digest: only what is in it tells
    path = made.path.with_name(name)
    path.write_bytes(blob)
    false = Layer(made.kind, f"sha256:{name}", made.diff_id, len(blob), made.content_size, path, "zstd")
    assemble(spec(), [false], tmp_path / "image.tar")
    with pytest.raises((Conflict, InvalidInput)):
        read_image(tmp_path / "image.tar", tmp_path / "root")
    assert not (tmp_path / "root").exists()


@pytest.mark.skipif(not (shutil.which("tar") and shutil.which("zstd")), reason="needs tar and zstd")
def test_tar_and_zstd_read_such_a_layer(tmp_path: Path) -> None:
    made, target = layer(tmp_path / "made"), tmp_path / "target"
    target.mkdir()
    subprocess.run(["tar", "--zstd", "-xf", str(made.path), "-C", str(target)], check=True)
    assert (target / "data/text").read_bytes() == TEXT


async def test_an_engine_is_not_asked_to_build_of_zstd_layers(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    sources, means = Sources(model, [], b"{}"), Means(tmp_path, Signer.open(tmp_path / "keys"), method="engine")
    with pytest.raises(InvalidInput, match="gzip"):
        await build_image(spec(compression="zstd"), sources, tmp_path, means)


def _read(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    assert file is not None
    return file.read()
