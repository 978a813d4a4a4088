"""Build an image: its layers by kind, then one tar, visible under its tag only when it is whole.

In the customer's bucket: `images/<tag>/` holds `image.tar`, `image.json` and the files of `evidence`. While it is
built, everything of the customer lies in a hidden folder beside it, never in a temp folder of the machine.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from servers.cradle.images.assemble import Assembled, assemble
from servers.cradle.images.evidence import FILES, write_evidence
from servers.cradle.images.files import sweep, work_name
from servers.cradle.images.layers import Entry, Layer, room_or_clean, write_layer
from servers.cradle.images.prepared import model_layer, prepared_layers
from servers.cradle.images.registry import Pinned
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import STATE, ImageSpec
from shared.contracts.image import Architecture, Builder, Compression, ImageBuilt
from shared.contracts.model import Contract
from shared.durable import sync_folder
from shared.errors import InvalidInput, NotFound
from shared.ids import Digest, canonical_digest, digest
from shared.stopping import stoppable

Variants = Mapping[Architecture, Sequence[Layer]]
"""The layers for further architectures, lowest first."""

IMAGE, RECORD = "image.tar", "image.json"
_CONTENT_KINDS = ("vectors", "tables", "graph")


@dataclass(frozen=True, slots=True)
class Sources:
    """What an image is made of, besides the platform's own layers.

    Args:
        model: folder of the exported encoder.
        dataset: names relative to the dataset's root, with contents: what `shared.dataset.freeze` gives.
        config: the instance's configuration as JSON; becomes `/app/instance.json`.
    """

    model: Path
    dataset: Iterable[tuple[str, Path | bytes]]
    config: bytes


class Stored(Contract):
    """`image.json`: what was built, and the digest of everything that it was made of."""

    inputs: Digest
    built: ImageBuilt


@dataclass(frozen=True, slots=True)
class Means:
    """What builds an image, the same for every customer.

    Args:
        cache: folder of layers without customer content, shared by all customers.
        signer: the key that signs the image and what is said of it.
        base_image: a root file system tar, or an image in a registry, to build on instead of the running Python.
        docker_host: container engine for `method="engine"`.
        method: `assembled` needs nothing; `engine` lets the container engine build the same layers.
        others: further architectures of the same image, on a base in a registry that has them; `assembled` only.
    """

    cache: Path
    signer: Signer
    base_image: Path | Pinned | None = None
    docker_host: str | None = None
    method: Builder = "assembled"
    others: Sequence[Architecture] = ()


async def build_image(spec: ImageSpec, sources: Sources, bucket: Path, means: Means) -> ImageBuilt:
    """Build the image and put it at `bucket/images/<tag>/`. The same inputs give the same digests.

    An image that was built of the same inputs before is returned as it is; one of other inputs under the same tag is
    replaced (what was delivered is in the archive, which refuses that).

    Args:
        bucket: the customer's folder.

    Raises:
        InvalidInput: a file's name does not belong into an image, or the base does not fit an architecture.
        NotFound: the model's folder is missing.
        Unavailable: this machine cannot give a base, or no engine answers; says what to do.
        StorageFull: no room; nothing is left behind.
    """
    return await stoppable(_build, spec, sources, bucket, means)


def _build(spec: ImageSpec, sources: Sources, bucket: Path, means: Means) -> ImageBuilt:
    started = time.monotonic()
    others: list[Architecture] = [each for each in dict.fromkeys(means.others) if each != spec.architecture]
    if means.method == "engine" and spec.compression != "gzip":
        raise InvalidInput("An engine builds of layers in gzip. Build it by `assembled`.", field="method")
    if means.method == "engine" and others:
        raise InvalidInput("An engine builds for its own architecture. Build it by `assembled`.", field="method")
    model = model_entries(sources.model)
    prepared: dict[Architecture, list[Layer]] = {
        each: prepared_layers(means.cache, means.base_image, each, spec.compression)
        for each in (spec.architecture, *others)
    }
    digests = digests_of(model)
    inputs = _inputs_digest(spec, sources.config, digests, prepared, means)
    images = bucket / "images"
    final = images / spec.tag
    if (stored := _stored(final)) is not None and stored.inputs == inputs:
        return stored.built
    images.mkdir(parents=True, exist_ok=True)
    sweep(images)
    work = images / work_name(f".building-{spec.tag}")
    work.mkdir(mode=0o700)
    try:
        with room_or_clean(at=images):
            encoder = model_layer(means.cache, model, digests, spec.compression)
            content = _content_layers(sources, work, spec.compression)
            layers = [*prepared[spec.architecture], encoder, *content]
            variants: Variants = {each: [*prepared[each], encoder, *content] for each in others}
            written = _write(spec, layers, variants, work / IMAGE, means)
            write_evidence(work, spec, layers, written, inputs, means.base_image is None, means.signer)
            built = _contract(spec, layers, written, means.method, time.monotonic() - started)
            (work / RECORD).write_bytes(Stored(inputs=inputs, built=built).model_dump_json(indent=2).encode())
            for layer in content:
                layer.path.unlink(missing_ok=True)  # two of the same content are one file
            publish(work, final)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return built


def built_image(bucket: Path, tag: str) -> tuple[ImageBuilt, Path]:
    """What was built under a tag, and the path of its tar; blocking.

    Raises:
        NotFound: nothing was, or not to its end.
    """
    folder = bucket / "images" / tag
    stored = _stored(folder)
    if stored is None:
        raise NotFound("There is no image with this tag. Build it first.", field="tag")
    return stored.built, folder / IMAGE


def model_entries(folder: Path) -> list[Entry]:
    """The encoder's files, under `/model`.

    Raises:
        NotFound: the folder is missing or empty.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else []
    if not files:
        raise NotFound("The exported embedding model is missing. Start cradle's embedding service and call again.")
    return [Entry(f"model/{path.relative_to(folder).as_posix()}", path.resolve()) for path in files]


