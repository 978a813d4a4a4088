"""A customer image, from its files to a running instance.

    make bench-image                          256 MiB of data
    make bench-image BENCH="--megabytes 1024"

In one run: assemble, archive and package against `docker build` and `docker save | gzip -6` of the same files; load
time; whether two runs from different folders give the same bytes; the size of an update that brings one per cent new
documents; seconds from a start to healthy. DOCKER_HOST names the engine; without one only our half is printed. Data:
vectors of random floats (they hardly compress) and text (it does).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from servers.cradle.images.archive import Archive
from servers.cradle.images.assemble import assemble
from servers.cradle.images.base import architecture
from servers.cradle.images.build import RECORD, Means, Sources, Stored, build_image
from servers.cradle.images.engine import reachable
from servers.cradle.images.evidence import write_evidence
from servers.cradle.images.layers import Entry, write_layer
from servers.cradle.images.package import package_delivery
from servers.cradle.images.running import running_instance
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.updates import DeliveredDataset, make_update
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import InstanceConfig
from shared.dataset.delta import ledger
from shared.dataset.freeze import frozen_files
from shared.dataset.manifest import DatasetModel, Manifest
from shared.dataset.places import Place
from shared.dataset.rows import ChunkRow, DocumentBundle, DocumentParts, DocumentRow, chunk_id, document_id
from shared.dataset.writer import DatasetWriter
from shared.ids import canonical_json, digest
from shared.settings import Settings

MIB = 2**20
DOCUMENTS, PASSAGES = 2_000, 10
NO_ENGINE = "unix:///none.sock"
STARTS = 3


def data(folder: Path, size: int) -> None:
    """Three quarters vectors, one quarter text, in files of eight megabytes."""
    draw = random.Random(711)
    words = [hashlib.sha256(b"%d" % number).hexdigest()[: draw.randint(3, 11)] for number in range(20_000)]
    for number in range(max(1, size // 8)):
        path = folder / f"{number:04}.bin"
        if number % 4:
            path.write_bytes(draw.randbytes(8 * MIB))
        else:
            path.write_text(" ".join(draw.choices(words, k=8 * MIB // 8))[: 8 * MIB])


def ours(source: Path, bucket: Path, signer: Signer) -> tuple[ImageSpec, ImageBuilt]:
    """Layer, image, evidence: what `build_image` does with a customer's files."""
    spec = ImageSpec(
        customer_id="bench", tag=bucket.name, fingerprint=digest(b"parameters"), dataset_digest=digest(b"dataset")
    )
    folder = bucket / "images" / spec.tag
    folder.mkdir(parents=True)
    layer = write_layer("vectors", [Entry(f"data/{path.name}", path) for path in source.iterdir()], folder)
    written = assemble(spec, [layer], folder / "image.tar")
    layer.path.unlink()
    write_evidence(folder, spec, [layer], written, spec.dataset_digest, False, signer)
    built = ImageBuilt(
        customer_id=spec.customer_id, tag=spec.tag, manifest_digest=written.manifest_digest,
        image_id=written.image_id, archive_digest=written.archive_digest, size_bytes=written.size,
        layers=[layer.contract()], dataset_digest=spec.dataset_digest, fingerprint=spec.fingerprint,
        method="assembled", seconds=0,
    )  # fmt: skip
    (folder / RECORD).write_bytes(Stored(inputs=spec.dataset_digest, built=built).model_dump_json().encode())
    return spec, built


def theirs(source: Path, target: Path) -> float:
    """Seconds of `docker build` and `docker save | gzip`."""
    (source / "Dockerfile").write_text("FROM scratch\nCOPY *.bin /data/\n")
    started = time.perf_counter()
    subprocess.run(
        ["docker", "build", "-q", "--no-cache", "-t", "bench/theirs", source], check=True, capture_output=True
    )
    with target.open("wb") as out:
        save = subprocess.Popen(["docker", "save", "bench/theirs"], stdout=subprocess.PIPE)
        subprocess.run(["gzip", "-6"], stdin=save.stdout, stdout=out, check=True)
        save.wait()
    seconds = time.perf_counter() - started
    subprocess.run(["docker", "image", "rm", "-f", "bench/theirs"], check=True, capture_output=True)
    return seconds


def compare(root: Path, size: int) -> None:
    """Ours against the engine's, and whether two runs from different folders gave the same bytes."""
    source = root / "source"
    source.mkdir()
    data(source, size)
    signer = Signer.open(root / "keys")
    archive = Archive(root / "archive", root / "keys" / "customers", signer.verifier)
    started = time.perf_counter()
    spec, built = ours(source, root / "one" / "p1", signer)
    assembled = time.perf_counter() - started
    asyncio.run(archive.keep(root / "one" / "p1", spec.tag))
    archived = time.perf_counter() - started - assembled
    asyncio.run(package_delivery(root / "one" / "p1", spec.tag, spec, signer))
    total = time.perf_counter() - started
    moved = shutil.copytree(source, root / "elsewhere")
    again = ours(moved, root / "two" / "p1", signer)[1]
    print(f"data {size} MiB, image.tar {built.size_bytes / MIB:.0f} MiB, load {os.getloadavg()[0]:.0f}")
    print(f"ours: assemble {assembled:.1f} s, archive {archived:.1f} s, package {total - assembled - archived:.1f} s")
    print(f"two runs from different folders byte-identical: {again.archive_digest == built.archive_digest}")
    if not reachable(None):
        print("docker: no engine answers at DOCKER_HOST, not measured")
        return
    engine = theirs(source, root / "theirs.tar.gz")
    print(f"docker build + save | gzip: {engine:.1f} s, {(root / 'theirs.tar.gz').stat().st_size / MIB:.0f} MiB")
    print(f"ratio ours (all three) / docker: {total / engine:.2f} (goal 0.2)")
    started = time.perf_counter()
    subprocess.run(["docker", "load", "-qi", root / "one/p1/images/p1/image.tar"], check=True, capture_output=True)
    print(f"docker load of ours: {time.perf_counter() - started:.1f} s")
    subprocess.run(["docker", "image", "rm", "-f", spec.reference], check=True, capture_output=True)


