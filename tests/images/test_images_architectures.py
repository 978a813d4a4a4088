"""One image for several architectures: an index over the same content, each with the packages of its own."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import platform
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import pytest

from servers.cradle.images import base, runtime, trim
from servers.cradle.images.assemble import assemble
from servers.cradle.images.build import Means, Sources, build_image
from servers.cradle.images.elf import asked_for, newest_glibc
from servers.cradle.images.foreign import _run, options
from servers.cradle.images.layers import Entry, Layer, tarfile_bytes, write_layer
from servers.cradle.images.prepared import prepared_layers
from servers.cradle.images.registry import Pinned
from servers.cradle.images.render import delivery
from servers.cradle.images.signing import SignedBy, Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.unpack import read_image
from servers.cradle.images.verify import _checks_of_files
from shared.contracts.image import Architecture, ImageBuilt
from shared.errors import Conflict, InvalidInput, PlatformError, Unavailable
from shared.ids import digest
from shared.settings import load
from shared.stopping import stoppable
from tests.image_rig import told_by_the_schema
from tests.registry_rig import Registry, tar_of

PYTHON = f"usr/local/bin/python3.{sys.version_info[1]}"
MINOR = f"3{sys.version_info[1]}"
ARM = 183  # EM_AARCH64
LIBC = next(Path("/usr/lib").glob("*-linux-gnu/libc.so.6"), Path(os.devnull)).read_bytes()

pytestmark = pytest.mark.skipif(
    base.architecture() != "amd64", reason="the binary that stands for one of arm64 is made of one of amd64"
)


def binary(machine: int) -> bytes:
    """A library that asks for others, as one of this machine says that it is for that machine."""
    package = Path(str(metadata.distribution("orjson").locate_file("orjson")))
    data = bytearray(next(package.glob("*.so")).read_bytes())
    struct.pack_into("<H", data, 18, machine)
    return bytes(data)


def wheel(folder: Path, machine: int = ARM) -> None:
    """The version of orjson that is installed, as its wheel for arm64."""
    version, folder = metadata.version("orjson"), folder.absolute()
    folder.mkdir(exist_ok=True)
    name, about = f"orjson-{version}", f"orjson-{version}.dist-info"
    tags = f"cp{MINOR}-cp{MINOR}-manylinux_2_17_aarch64"
    files = {
        "orjson/__init__.py": b"from .orjson import dumps\n",
        f"orjson/orjson.cpython-{MINOR}-aarch64-linux-gnu.so": binary(machine),
        f"{about}/METADATA": f"Metadata-Version: 2.1\nName: orjson\nVersion: {version}\n".encode(),
        f"{about}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tags}\n".encode(),
    }
    record = "".join(f"{each},,\n" for each in (*files, f"{about}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{tags}.whl", "w") as archive:
        for each, content in {**files, f"{about}/RECORD": record.encode()}.items():
            archive.writestr(each, content)


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, and nothing else where pip looks; one package is what an image needs."""
    monkeypatch.setattr(runtime, "ROOTS", ("orjson",))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    wheel(tmp_path / "wheels")
    return tmp_path / "wheels"


def bases(registry: Registry, libc: bytes = LIBC, name: str = "libc.so.6") -> Pinned:
    """A base for both architectures, with the library that the package asks for."""
    files = {PYTHON: b"interpreter", f"usr/lib/{name}": libc}
    images = {each: registry.image(tar_of({**files, each: b""}), architecture=each) for each in ("amd64", "arm64")}
    return registry.pinned(registry.index(**images))


def names(layer: Layer) -> set[str]:
    with tarfile_bytes(layer.path) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
        return {member.name for member in tar if member.isreg()}


def test_what_a_binary_is_for_and_asks_for_is_read(tmp_path: Path) -> None:
    (tmp_path / "here").write_bytes(binary(62))
    (tmp_path / "there").write_bytes(binary(ARM))
    assert asked_for(tmp_path / "here")[0] == "amd64"
    architecture, libraries = asked_for(tmp_path / "there")
    assert architecture == "arm64"
    assert "libc.so.6" in libraries


def test_wheels_are_for_the_glibc_of_the_base_and_no_newer_one() -> None:
    assert newest_glibc(LIBC) == int(platform.libc_ver()[1].split(".")[1])
    assert newest_glibc(b"musl") == 0
    told = list(options("arm64", 28))
    assert "manylinux_2_28_aarch64" in told
    assert "manylinux_2_29_aarch64" not in told


