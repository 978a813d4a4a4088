"""A customer image assembled, against the same layers built and saved by a container engine, in one run.

    python benchmarks/image.py [MEGABYTES]      DOCKER_HOST names the engine; without one only our half is printed

Ours: layers, image tar, bill of materials, signatures. Theirs: `docker build` from a Dockerfile that copies the same
files, and `docker save | gzip -6`. Data: vectors of random floats (they do not compress) and text (it does).
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from servers.cradle.images.archive import Archive
from servers.cradle.images.assemble import assemble
from servers.cradle.images.build import RECORD, Stored
from servers.cradle.images.engine import reachable
from servers.cradle.images.evidence import write_evidence
from servers.cradle.images.layers import Entry, write_layer
from servers.cradle.images.package import package_delivery
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from shared.contracts.image import ImageBuilt
from shared.ids import digest

MIB = 2**20


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


def main() -> None:
    """Prints seconds, ratio, sizes, and whether two runs from different folders gave the same bytes."""
    import asyncio

    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
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
        print(f"data {size} MiB, image.tar {built.size_bytes / MIB:.0f} MiB")
        print(
            f"ours: assemble {assembled:.1f} s, archive {archived:.1f} s, package {total - assembled - archived:.1f} s"
        )
        print(f"two runs from different folders byte-identical: {again.archive_digest == built.archive_digest}")
        if not reachable(None):
            print("docker: no engine answers at DOCKER_HOST, not measured")
            return
        engine = theirs(source, root / "theirs.tar.gz")
        print(f"docker build + save | gzip: {engine:.1f} s, {(root / 'theirs.tar.gz').stat().st_size / MIB:.0f} MiB")
        print(f"ratio ours (all three) / docker: {total / engine:.2f} (goal 0.2)")


if __name__ == "__main__":
    main()