def documents(numbers: range, dimension: int) -> list[DocumentBundle]:
    """Documents of made-up words and random vectors; the same for the same number."""
    found = []
    for number in numbers:
        draw = np.random.default_rng(number)
        name = f"document-{number}.txt"
        doc = document_id(name)
        chunks = []
        for place in range(PASSAGES):
            text = " ".join(f"w{word}" for word in draw.integers(0, 30_000, 120))
            chunks.append(
                ChunkRow(
                    chunk_id(doc, place),
                    doc,
                    place,
                    text,
                    1,
                    page=1,
                    heading_path="",
                    kind="text",
                    language="de",
                    end=len(text),
                    tokens=120,
                    product_id="",
                )
            )
        row = DocumentRow(
            doc, name, digest(name.encode()), 1000, "text/plain", "processed", 1, title=name, language="de", pages=1,
            chunks=PASSAGES, tokens=120 * PASSAGES,
        )  # fmt: skip
        vectors = draw.standard_normal((PASSAGES, dimension), dtype=np.float32)
        found.append(DocumentBundle(row, DocumentParts(chunks, vectors)))
    return found


async def written(root: Path, numbers: range, about: DatasetModel) -> Manifest:
    """The dataset with these documents beside what it has."""
    async with DatasetWriter(str(root), about.dimension) as writer:
        for start in range(numbers.start, numbers.stop, 500):
            part = range(start, min(start + 500, numbers.stop))
            await writer.replace_documents(documents(part, about.dimension))
        return await writer.commit(parameter_version=1, fingerprint=digest(b"parameters"), model=about)


async def instance(root: Path) -> None:
    """A whole image: its size, an update of one per cent, and starts until healthy."""
    from servers.cradle.embedding.export import exported
    from servers.cradle.embedding.models import resolve
    from shared.encoder import read_card

    settings = Settings(home=root / "home", model_cache=root / "models")
    model = await exported(settings, resolve(settings))
    card = read_card(model)
    about = DatasetModel(
        model=card.model, revision=card.revision, dimension=card.dimension, query_prefix=card.query_prefix,
        passage_prefix=card.passage_prefix, normalize=card.normalize,
    )  # fmt: skip
    bucket, signer = root / "bucket", Signer.open(root / "keys")
    manifest = await written(bucket / "dataset", range(DOCUMENTS), about)
    spec = ImageSpec(
        customer_id="bench", tag="p1", fingerprint=manifest.fingerprint, dataset_digest=manifest.dataset_digest,
        architecture=architecture(),
    )  # fmt: skip
    config = InstanceConfig(
        customer_id="bench", company_name="Bench", tag="p1", fingerprint=spec.fingerprint,
        dataset_digest=spec.dataset_digest, parameter_version=1,
    )  # fmt: skip
    sources = Sources(model, frozen_files(bucket / "dataset"), canonical_json(config.model_dump(mode="json")))
    built = await build_image(spec, sources, bucket, Means(root / "layers", signer))
    customers = sum(each.size_bytes for each in built.layers if each.kind in ("vectors", "tables", "graph"))
    passages = DOCUMENTS * PASSAGES
    print(f"image of {passages} passages: {built.size_bytes / MIB:.0f} MiB, {customers / MIB:.0f} of it the customer's")
    dataset = Place(str(bucket / "dataset"))
    base = DeliveredDataset(spec.dataset_digest, ledger(dataset))
    newer = await written(bucket / "dataset", range(DOCUMENTS, DOCUMENTS + DOCUMENTS // 100), about)
    made = await make_update("bench", base, dataset, newer, bucket, signer)
    print(
        f"update, 1 % new documents: {made.size_bytes / MIB:.2f} MiB, {made.size_bytes / built.size_bytes:.2%} of the"
        f" image (goal 3 %), {made.size_bytes / customers:.2%} of the customer's layers"
    )
    (root / "scratch").mkdir()
    for engine in [None, NO_ENGINE] if reachable(None) else [NO_ENGINE]:
        taken = []
        for _ in range(STARTS):
            async with running_instance(bucket / "images/p1", root / "scratch", docker_host=engine) as started:
                taken.append(started.start_s)
        where = "container" if engine is None else "unpacked"
        print(
            f"start to healthy, {where}: {statistics.median(taken):.1f} s, fastest {min(taken):.1f} of {STARTS}"
            f" (goal 3), load {os.getloadavg()[0]:.0f}"
        )


def main() -> None:
    """Prints seconds, ratios and sizes."""
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("--megabytes", type=int, default=256, help="data that is built with both")
    size = given.parse_args().megabytes
    for part in (lambda root: compare(root, size), lambda root: asyncio.run(instance(root))):
        with tempfile.TemporaryDirectory() as name:
            part(Path(name))


if __name__ == "__main__":
    main()