async def test_pip_gets_none_of_the_platforms_secrets_and_ends_when_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("P0711_POSTGRES_URL", "postgresql://canary")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example")
    look = "import os, sys; sys.stderr.buffer.write(repr(dict(os.environ)).encode() + bytes([255]))"
    status, said = _run([sys.executable, "-c", look], tmp_path)
    assert (status, "canary" in said, "index.example" in said) == (0, False, True)
    assert f"'TMPDIR': '{tmp_path}'" in said
    told = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    work = asyncio.create_task(stoppable(_run, [sys.executable, "-c", told, str(tmp_path / "pid")], tmp_path))
    pid = await until(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    await until(lambda: not Path(f"/proc/{pid}").exists())


async def until(there: Callable[[], Any]) -> Any:
    """What it gives, once that is something; half a minute at most."""
    for _ in range(600):
        if found := there():
            return found
        await asyncio.sleep(0.05)
    raise AssertionError("it did not come to that")


def test_what_a_killed_process_left_in_the_cache_goes(registry: Registry, tmp_path: Path, wheels: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [tmp_path / f".partial-arm64-{gone.pid}-ab12" / "site", tmp_path / f".partial-arm64-{os.getpid()}-cd34"]
    for folder in left:
        folder.mkdir(parents=True)
    prepared_layers(tmp_path, bases(registry), "arm64")
    assert [folder.exists() for folder in left] == [False, True]


def test_what_is_left_out_is_part_of_what_a_layer_is_found_by(
    registry: Registry, tmp_path: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pinned = bases(registry)
    before = prepared_layers(tmp_path, pinned, "arm64")[1]
    more = trim.Trim(r"^orjson/__init__", "to see that it goes")
    monkeypatch.setitem(trim.TRIMS, trim.PACKAGES, (*trim.TRIMS[trim.PACKAGES], more))
    trim._pattern.cache_clear()
    after = prepared_layers(tmp_path, pinned, "arm64")[1]
    trim._pattern.cache_clear()
    assert names(before) - names(after) == {
        "opt/0711/site/orjson/__init__.py", f"opt/0711/site/orjson/__pycache__/__init__.cpython-{MINOR}.pyc",
    }  # fmt: skip


def test_another_architecture_gets_the_same_versions_as_wheels_once(
    registry: Registry, tmp_path: Path, wheels: Path
) -> None:
    pinned = bases(registry)
    lowest, packages, app = prepared_layers(tmp_path / "cache", pinned, "arm64")
    assert (lowest.kind, packages.kind, app.kind) == ("base", "runtime", "app")
    site = f"opt/0711/site/orjson-{metadata.version('orjson')}.dist-info"
    assert {f"{site}/METADATA", f"opt/0711/site/orjson/orjson.cpython-{MINOR}-aarch64-linux-gnu.so"} <= names(packages)
    assert f"opt/0711/site/orjson/__pycache__/__init__.cpython-{MINOR}.pyc" in names(packages)
    assert not names(packages) & {f"{site}/RECORD", f"{site}/INSTALLER"}
    for each in wheels.iterdir():
        each.unlink()
    assert prepared_layers(tmp_path / "cache", pinned, "arm64") == [lowest, packages, app]
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".partial")]
    assert prepared_layers(tmp_path / "cache", pinned, "amd64")[1] != packages


def test_what_would_not_run_there_is_refused_by_name(registry: Registry, tmp_path: Path, wheels: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(InvalidInput, match=r"has no libc\.so\.6 for arm64, and orjson"):
        prepared_layers(cache, bases(registry, name="libc-2.36.so"), "arm64")
    for without_glibc in (bases(registry, b"musl"), bases(registry, name="libc.musl.so")):
        with pytest.raises(InvalidInput, match="no glibc"):
            prepared_layers(cache, without_glibc, "arm64")
    wheel(wheels, machine=62)
    with pytest.raises(InvalidInput, match=r"orjson.*\.so of the packages is not for arm64"):
        prepared_layers(cache, bases(registry), "arm64")
    for each in wheels.iterdir():
        each.unlink()
    with pytest.raises(Unavailable, match=r"no wheel of orjson==[0-9.]+ for arm64 and glibc 2\.\d+.*PIP_FIND_LINKS"):
        prepared_layers(cache, bases(registry), "arm64")
    with pytest.raises(InvalidInput, match="P0711_BASE_IMAGE"):
        prepared_layers(cache, None, "arm64")
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


async def both(folder: Path, pinned: Pinned, method: str = "assembled") -> tuple[ImageSpec, ImageBuilt, Path, Signer]:
    """An image of a few bytes for both architectures."""
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "weights").write_bytes(b"weights")
    spec = ImageSpec(customer_id="acme", tag="p1-both", fingerprint=digest(b"f"), dataset_digest=digest(b"d"))
    sources = Sources(model, [("vectors/one", b"vectors")], b"{}")
    signer = Signer.open(folder / "keys")
    means = Means(folder / "cache", signer, pinned, method=method, others=["arm64", "amd64", "arm64"])
    built = await build_image(spec, sources, folder / "bucket", means)
    return spec, built, folder / "bucket" / "images" / "p1-both", signer


@pytest.mark.requirement("O-03", "S-01")
async def test_one_tar_holds_an_index_of_both_and_one_signature_covers_them(
    registry: Registry, tmp_path: Path, wheels: Path
) -> None:
    pinned = bases(registry)
    spec, built, folder, signer = await both(tmp_path / "one", pinned)
    own, variant = built.variants
    assert (built.architecture, own.architecture, variant.architecture) == ("amd64", "amd64", "arm64")
    assert (own.image_id, own.layers) == (built.image_id, built.layers)
    ours, theirs = ([layer.digest for layer in each.layers] for each in (built, variant))
    assert [one == other for one, other in zip(ours, theirs, strict=True)] == [False, False, True, True, True, True]

    with tarfile.open(folder / "image.tar") as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # pyright: ignore
    (named,) = orjson.loads(files["index.json"])["manifests"]
    assert named["digest"] == built.manifest_digest
    index = orjson.loads(files["blobs/sha256/" + built.manifest_digest.removeprefix("sha256:")])
    assert [each["platform"] for each in index["manifests"]] == [
        {"architecture": "amd64", "os": "linux"}, {"architecture": "arm64", "os": "linux"},
    ]  # fmt: skip
    assert index["manifests"][1]["digest"] == variant.manifest_digest
    assert orjson.loads(files["manifest.json"])[0]["Config"].endswith(built.image_id.removeprefix("sha256:"))

    SignedBy(signer.verifier, spec.repository).verify(folder, built.manifest_digest, built.archive_digest)
    bill = (folder / "sbom.cdx.json").read_text()
    assert told_by_the_schema(bill) is None
    images = {each["bom-ref"]: each for each in json.loads(bill)["components"]}
    assert images.keys() == {"image/amd64", "image/arm64"}
    assert images["image/amd64"]["hashes"][0]["content"] == own.manifest_digest.removeprefix("sha256:")
    held = images["image/arm64"]
    assert any(each["bom-ref"].startswith("arm64/pkg:pypi/orjson@") for each in held["components"])
    statement = json.loads(base64.b64decode(json.loads((folder / "provenance.dsse.json").read_bytes())["payload"]))
    signed = (own.manifest_digest, variant.manifest_digest, built.manifest_digest, built.archive_digest)
    assert {each["digest"]["sha256"] for each in statement["subject"]} == {each[7:] for each in signed}
    sources = [each["name"] for each in statement["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert [name for name in sources if name.endswith("/arm64")] == ["layer/base/arm64", "layer/runtime/arm64"]

    assert "It runs on amd64, arm64." in delivery("README.md", spec, built, signer.verifier)
    assert "skopeo copy --all" in delivery("kubernetes.yaml", spec, built, signer.verifier)

    again = (await both(tmp_path / "two", pinned))[1]
    assert (again.archive_digest, again.variants) == (built.archive_digest, built.variants)


async def test_each_variant_is_read_and_damage_to_any_is_found(
    registry: Registry, tmp_path: Path, wheels: Path
) -> None:
    _, built, folder, _ = await both(tmp_path, bases(registry))
    tar = folder / "image.tar"
    ours, theirs = read_image(tar), read_image(tar, tmp_path / "root", architecture="arm64")
    assert (ours.config["architecture"], theirs.config["architecture"]) == ("amd64", "arm64")
    assert (ours.image_id, theirs.image_id) == (built.image_id, built.image_ids["arm64"])
    assert ours.variants == theirs.variants == built.image_ids
    assert ours.manifest_digest == theirs.manifest_digest == built.manifest_digest
    for contents in (ours, theirs):  # on a machine of either architecture
        assert [check.name for check in _checks_of_files(contents, built) if not check.passed] == []
    assert (tmp_path / "root" / "data/vectors/one").read_bytes() == b"vectors"
    assert next((tmp_path / "root" / "opt/0711/site/orjson").glob("*aarch64*"))
    data, variant = tar.read_bytes(), built.variants[1]
    for document in (variant.manifest_digest, variant.image_id, variant.layers[1].digest):
        with tarfile.open(tar) as opened:
            start = opened.getmember("blobs/sha256/" + document.removeprefix("sha256:")).offset_data
        harmed = tmp_path / "harmed.tar"
        harmed.write_bytes(data[: start + 60] + bytes([data[start + 60] ^ 1]) + data[start + 61 :])
        for architecture in (None, "amd64"):
            with pytest.raises(Conflict, match="altered"):
                read_image(harmed, architecture=architecture)


def altered(tar: Path, target: Path, **changes: Callable[[Any], Any]) -> Path:
    """A copy of an image whose documents are changed, each digest with them: `index` is what the layout names."""
    with tarfile.open(tar) as opened:
        files = {member.name: opened.extractfile(member).read() for member in opened if member.isreg()}  # pyright: ignore
    layout = json.loads(files["index.json"])
    place = "blobs/sha256/" + layout["manifests"][0]["digest"].removeprefix("sha256:")
    index = json.dumps(changes.get("index", lambda each: each)(json.loads(files.pop(place)))).encode()
    files["blobs/sha256/" + digest(index).removeprefix("sha256:")] = index
    layout["manifests"][0]["digest"] = digest(index)
    files["index.json"] = json.dumps(changes.get("layout", lambda each: each)(layout)).encode()
    docker = changes.get("docker", lambda each: each)(json.loads(files["manifest.json"]))
    target.write_bytes(tar_of({**files, "manifest.json": json.dumps(docker).encode()}))
    return target


TWICE, NOT_NAMED = "names an architecture twice", "manifest was altered"


@pytest.mark.requirement("S-01")
@pytest.mark.parametrize("architecture", [None, "amd64", "arm64"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"index": lambda each: {"manifests": each["manifests"] + each["manifests"][1:]}}, TWICE),
        ({"index": lambda each: {"manifests": each["manifests"][1:]}}, NOT_NAMED),
        ({"docker": lambda each: [{**each[0], "Layers": each[0]["Layers"][1:]}]}, NOT_NAMED),
        (
            {"index": lambda each: {"manifests": [
                {**each["manifests"][0], "platform": {"architecture": "arm64"}},
                {**each["manifests"][1], "platform": {"architecture": "amd64"}},
            ]}},
            "not what its index says",
        ),
        ({"layout": lambda each: {"manifests": each["manifests"] * 2}}, "not an image, or it is damaged"),
        ({"layout": lambda _: {"manifests": []}}, "not an image, or it is damaged"),
        ({"layout": lambda _: {"manifests": None}}, "not an image, or it is damaged"),
        ({"layout": lambda _: {"manifests": [{"digest": 1}]}}, "not an image, or it is damaged"),
        ({"layout": lambda _: []}, "not an image, or it is damaged"),
    ],
)  # fmt: skip
async def test_an_index_that_says_two_things_is_refused_for_every_reader(
    both_made: Path, tmp_path: Path, change: dict[str, Any], words: str, architecture: Architecture | None
) -> None:
    with pytest.raises(PlatformError, match=words):
        read_image(altered(both_made, tmp_path / "altered.tar", **change), architecture=architecture)


@pytest.fixture(scope="module")
def both_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two architectures without packages: layers of a few bytes."""
    folder = tmp_path_factory.mktemp("both")
    one, two = (write_layer("base", [Entry(name, name.encode())], folder) for name in ("amd64", "arm64"))
    spec = ImageSpec(customer_id="acme", tag="p1-both", fingerprint=digest(b"f"), dataset_digest=digest(b"d"))
    assemble(spec, [one], folder / "image.tar", {"arm64": [two]})
    return folder / "image.tar"


async def test_an_engine_builds_for_itself_only(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="`assembled`"):
        await both(tmp_path, bases(registry), method="engine")


def test_without_a_base_for_each_the_platform_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P0711_IMAGE_ARCHITECTURES", '["arm64"]')
    with pytest.raises(InvalidInput, match=r"P0711_IMAGE_ARCHITECTURES: .*needs P0711_BASE_IMAGE to be docker://"):
        load()
    monkeypatch.setenv("P0711_BASE_IMAGE", "docker://registry.example/library/python@sha256:" + "0" * 64)
    assert load().image_architectures == ["arm64"]
    monkeypatch.setenv("P0711_IMAGE_BUILDER", "engine")
    with pytest.raises(InvalidInput, match=r"P0711_IMAGE_BUILDER: .*leave P0711_IMAGE_COMPRESSION and"):
        load()
    monkeypatch.delenv("P0711_IMAGE_ARCHITECTURES")
    assert load().image_builder == "engine"
