"""An image whose lower layers were read before, in another image: what their digests say is not worked out again."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from servers.cradle.images import unpack
from servers.cradle.images.assemble import assemble
from servers.cradle.images.layers import Entry, Layer, write_layer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.unpack import Contents, read_image
from shared.contracts.image import Compression
from shared.errors import Conflict
from shared.ids import digest


def base(folder: Path, word: str, compression: Compression = "gzip") -> Layer:
    files = [Entry("etc/issue", word.encode()), Entry("usr/a", b"a" * 9999), Entry("usr/b", b"b")]
    return write_layer("base", files, folder, compression=compression)


def image(folder: Path, name: str, lowest: Layer) -> Path:
    """An image of this layer and a customer's, which says its name."""
    content = write_layer("config", [Entry("app/instance.json", name.encode())], folder)
    told = {"customer_id": "acme", "tag": "p1-x", "fingerprint": digest(b"p"), "dataset_digest": digest(name.encode())}
    spec = ImageSpec.model_validate(told)
    assemble(spec, [lowest, content], folder / name)
    return folder / name


def numbers(contents: Contents) -> tuple[int, int, list[int]]:
    return contents.blobs, contents.files, contents.layer_sizes


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_a_layer_that_was_found_right_is_decompressed_again_only_to_be_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: Compression
) -> None:
    lowest = base(tmp_path, f"again in {compression}", compression)
    one, two = image(tmp_path, f"one-{compression}", lowest), image(tmp_path, f"two-{compression}", lowest)
    first = numbers(read_image(one))
    assert first[1] == 4
    opened: list[str | None] = []
    real = unpack.decompressed
    monkeypatch.setattr(unpack, "decompressed", lambda file, kind: (opened.append(kind), real(file, kind))[1])
    assert numbers(read_image(two)) == first
    assert opened == ["gzip"]  # what is two's alone
    assert numbers(read_image(two, tmp_path / "some", ("app/", "etc/"))) == first
    assert {path.relative_to(tmp_path / "some").as_posix() for path in (tmp_path / "some").rglob("*.*")} == {
        "app/instance.json"
    }
    assert (tmp_path / "some/etc/issue").read_text() == f"again in {compression}"
    assert numbers(read_image(two, tmp_path / "all")) == first
    assert (tmp_path / "all/usr/a").stat().st_size == 9999


def test_a_known_layer_that_was_altered_or_is_said_to_hold_something_else_is_refused(tmp_path: Path) -> None:
    lowest = base(tmp_path, "known")
    good = image(tmp_path, "good", lowest)
    read_image(good)
    altered = tmp_path / "altered"
    altered.write_bytes(good.read_bytes())
    with tarfile.open(good) as tar:
        member = tar.getmember("blobs/sha256/" + lowest.digest.removeprefix("sha256:"))
    with altered.open("r+b") as file:
        file.seek(member.offset_data + member.size - 12)
        file.write(b"?")
    with pytest.raises(Conflict, match="altered or damaged"):
        read_image(altered)
    false = replace(lowest, diff_id=digest(b"something else"))
    with pytest.raises(Conflict, match="altered or damaged"):
        read_image(image(tmp_path, "false", false))
