"""Customer images for tests: a small dataset with real vectors, built the way cradle builds it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from servers.cradle.embedding.export import exported
from servers.cradle.embedding.models import resolve
from servers.cradle.images.assemble import assemble
from servers.cradle.images.base import architecture
from servers.cradle.images.build import Means, Sources, Stored, build_image, digests_of, model_entries
from servers.cradle.images.engine import Engine, reachable
from servers.cradle.images.evidence import write_evidence
from servers.cradle.images.layers import Entry, write_layer
from servers.cradle.images.prepared import model_layer, prepared_layers
from servers.cradle.images.sbom import components
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.installations.probes import PROBES, Probes
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import InstanceConfig
from shared.dataset.freeze import frozen_files
from shared.dataset.manifest import DatasetModel, Manifest
from shared.dataset.rows import ChunkRow, DocumentBundle, DocumentParts, DocumentRow, chunk_id, document_id
from shared.dataset.writer import DatasetWriter
from shared.encoder import Encoder
from shared.ids import canonical_json, digest
from shared.settings import Settings

FINGERPRINT = digest(b"parameters of the image tests")
TEXTS = {
    "anleitung.pdf": "Das Anzugsdrehmoment der Reihenklemme RK 4 beträgt 0,6 Nm.",
    "leuchte.pdf": "Die Hallenleuchte HL-240-50 hat die Schutzart IP66 und wiegt 4,1 kg.",
    "manual.txt": "The power supply NT-24-10 derates by 2.5 % per kelvin above 55 °C.",
}
QUESTION, ANSWER = "Welches Drehmoment gilt für die Reihenklemme?", "0,6 Nm"
NO_ENGINE = "unix:///none.sock"


@cache
def encoder_of(model: Path) -> Encoder:
    """A model in this process; to compile it takes 0.3 s of a processor, once."""
    return Encoder(model)


def bundle(path: str, text: str, encoder: Encoder) -> DocumentBundle:
    """A document of one passage."""
    doc = document_id(path)
    chunk = ChunkRow(
        chunk_id(doc, 0), doc, 0, text, 1, page=1, heading_path="", kind="text", language="de", end=len(text),
        tokens=len(text.split()), product_id="",
    )  # fmt: skip
    row = DocumentRow(
        doc, path, "sha256:" + hashlib.sha256(text.encode()).hexdigest(), len(text), "application/pdf", "processed", 1,
        title=path, language="de", pages=1, chunks=1, tokens=chunk.tokens,
    )  # fmt: skip
    return DocumentBundle(row, DocumentParts([chunk], encoder.encode([text])))


async def write_dataset(root: Path, texts: dict[str, str], model: Path) -> Manifest:
    """The dataset of these documents at `root`; documents that are there already and not named are kept."""
    encoder = encoder_of(model)
    card = encoder.card
    about = DatasetModel(
        model=card.model, revision=card.revision, dimension=card.dimension,
        query_prefix=card.query_prefix, passage_prefix=card.passage_prefix, normalize=card.normalize,
    )  # fmt: skip
    async with DatasetWriter(str(root), card.dimension) as writer:
        await writer.replace_documents([bundle(path, text, encoder) for path, text in texts.items()])
        return await writer.commit(parameter_version=1, fingerprint=FINGERPRINT, model=about)


@dataclass(frozen=True)
class CustomerImage:
    """A built image: the customer's bucket, what it was built to, and what came of it."""

    bucket: Path
    spec: ImageSpec
    built: ImageBuilt
    signer: Signer

    @property
    def tar(self) -> Path:
        return self.folder / "image.tar"

    @property
    def folder(self) -> Path:
        return self.bucket / "images" / self.spec.tag


async def build(
    bucket: Path, cache: Path, model: Path, *, customer: str = "acme", tag: str = "p1-one", method: str = "assembled"
) -> CustomerImage:
    """The image of the dataset in the bucket."""
    async with DatasetWriter(str(bucket / "dataset"), encoder_of(model).dimension) as writer:
        manifest = await writer.manifest()
    assert manifest is not None
    config = InstanceConfig(
        customer_id=customer, company_name="Müller & Söhne KG", tag=tag, fingerprint=manifest.fingerprint,
        dataset_digest=manifest.dataset_digest, parameter_version=1,
    )  # fmt: skip
    spec = ImageSpec(
        customer_id=customer, tag=tag, fingerprint=manifest.fingerprint, dataset_digest=manifest.dataset_digest,
        architecture=architecture(),
    )  # fmt: skip
    sources = Sources(model, frozen_files(bucket / "dataset"), canonical_json(config.model_dump(mode="json")))
    signer = Signer.open(bucket.with_name(bucket.name + "-keys"))
    means = Means(cache, signer, method=method, docker_host=os.environ.get("DOCKER_HOST"))
    built = await build_image(spec, sources, bucket, means)
    return CustomerImage(bucket, spec, built, signer)


def probes_of(model: Path) -> Probes:
    """What an installation with this model stored."""
    encoder = encoder_of(model)
    return Probes(PROBES, np.stack([encoder.encode([text], kind)[0] for kind, text in PROBES]))


