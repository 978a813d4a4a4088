"""The bill of materials of an image, CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/): read from the finished
layers, so that it lists what is in them and not what was asked for.
"""

from __future__ import annotations

import hashlib
import tarfile
import uuid
from collections.abc import Iterable, Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import IO, Any

import orjson

from servers.cradle.images.assemble import Assembled, Variant
from servers.cradle.images.layers import Layer, room_or_clean, tarfile_bytes
from servers.cradle.images.spec import SITE, ImageSpec, created
from shared.ids import canonical_json, digest

SBOM = "sbom.cdx.json"
_SITE = SITE.lstrip("/") + "/"
_SYSTEM = ("usr/lib/", "usr/local/lib/lib", "lib/", "lib64/")
_BLOCK = 1 << 20
_DPKG = "var/lib/dpkg/status"
_CARD = "model/encoder.json"
_KEPT = ".components"
_LONGEST = 80  # what is longer is a licence's text and not its name
_CLASSIFIER = "License :: OSI Approved :: "

Component = dict[str, Any]


def bill_of_materials(spec: ImageSpec, layers: Iterable[Layer], written: Assembled, more: list[Component]) -> bytes:
    """The bill of an image made of these layers, as canonical JSON; blocking.

    Where there are several architectures, each is a component, which holds what is in its layers.

    Args:
        more: components that no file names, such as the interpreter's release.
    """
    found = [_variant(spec, each) for each in written.variants]
    if not found:
        found = _sorted([component for layer in layers for component in components(layer)] + more)
    return canonical_json(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, written.manifest_digest)}",
            "version": 1,
            "metadata": {
                "timestamp": created(),
                "component": _container("image", spec, written.manifest_digest),
            },
            "components": found,
        }
    )


def _container(reference: str, spec: ImageSpec, manifest_digest: str) -> Component:
    return {
        "type": "container",
        "bom-ref": reference,
        "name": spec.repository,
        "version": spec.tag,
        "hashes": _sha256(manifest_digest.removeprefix("sha256:")),
    }


def _variant(spec: ImageSpec, variant: Variant) -> Component:
    held = [component for layer in variant.layers for component in components(layer)]
    named = [{**each, "bom-ref": f"{variant.architecture}/{each['bom-ref']}"} for each in held]
    found = _container(f"image/{variant.architecture}", spec, digest(variant.manifest))
    return {**found, "components": _sorted(named)}


def _sorted(found: list[Component]) -> list[Component]:
    return sorted(found, key=lambda each: each["bom-ref"])


def components(layer: Layer) -> list[Component]:
    """What a layer holds: packages of Python and Debian, system libraries, models. Kept beside it, as it is kept."""
    if layer.kind in ("vectors", "tables", "graph", "config"):
        return []
    kept = layer.path.with_name(layer.path.name + _KEPT)
    if kept.is_file():
        return orjson.loads(kept.read_bytes())
    with tarfile_bytes(layer.path) as raw, tarfile.open(fileobj=raw, mode="r|", bufsize=_BLOCK) as tar:
        found = [each for member in tar for each in _components(tar, member)]
    draft = kept.with_name(f".{kept.name}")
    with room_or_clean(draft):
        draft.write_bytes(canonical_json(found))
        draft.replace(kept)
    return found


def package(name: str, version: str, licences: list[dict[str, Any]]) -> Component:
    """A Python package; `licences` as CycloneDX writes them."""
    reference = f"pkg:pypi/{name.lower().replace('_', '-').replace('.', '-')}@{version}"
    found: Component = {
        "type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference,
    }  # fmt: skip
    return found | {"licenses": licences} if licences else found


def licences_of(head: Message) -> list[dict[str, Any]]:
    """What a package's metadata says of its licence (PEP 639): an SPDX expression, else a name, else classifiers."""
    if expression := head.get("License-Expression"):
        return [{"expression": expression}]
    named = str(head.get("License") or "")
    classified = [each.removeprefix(_CLASSIFIER) for each in head.get_all("Classifier", []) if _CLASSIFIER in each]
    return [{"license": {"name": each}} for each in ([named] if 0 < len(named) < _LONGEST else classified)]


def interpreter(version: str) -> Component:
    """The Python that runs in the image."""
    reference = f"pkg:generic/python@{version}"
    return {"type": "platform", "bom-ref": reference, "name": "python", "version": version, "purl": reference}


def _components(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Iterator[Component]:
    name = member.name.removeprefix("./")
    if not member.isreg():
        return
    if name.startswith(_SITE) and name.endswith(".dist-info/METADATA"):
        head = BytesHeaderParser().parsebytes(_content(tar, member).read())
        yield package(str(head["Name"]), str(head["Version"]), licences_of(head))
    elif name == _CARD:
        yield _model(orjson.loads(_content(tar, member).read()))
    elif name == _DPKG:
        yield from _debian(_content(tar, member).read())
    elif name.startswith(_SYSTEM) and ".so" in name and "/python3" not in name:
        sha256 = hashlib.file_digest(_content(tar, member), "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
        yield {"type": "file", "bom-ref": f"file:/{name}", "name": f"/{name}", "hashes": _sha256(sha256)}


def _model(card: dict[str, Any]) -> Component:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{card['weights_digest']}",
        "name": card["model"],
        "version": card["revision"],
        "hashes": _sha256(card["weights_digest"].removeprefix("sha256:")),
    }


def _debian(status: bytes) -> Iterator[Component]:
    for paragraph in status.split(b"\n\n"):
        fields = BytesHeaderParser().parsebytes(paragraph.strip())
        name, version = fields.get("Package"), fields.get("Version")
        if name and version and "installed" in str(fields.get("Status")).split():
            reference = f"pkg:deb/debian/{name}@{version}"
            yield {"type": "library", "bom-ref": reference, "name": name, "version": version, "purl": reference}


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = tar.extractfile(member)
    assert file is not None  # noqa: S101 - a regular member has content
    return file


def _sha256(value: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": value}]


def forget(blob: Path) -> None:
    """Remove what was kept beside a layer that is removed."""
    blob.with_name(blob.name + _KEPT).unlink(missing_ok=True)