def digests_of(files: list[Entry]) -> dict[str, str]:
    """Name → SHA-256 of files on disk."""
    return {entry.name: digest(entry.source.read_bytes()) for entry in files if isinstance(entry.source, Path)}


def _content_layers(sources: Sources, work: Path, compression: Compression) -> list[Layer]:
    written = partial(write_layer, folder=work, compression=compression)
    groups: dict[str, list[Entry]] = {kind: [] for kind in _CONTENT_KINDS}
    # a volume takes the mode of the folder that it covers; the instance's user is not known to a layer
    config = [Entry("app/instance.json", sources.config), Entry(STATE.lstrip("/"), mode=0o1777)]
    for name, content in sources.dataset:
        groups.get(name.split("/", 1)[0], config).append(Entry(f"data/{name}", content))
    layers = [written(kind, groups[kind]) for kind in _CONTENT_KINDS if groups[kind]]
    return [*layers, written("config", config)]


def _write(spec: ImageSpec, layers: list[Layer], variants: Variants, target: Path, means: Means) -> Assembled:
    if means.method == "assembled":
        return assemble(spec, layers, target, variants)
    from servers.cradle.images.engine import Engine

    with Engine.connect(means.docker_host) as engine:
        return engine.build(spec, layers, target)


def _contract(spec: ImageSpec, layers: list[Layer], written: Assembled, method: Builder, seconds: float) -> ImageBuilt:
    return ImageBuilt(
        customer_id=spec.customer_id,
        tag=spec.tag,
        manifest_digest=written.manifest_digest,
        architecture=spec.architecture,
        variants=[each.contract() for each in written.variants],
        image_id=written.image_id,
        archive_digest=written.archive_digest,
        size_bytes=written.size,
        layers=[layer.contract() for layer in layers],
        dataset_digest=spec.dataset_digest,
        fingerprint=spec.fingerprint,
        method=method,
        compression=spec.compression,
        seconds=round(seconds, 3),
    )


def _inputs_digest(
    spec: ImageSpec, config: bytes, model: dict[str, str], prepared: Mapping[Architecture, list[Layer]], means: Means
) -> str:
    return canonical_digest(
        {
            "spec": spec.model_dump(mode="json"),
            "config": digest(config),
            "model": model,
            "layers": {architecture: [layer.digest for layer in layers] for architecture, layers in prepared.items()},
            "method": means.method,
            "key": means.signer.verifier.key_id,
        }
    )


def _stored(folder: Path) -> Stored | None:
    try:
        stored = Stored.model_validate_json((folder / RECORD).read_bytes())
        whole = (folder / IMAGE).stat().st_size == stored.built.size_bytes
        whole = whole and all((folder / name).is_file() for name in FILES)
    except (OSError, ValidationError):
        return None
    return stored if whole else None


def publish(work: Path, final: Path) -> None:
    """Give a whole folder its name. One that had it before is set aside first and removed after."""
    if final.exists():
        aside = final.with_name(f".replaced-{final.name}-{os.urandom(4).hex()}")
        final.rename(aside)
        work.rename(final)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        work.rename(final)
    sync_folder(final.parent)