@contextmanager
def _one_worker(config: pytest.Config, name: str) -> Iterator[Path]:
    """A folder of pytest's cache, while no other worker makes what belongs into it."""
    folder = config.cache.mkdir(name)
    with (config.cache.mkdir("locks") / name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


def _link(source: str, target: str) -> None:
    """The same file under another name: nothing writes into a model or a layer once it is there."""
    with suppress(FileNotFoundError):  # an older layer, which a test of another worker has made room of just now
        try:
            os.link(source, target)
        except OSError:  # another file system
            shutil.copyfile(source, target)


def linked(source: Path, target: Path) -> None:
    """A folder of models or layers at a second place, without what is being made in it."""
    shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns(".*"))


@pytest.fixture(scope="session")
def query_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model, exported; kept in pytest's cache."""
    with _one_worker(request.config, "models") as models:
        settings = Settings(home=tmp_path_factory.mktemp("model-home"), model_cache=models)
        return asyncio.run(exported(settings, resolve(settings)))


@pytest.fixture(scope="session")
def layer_cache(request: pytest.FixtureRequest) -> Path:
    """The layers that hold nothing of a customer, in pytest's cache; they are found by what they are made of."""
    with _one_worker(request.config, "layers") as layers:
        for layer in prepared_layers(layers, None, architecture()):
            components(layer)  # kept beside it: else each platform that gets a copy lists them for itself
        return layers


@pytest.fixture(scope="session")
def layers_in_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, query_model: Path, layer_cache: Path
) -> Iterator[None]:
    """The model and these layers stay in the engine, if there is one, as they do where an instance is deployed. This
    loads them into it from nothing; with each image alone, it would unpack 800 MB for each check (12 s of a processor).
    """
    host = os.environ.get("DOCKER_HOST")
    if not host or not reachable(host):
        yield
        return
    with Engine.connect(host) as engine:
        with _one_worker(request.config, "engine"):
            name = _loaded(engine, query_model, layer_cache, tmp_path_factory.mktemp("layers"))
        yield
        engine.drop_image(name)


def _loaded(engine: Engine, model: Path, cache: Path, work: Path) -> str:
    """The name of an image in the engine that holds these layers and no customer's."""
    from docker.errors import ImageNotFound

    files = model_entries(model)
    layers = [*prepared_layers(cache, None, architecture()), model_layer(cache, files, digests_of(files))]
    made_of = digest("".join(layer.diff_id for layer in layers).encode())
    repository, tag = "0711-tests/layers", made_of.removeprefix("sha256:")[:12]
    with suppress(ImageNotFound):
        engine.api.inspect_image(f"{repository}:{tag}")
        return f"{repository}:{tag}"
    spec = ImageSpec(customer_id="tests", tag="p1-layers", fingerprint=FINGERPRINT, dataset_digest=made_of)
    written = assemble(spec, layers, work / "image.tar")
    engine.api.tag(engine.load(work / "image.tar", written.image_id), repository, tag)
    engine.api.remove_image(spec.reference)
    for file in work.iterdir():
        file.unlink()
    return f"{repository}:{tag}"


@pytest.fixture(scope="session")
def made_before(query_model: Path, layer_cache: Path, layers_in_engine: None) -> dict[str, Path]:
    """What a platform that has built an image before has in its home: the model and these layers, by their places."""
    return {f"models/openvino/{query_model.name}": query_model, "cache/layers": layer_cache}


@pytest.fixture(scope="session")
def customer_image(tmp_path_factory: pytest.TempPathFactory, query_model: Path, layer_cache: Path) -> CustomerImage:
    """The image of the customer `acme`. Read it; do not change its bucket."""
    bucket = tmp_path_factory.mktemp("bucket")

    async def make() -> CustomerImage:
        await write_dataset(bucket / "dataset", TEXTS, query_model)
        return await build(bucket, layer_cache, query_model)

    return asyncio.run(make())


def small_image(
    bucket: Path, signer: Signer, *, customer: str = "acme", tag: str = "p1-small", first: int = 0
) -> CustomerImage:
    """A signed image of one layer with four megabytes that do not compress: what archive and delivery work on. `first`:
    another content under the same tag, as a newer platform would build it."""
    spec = ImageSpec(
        customer_id=customer, tag=tag, fingerprint=FINGERPRINT, dataset_digest=digest(f"{customer} {tag}".encode())
    )
    folder = bucket / "images" / tag
    folder.mkdir(parents=True)
    noise = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(first, first + (1 << 17)))
    layer = write_layer("vectors", [Entry("data/vectors/noise", noise)], folder)
    written = assemble(spec, [layer], folder / "image.tar")
    layer.path.unlink()
    write_evidence(folder, spec, [layer], written, spec.dataset_digest, False, signer)
    built = ImageBuilt(
        customer_id=customer, tag=tag, manifest_digest=written.manifest_digest, image_id=written.image_id,
        archive_digest=written.archive_digest, size_bytes=written.size, layers=[layer.contract()],
        dataset_digest=spec.dataset_digest, fingerprint=FINGERPRINT, method="assembled", seconds=0,
    )  # fmt: skip
    (folder / "image.json").write_bytes(Stored(inputs=spec.dataset_digest, built=built).model_dump_json().encode())
    return CustomerImage(bucket, spec, built, signer)


def unpack_frozen(root: Path, target: Path) -> Path:
    """The frozen copy of a dataset, as an image holds it."""
    for name, content in frozen_files(root):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    return target


def told_by_the_schema(bill: str) -> object | None:
    """What CycloneDX's own schema has against a bill of materials. Its packages take seconds to load."""
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill)
