"""What an image is to be, and layers that depend on their files alone."""

from __future__ import annotations

import importlib.util
import io
import marshal
import os
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from servers.cradle.images.build import digests_of
from servers.cradle.images.layers import Entry, Layer, write_layer
from servers.cradle.images.prepared import model_layer
from servers.cradle.images.pycs import byte_code
from servers.cradle.images.render import compose, dockerfile
from servers.cradle.images.spec import ImageSpec
from shared.contracts.image import Compression
from shared.errors import InvalidInput
from shared.ids import digest
from shared.signatures import Verifier

SPEC = {
    "customer_id": "acme",
    "tag": "p1-0123456789abcdef",
    "fingerprint": digest(b"parameters"),
    "dataset_digest": digest(b"dataset"),
}
HOSTILE = [
    "a\nRUN rm -rf /", "{{7*7}}", "{% raw %}", "$(id)", "`id`", "-rf", "a b'", 'a"', "a\\", "a\x00b", "${HOME}",
    "a\r\nb", "ü",
]  # fmt: skip


@pytest.mark.requirement("I-10")
@pytest.mark.parametrize("field", ["customer_id", "tag", "fingerprint", "dataset_digest"])
@pytest.mark.parametrize("value", HOSTILE)
def test_a_value_that_would_mean_something_to_a_template_or_shell_is_no_image(field: str, value: str) -> None:
    with pytest.raises(ValidationError):
        ImageSpec.model_validate(SPEC | {field: value})


@pytest.mark.requirement("I-10")
def test_the_dockerfile_has_exactly_its_instructions() -> None:
    text = dockerfile(ImageSpec.model_validate(SPEC), ["layer-1.tar", "layer-2.tar"])
    words = [line.split()[0] for line in text.splitlines() if line and not line.startswith(("#", " ", "\t"))]
    assert words[0] == "FROM"
    assert words.count("ADD") == 2
    assert "RUN" not in words


def test_the_compose_file_closes_the_container_in() -> None:
    service = next(iter(yaml.safe_load(compose(ImageSpec.model_validate(SPEC), Verifier(b"key")))["services"].values()))
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def entries(folder: Path) -> list[Entry]:
    return [
        Entry("data/b.txt", folder / "b.txt"),
        Entry("data/a.bin", b"\x00\x01" * 5000),
        Entry("app/run", b"#!/bin/sh\n", mode=0o755),
        Entry("data/link", link="a.bin"),
    ]


@pytest.mark.requirement("O-03")
def test_the_same_files_give_the_same_layer_whatever_their_times_and_order(tmp_path: Path) -> None:
    made = []
    for name, turn in (("one", 1), ("two", -1)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "b.txt").write_text("Inhalt")
        os.utime(folder / "b.txt", (1000 * len(made), 1000 * len(made)))
        (folder / "blobs").mkdir()
        made.append(write_layer("tables", entries(folder)[::turn], folder / "blobs"))
    assert made[0] == made[1]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


def test_a_layer_is_a_tar_whose_digests_are_true(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("Inhalt")
    layer = write_layer("tables", entries(tmp_path), tmp_path)
    blob = layer.path.read_bytes()
    plain = zlib.decompress(blob, 31)
    assert (digest(blob), digest(plain)) == (layer.digest, layer.diff_id)
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        members = tar.getmembers()
    names = [member.name for member in members]
    assert names == sorted(names)
    assert {member.uid for member in members} == {0}
    assert {member.mtime for member in members} == {members[0].mtime}


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize("name", ["../etc/passwd", "a/../../b", "a\x00b", ""])
def test_a_name_that_leaves_the_image_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput):
        write_layer("tables", [Entry(name, b"x")], tmp_path)


def test_a_models_layer_is_written_once_for_all_images_and_anew_for_other_weights(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"a" * 5000)
    files, before = [Entry("model/weights", weights)], weights.stat()

    def layer(compression: Compression = "gzip") -> Layer:
        (cache := tmp_path / "cache").mkdir(exist_ok=True)
        return model_layer(cache, files, digests_of(files), compression)

    first = layer()
    written = first.path.stat()
    again = layer()
    assert (again, again.path.stat().st_ino) == (first, written.st_ino)
    assert layer("zstd").compression == "zstd"
    weights.write_bytes(b"b" * 5000)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert layer().digest != first.digest


SLICED = b"""
def cut(text):
    def ends():
        return text[:2], text[-2:]
    return ends(), text[::2], text[1:3]
class Grid:
    def __getitem__(self, key):
        return key
block = Grid()[1:2, "a":"b", ...]
"""  # slices are constants from Python 3.14 on, in tuples too
SAYS_ITS_BYTES = (
    "import sys; from servers.cradle.images.pycs import byte_code as made; sys.stdout.buffer.write(made({}, '/a.py'))"
)


def test_byte_code_with_slices_runs_and_is_the_same_in_every_process() -> None:
    made = byte_code(SLICED, "/a.py")
    assert made is not None
    assert made[:4] == importlib.util.MAGIC_NUMBER
    code, found = marshal.loads(made[16:]), {}  # noqa: S302 - our own
    assert code == compile(SLICED, "/a.py", "exec", dont_inherit=True, optimize=0)
    exec(code, found)  # noqa: S102 - our own
    assert found["cut"]("abcde") == (("ab", "de"), "ace", "bc")
    assert found["block"] == (slice(1, 2), slice("a", "b"), ...)
    again = subprocess.run(
        [sys.executable, "-c", SAYS_ITS_BYTES.format(SLICED)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, check=True,
    )  # fmt: skip
    assert again.stdout == made
