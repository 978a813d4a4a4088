"""The base of an image: pulled by digest from a registry, checked to the last byte; unpacked as an engine would."""

from __future__ import annotations

import gzip
import json
import sys
import tarfile
from pathlib import Path

import pytest

from servers.cradle.images.base import shared_libraries
from servers.cradle.images.prepared import prepared_layers
from servers.cradle.images.registry import Pinned, chosen, pull
from servers.cradle.images.unpack import read_image
from shared.errors import Conflict, InvalidInput, NotFound, PlatformError, Unavailable
from shared.ids import digest
from tests.registry_rig import INDEX, LAYER, MANIFEST, Registry, tar_of

AMD64 = {"os": "linux", "architecture": "amd64"}
PYTHON = f"usr/local/bin/python3.{sys.version_info[1]}"


def link(name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    return member


@pytest.mark.parametrize("zstd", [False, True])
def test_the_layers_of_a_pinned_image_arrive_as_they_are_and_once(
    registry: Registry, tmp_path: Path, zstd: bool
) -> None:
    lower, upper = tar_of({PYTHON: b"interpreter"}), tar_of({"etc/os-release": b"ID=debian"})
    pinned = registry.pinned(
        registry.index(arm64=registry.image(b"", architecture="arm64"), amd64=registry.image(lower, upper, zstd=zstd))
    )
    layers = pull(pinned, "amd64", tmp_path)
    assert [layer.diff_id for layer in layers] == [digest(lower), digest(upper)]
    assert [layer.content_size for layer in layers] == [len(lower), len(upper)]
    assert all(digest(layer.path.read_bytes()) == layer.digest for layer in layers)
    before = len([path for path in registry.asked if "/blobs/" in path])
    assert pull(pinned, "amd64", tmp_path) == layers
    assert len([path for path in registry.asked if "/blobs/" in path]) == before + 1  # the configuration only


@pytest.mark.parametrize("altered", ["manifest", "config", "layer", "longer"])
def test_what_is_not_what_its_digest_says_is_refused_and_not_kept(
    registry: Registry, tmp_path: Path, altered: str
) -> None:
    described = registry.image(tar_of({PYTHON: b"interpreter"}))
    manifest = json.loads(registry.blobs[str(described["digest"])])
    victim = {"manifest": described, "config": manifest["config"]}.get(altered, manifest["layers"][0])["digest"]
    honest = registry.blobs[str(victim)]
    registry.blobs[str(victim)] = honest + b"\0" if altered == "longer" else honest[:-3] + b"abc"
    with pytest.raises(Conflict):
        pull(registry.pinned(str(described["digest"])), "amd64", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_layer_whose_content_is_another_than_the_configuration_says_is_refused(
    registry: Registry, tmp_path: Path
) -> None:
    described = registry.image(tar_of({PYTHON: b"interpreter"}))
    manifest = json.loads(registry.blobs[str(described["digest"])])
    manifest["layers"] = [registry.put(gzip.compress(tar_of({PYTHON: b"another"}), mtime=0), LAYER)]
    forged = registry.put(json.dumps(manifest).encode(), MANIFEST)
    with pytest.raises(Conflict, match="not what its configuration says"):
        pull(registry.pinned(str(forged["digest"])), "amd64", tmp_path)


def test_what_the_registry_has_not_is_said_plainly(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such image"):
        pull(registry.pinned("sha256:" + "0" * 64), "amd64", tmp_path)
    only_arm = registry.index(arm64=registry.image(b"", architecture="arm64"))
    with pytest.raises(NotFound, match="linux/amd64"):
        pull(registry.pinned(only_arm), "amd64", tmp_path)
    nobody = Pinned("127.0.0.1:1", "library/python", "sha256:" + "0" * 64)
    with pytest.raises(Unavailable, match="does not answer"):
        pull(nobody, "amd64", tmp_path)


def test_what_stands_beside_the_images_of_an_index_is_passed_over(registry: Registry, tmp_path: Path) -> None:
    provenance = registry.put(b"{}", MANIFEST) | {"platform": None}
    body = {"mediaType": INDEX, "manifests": [provenance, registry.image(b"") | {"platform": AMD64}]}
    assert pull(registry.pinned(str(registry.put(json.dumps(body).encode(), INDEX)["digest"])), "amd64", tmp_path)


@pytest.mark.parametrize("manifest", ["[]", '{"manifests": ["x"]}', '{"manifests": 1}', '{"config": 1}', "{}", "x"])
def test_what_is_no_manifest_is_refused(registry: Registry, tmp_path: Path, manifest: str) -> None:
    with pytest.raises(Conflict, match="not an image's manifest"):
        pull(registry.pinned(str(registry.put(manifest.encode(), MANIFEST)["digest"])), "amd64", tmp_path)


@pytest.mark.requirement("I-10")
@pytest.mark.parametrize(
    "text",
    [
        "docker://python:3.11", "docker://host/python", "docker://host/../x@sha256:" + "0" * 64,
        "docker://host/a\n@sha256:" + "0" * 64, "docker://user:pw@host/a@sha256:" + "0" * 64,
        "docker://host/a@sha256:" + "0" * 64 + "\n", "docker://host/{{7*7}}@sha256:" + "0" * 64,
    ],
)  # fmt: skip
def test_a_reference_without_a_digest_or_with_anything_odd_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="docker://HOST/NAME@sha256:DIGEST"):
        chosen(text)


def test_a_base_without_this_python_is_refused(registry: Registry, tmp_path: Path) -> None:
    described = registry.image(tar_of({"usr/bin/python3": b""}))
    with pytest.raises(InvalidInput, match="has no /usr/local/bin/python3"):
        prepared_layers(tmp_path, registry.pinned(str(described["digest"])), "amd64")


def image_of(folder: Path, *layers: bytes) -> Path:
    """An image's tar as `docker save` of an old engine writes it."""
    config = json.dumps({"config": {}, "rootfs": {"diff_ids": [digest(each) for each in layers]}}).encode()
    name = digest(config).removeprefix("sha256:") + ".json"
    places = [f"{place}/layer.tar" for place in range(len(layers))]
    manifest = json.dumps([{"Config": name, "Layers": places}]).encode()
    target = folder / "image.tar"
    target.write_bytes(tar_of({name: config, "manifest.json": manifest, **dict(zip(places, layers, strict=True))}))
    return target


def test_whiteouts_and_links_are_unpacked_as_in_a_container(tmp_path: Path) -> None:
    lower = tar_of({"a/old": b"1", "a/kept": b"2", "b/x": b"3", "b/y": b"4", "bin": link("bin", "/usr/bin")})
    upper = tar_of(
        {
            "a/.wh.old": b"", "b/.wh..wh..opq": b"", "b/z": b"5", "usr/bin/sh": b"shell",
            "usr/bin/ash": link("usr/bin/ash", "usr/bin/sh", tarfile.LNKTYPE),
        }
    )  # fmt: skip
    root = tmp_path / "root"
    read_image(image_of(tmp_path, lower, upper), root)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()) == [
        "a/kept", "b/z", "usr/bin/ash", "usr/bin/sh",
    ]  # fmt: skip
    assert (root / "bin").readlink() == Path("usr/bin")
    assert (root / "bin" / "sh").read_bytes() == b"shell"
    assert (root / "usr/bin/ash").samefile(root / "usr/bin/sh")


@pytest.mark.requirement("I-09")
@pytest.mark.parametrize(
    "upper",
    [
        {"a/.wh...": b""}, {"a/.wh..": b""}, {".wh...": b""}, {"out/.wh.secret": b""},
        {"x": link("x", "out/secret", tarfile.LNKTYPE)}, {"x": link("x", "../secret", tarfile.LNKTYPE)},
        {"x": link("x", "/../secret")}, {"x": link("x", "../../secret")}, {"out/new": b""},
    ],
)  # fmt: skip
def test_no_whiteout_and_no_link_reaches_what_lies_outside(
    tmp_path: Path, upper: dict[str, bytes | tarfile.TarInfo]
) -> None:
    (tmp_path / "secret").write_text("kept")
    lower = tar_of({"a/x": b"1", "inside/secret": b"2", "out": link("out", "inside")})
    try:
        read_image(image_of(tmp_path, lower, tar_of(upper)), tmp_path / "root")
    except PlatformError:
        assert not (tmp_path / "root").exists()
    assert (tmp_path / "secret").read_text() == "kept"
    assert (tmp_path / "image.tar").is_file()
    assert not any(
        path.is_symlink() and not path.resolve().is_relative_to(tmp_path / "root") for path in tmp_path.rglob("*")
    )


def test_a_distributions_python_brings_the_systems_libraries_though_they_share_its_prefix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    binaries = [Path(sys.executable).resolve()]
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(sys, "prefix", "/usr")
    names = {Path(entry.name).name for entry in shared_libraries(binaries)}
    assert {"libc.so.6", "libm.so.6"} <= names
    assert any(name.startswith("ld-linux") for name in names)
    assert not any(name.startswith("libpython") for name in names)
