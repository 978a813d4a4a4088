"""One image for several architectures: an index over the same content, each with the packages of its own."""

from __future__ import annotations

import base64
import json
import struct
import sys
import tarfile
import zipfile
from importlib import metadata
from pathlib import Path

import orjson
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from servers.cradle.images import base, runtime
from servers.cradle.images.build import Sources, build_image
from servers.cradle.images.elf import asked_for
from servers.cradle.images.layers import Layer, tarfile_bytes
from servers.cradle.images.prepared import prepared_layers
from servers.cradle.images.registry import Pinned
from servers.cradle.images.render import delivery
from servers.cradle.images.signing import SignedBy, Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.unpack import read_image
from shared.contracts.image import ImageBuilt
from shared.errors import Conflict, InvalidInput, PlatformError, Unavailable
from shared.ids import digest
from shared.settings import load
from tests.registry_rig import Registry, tar_of

PYTHON = f"usr/local/bin/python3.{sys.version_info[1]}"
MINOR = f"3{sys.version_info[1]}"
ARM = 183  # EM_AARCH64

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


def bases(registry: Registry, without: str = "") -> Pinned:
    """A base for both architectures, with the names of the libraries that the package asks for."""
    libraries = {f"usr/lib/{name}": b"" for name in ("libc.so.6", "libgcc_s.so.1", "libpthread.so.0", "libm.so.6")}
    files = {PYTHON: b"interpreter", **libraries}
    files.pop(f"usr/lib/{without}", None)
    images = {each: registry.image(tar_of({**files, each: b""}), architecture=each) for each in ("amd64", "arm64")}
    return registry.pinned(registry.index(**images))


def quiet(_note: str) -> None:
    """No one listens."""


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


def test_another_architecture_gets_the_same_versions_as_wheels_once(
    registry: Registry, tmp_path: Path, wheels: Path
) -> None:
    pinned = bases(registry)
    lowest, packages, app = prepared_layers(tmp_path / "cache", pinned, quiet, "arm64")
    assert (lowest.kind, packages.kind, app.kind) == ("base", "runtime", "app")
    site = f"opt/0711/site/orjson-{metadata.version('orjson')}.dist-info"
    assert {f"{site}/METADATA", f"opt/0711/site/orjson/orjson.cpython-{MINOR}-aarch64-linux-gnu.so"} <= names(packages)
    assert f"opt/0711/site/orjson/__pycache__/__init__.cpython-{MINOR}.pyc" in names(packages)
    assert not names(packages) & {f"{site}/RECORD", f"{site}/INSTALLER"}
    for each in wheels.iterdir():
        each.unlink()
    assert prepared_layers(tmp_path / "cache", pinned, quiet, "arm64") == [lowest, packages, app]
    assert not [path for path in (tmp_path / "cache").iterdir() if path.name.startswith(".partial")]
    assert prepared_layers(tmp_path / "cache", pinned, quiet, "amd64")[1] != packages


def test_what_would_not_run_there_is_refused_by_name(registry: Registry, tmp_path: Path, wheels: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(InvalidInput, match=r"has no libc\.so\.6 for arm64, and orjson"):
        prepared_layers(cache, bases(registry, without="libc.so.6"), quiet, "arm64")
    wheel(wheels, machine=62)
    with pytest.raises(InvalidInput, match=r"orjson.*\.so of the packages is not for arm64"):
        prepared_layers(cache, bases(registry), quiet, "arm64")
    for each in wheels.iterdir():
        each.unlink()
    with pytest.raises(Unavailable, match=r"no wheel of orjson==[0-9.]+ for arm64.*PIP_FIND_LINKS"):
        prepared_layers(cache, bases(registry), quiet, "arm64")
    with pytest.raises(InvalidInput, match="P0711_BASE_IMAGE"):
        prepared_layers(cache, None, quiet, "arm64")
    assert not [path for path in cache.iterdir() if path.name.startswith(".")]


async def both(folder: Path, pinned: Pinned, method: str = "assembled") -> tuple[ImageSpec, ImageBuilt, Path, Signer]:
    """An image of a few bytes for both architectures."""
    model = folder / "model"
    model.mkdir(parents=True)
    (model / "weights").write_bytes(b"weights")
    spec = ImageSpec(customer_id="acme", tag="p1-both", fingerprint=digest(b"f"), dataset_digest=digest(b"d"))
    sources = Sources(model, [("vectors/one", b"vectors")], b"{}")
    signer = Signer.open(folder / "keys")
    built = await build_image(
        spec, sources, bucket=folder / "bucket", cache=folder / "cache", signer=signer, base_image=pinned,
        method=method, others=["arm64", "amd64", "arm64"],
    )  # fmt: skip
    return spec, built, folder / "bucket" / "images" / "p1-both", signer


@pytest.mark.requirement("O-03", "S-01")
async def test_one_tar_holds_an_index_of_both_and_one_signature_covers_them(
    registry: Registry, tmp_path: Path, wheels: Path
) -> None:
    pinned = bases(registry)
    spec, built, folder, signer = await both(tmp_path / "one", pinned)
    (variant,) = built.variants
    assert (built.architecture, variant.architecture) == ("amd64", "arm64")
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
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    held = next(each for each in json.loads(bill)["components"] if each["bom-ref"] == "image/arm64")
    assert any(each["bom-ref"].startswith("arm64/pkg:pypi/orjson@") for each in held["components"])
    statement = json.loads(base64.b64decode(json.loads((folder / "provenance.dsse.json").read_bytes())["payload"]))
    assert {each["digest"]["sha256"] for each in statement["subject"]} >= {
        variant.manifest_digest.removeprefix("sha256:"), built.manifest_digest.removeprefix("sha256:"),
    }  # fmt: skip
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
    assert (ours.image_id, ours.variants) == (built.image_id, {"arm64": built.variants[0].image_id})
    assert (theirs.image_id, theirs.variants) == (built.variants[0].image_id, {"amd64": built.image_id})
    assert (tmp_path / "root" / "data/vectors/one").read_bytes() == b"vectors"
    assert next((tmp_path / "root" / "opt/0711/site/orjson").glob("*aarch64*"))
    data = tar.read_bytes()
    for document in (built.variants[0].manifest_digest, built.variants[0].image_id, built.variants[0].layers[1].digest):
        with tarfile.open(tar) as opened:
            start = opened.getmember("blobs/sha256/" + document.removeprefix("sha256:")).offset_data
        harmed = tmp_path / "harmed.tar"
        harmed.write_bytes(data[: start + 60] + bytes([data[start + 60] ^ 1]) + data[start + 61 :])
        with pytest.raises(Conflict, match="altered"):
            read_image(harmed)


async def test_an_engine_builds_for_itself_only(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="`assembled`"):
        await both(tmp_path, bases(registry), method="engine")


def test_without_a_base_for_each_the_platform_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P0711_IMAGE_ARCHITECTURES", '["arm64"]')
    with pytest.raises(InvalidInput, match=r"P0711_IMAGE_ARCHITECTURES: .*needs P0711_BASE_IMAGE to be docker://"):
        load()
    monkeypatch.setenv("P0711_BASE_IMAGE", "docker://registry.example/library/python@sha256:" + "0" * 64)
    assert load().image_architectures == ["arm64"]
