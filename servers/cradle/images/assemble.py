"""One tar that is an OCI layout and a docker archive, written in one pass and the same on every run.

Formats: OCI image layout 1.0 (https://github.com/opencontainers/image-spec) and the archive that `docker save` writes
since Docker 25. docker, podman and skopeo load it. With variants for other architectures the layout names an index of
them all; the docker archive, which knows no architectures, names the image for the machine that built it.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from servers.cradle.images.compression import media_type
from servers.cradle.images.files import new_file
from servers.cradle.images.layers import Layer, room_or_clean
from servers.cradle.images.spec import ENTRYPOINT, USER, ImageSpec, created
from servers.cradle.images.streams import Hash, Hashing, tar_onto
from shared.contracts.image import Architecture, ImageVariant
from shared.errors import Unavailable
from shared.ids import canonical_json, digest

_IMAGE = "application/vnd.oci.image."


@dataclass(frozen=True, slots=True)
class Variant:
    """One architecture's image: its documents, and its layers, lowest first."""

    architecture: Architecture
    config: bytes
    manifest: bytes
    layers: Sequence[Layer]

    @property
    def descriptor(self) -> dict[str, object]:
        """How an index names it."""
        platform = {"architecture": self.architecture, "os": "linux"}
        return {**_descriptor("manifest", self.manifest), "platform": platform}

    def contract(self) -> ImageVariant:
        """What the outside learns of it."""
        return ImageVariant(
            architecture=self.architecture,
            manifest_digest=digest(self.manifest),
            image_id=digest(self.config),
            layers=[layer.contract() for layer in self.layers],
        )


@dataclass(frozen=True, slots=True)
class Assembled:
    """Digests and size of a written image; `variants` are its architectures where there are several, its own first."""

    image_id: str
    manifest_digest: str
    archive_digest: str
    size: int
    variants: tuple[Variant, ...] = ()


def configuration(spec: ImageSpec, layers: Sequence[Layer]) -> dict[str, object]:
    """The image's configuration: what runs, as whom, with which labels."""
    return {
        "architecture": spec.architecture,
        "os": "linux",
        "created": created(),
        "config": {
            "User": f"{USER}:{USER}",
            "WorkingDir": "/",
            "Env": [f"{name}={value}" for name, value in sorted(spec.environment.items())],
            "Entrypoint": list(ENTRYPOINT),
            "ExposedPorts": {f"{spec.port}/tcp": {}},
            "Labels": spec.labels,
            "StopSignal": "SIGTERM",
            "Healthcheck": {
                "Test": ["CMD", *spec.health_command],
                "Interval": 5_000_000_000,
                "Timeout": 5_000_000_000,
                "StartPeriod": 60_000_000_000,
                "Retries": 3,
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": created(), "created_by": f"0711 {layer.kind}"} for layer in layers],
    }


def assemble(
    spec: ImageSpec, layers: Sequence[Layer], target: Path, others: Mapping[Architecture, Sequence[Layer]] | None = None
) -> Assembled:
    """Write the image of these layers, lowest first, to `target`; durable when it returns; blocking.

    Args:
        others: the layers for each further architecture.

    Raises:
        Unavailable: a cached layer is damaged; it is removed, so that calling again makes it anew.
        StorageFull: no room; nothing is left behind.
    """
    first = _variant(spec, spec.architecture, layers)
    images = (first, *(_variant(spec, architecture, theirs) for architecture, theirs in sorted((others or {}).items())))
    items: dict[str, bytes | Path | None] = {
        "blobs": None,
        "blobs/sha256": None,
        "manifest.json": _docker_manifest(spec, first),
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    for each in images:
        items |= {_place(digest(document)): document for document in (each.config, each.manifest)}
        items |= {_place(layer.digest): layer.path for layer in each.layers}
    named, manifest_digest = first.descriptor, digest(first.manifest)
    if len(images) > 1:
        index = canonical_json(_index([each.descriptor for each in images]))
        named, manifest_digest = _descriptor("index", index), digest(index)
        items[_place(manifest_digest)] = index
    items["index.json"] = canonical_json(_index([{**named, "annotations": _names(spec)}]))
    with room_or_clean(target), new_file(target) as raw:
        whole = Hashing(raw)
        with tar_onto(whole) as tar:
            for name in sorted(items):
                _write(tar, name, items[name])
    return Assembled(digest(first.config), manifest_digest, whole.digest, whole.size, images if others else ())


def _variant(spec: ImageSpec, architecture: Architecture, layers: Sequence[Layer]) -> Variant:
    config = canonical_json(configuration(spec.model_copy(update={"architecture": architecture}), layers))
    manifest = {
        "schemaVersion": 2,
        "mediaType": _IMAGE + "manifest.v1+json",
        "config": _descriptor("config", config),
        "layers": [
            {"mediaType": media_type(each.compression), "digest": each.digest, "size": each.size} for each in layers
        ],
        "annotations": spec.labels,
    }
    return Variant(architecture, config, canonical_json(manifest), layers)


def _descriptor(kind: str, document: bytes) -> dict[str, object]:
    return {"mediaType": f"{_IMAGE}{kind}.v1+json", "digest": digest(document), "size": len(document)}


def _index(manifests: list[dict[str, object]]) -> dict[str, object]:
    return {"schemaVersion": 2, "mediaType": _IMAGE + "index.v1+json", "manifests": manifests}


def _names(spec: ImageSpec) -> dict[str, str]:
    return {
        "io.containerd.image.name": f"docker.io/{spec.reference}",
        "org.opencontainers.image.ref.name": spec.tag,
    }


def _docker_manifest(spec: ImageSpec, image: Variant) -> bytes:
    layers = [_place(layer.digest) for layer in image.layers]
    return canonical_json([{"Config": _place(digest(image.config)), "RepoTags": [spec.reference], "Layers": layers}])


def _place(digest_: str) -> str:
    return "blobs/sha256/" + digest_.removeprefix("sha256:")


def _write(tar: tarfile.TarFile, name: str, content: bytes | Path | None) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    if content is None:
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif isinstance(content, bytes):
        info.size = len(content)
        tar.addfile(info, io.BytesIO(content))
    else:
        info.size = content.stat().st_size
        with content.open("rb") as file:
            checked = _Checked(file)
            tar.addfile(info, checked)  # pyright: ignore[reportArgumentType]
        if checked.hexdigest != content.name:
            content.unlink(missing_ok=True)
            raise Unavailable("A layer on disk was damaged and has been removed. Call again.")


class _Checked:
    """A reader that hashes what passes through it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._state = Hash()

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._state.update(data)
        return data

    @property
    def hexdigest(self) -> str:
        return self._state.hexdigest()
