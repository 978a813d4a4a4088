"""One tar that is an OCI layout and a docker archive, written in one pass and the same on every run.

Formats: OCI image layout 1.0 (https://github.com/opencontainers/image-spec) and the archive that `docker save` writes
since Docker 25. docker, podman and skopeo load it.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from servers.cradle.images.compression import media_type
from servers.cradle.images.layers import Layer, room_or_clean
from servers.cradle.images.spec import USER, ImageSpec, created
from servers.cradle.images.streams import BLOCK, Hash, Hashing, tar_onto
from shared.errors import Unavailable
from shared.ids import canonical_json, digest

_IMAGE = "application/vnd.oci.image."


@dataclass(frozen=True, slots=True)
class Assembled:
    """Digests and size of a written image."""

    image_id: str
    manifest_digest: str
    archive_digest: str
    size: int


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
            "Entrypoint": list(spec.entrypoint),
            "ExposedPorts": {f"{spec.port}/tcp": {}},
            "Labels": spec.all_labels,
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


def assemble(spec: ImageSpec, layers: Sequence[Layer], target: Path) -> Assembled:
    """Write the image of these layers, lowest first, to `target`; durable when it returns; blocking.

    Raises:
        Unavailable: a cached layer is damaged; it is removed, so that calling again makes it anew.
        StorageFull: no room; nothing is left behind.
    """
    config = canonical_json(configuration(spec, layers))
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": _IMAGE + "manifest.v1+json",
            "config": {"mediaType": _IMAGE + "config.v1+json", "digest": digest(config), "size": len(config)},
            "layers": [
                {"mediaType": media_type(each.compression), "digest": each.digest, "size": each.size} for each in layers
            ],
            "annotations": spec.all_labels,
        }
    )
    items: dict[str, bytes | Path | None] = {
        "blobs": None,
        "blobs/sha256": None,
        _place(digest(config)): config,
        _place(digest(manifest)): manifest,
        "index.json": canonical_json(_index(spec, manifest)),
        "manifest.json": canonical_json(
            [
                {
                    "Config": _place(digest(config)),
                    "RepoTags": [spec.reference],
                    "Layers": [_place(layer.digest) for layer in layers],
                }
            ]
        ),
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    items |= {_place(layer.digest): layer.path for layer in layers}
    with room_or_clean(target), target.open("xb", buffering=BLOCK) as raw:
        whole = Hashing(raw)
        with tar_onto(whole) as tar:
            for name in sorted(items):
                _write(tar, name, items[name])
        raw.flush()
        os.fsync(raw.fileno())
    return Assembled(digest(config), digest(manifest), whole.digest, whole.size)


def _index(spec: ImageSpec, manifest: bytes) -> dict[str, object]:
    return {
        "schemaVersion": 2,
        "mediaType": _IMAGE + "index.v1+json",
        "manifests": [
            {
                "mediaType": _IMAGE + "manifest.v1+json",
                "digest": digest(manifest),
                "size": len(manifest),
                "platform": {"architecture": spec.architecture, "os": "linux"},
                "annotations": {
                    "io.containerd.image.name": f"docker.io/{spec.reference}",
                    "org.opencontainers.image.ref.name": spec.tag,
                },
            }
        ],
    }


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
