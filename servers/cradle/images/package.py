"""The delivery package: one folder (and one tar of it) for a person who only knows Docker. Holds no secret: the first
start makes them."""

from __future__ import annotations

import base64
import hashlib
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

from servers.cradle.images import evidence, neo4j_import
from servers.cradle.images.build import IMAGE, built_image, publish
from servers.cradle.images.files import new_file, share, sweep, work_name, write_new
from servers.cradle.images.layers import room_or_clean
from servers.cradle.images.render import compose, delivery, helm_chart
from servers.cradle.images.report import report_of
from servers.cradle.images.signing import SignedBy, Signer
from servers.cradle.images.spec import SOURCE_EPOCH, ImageSpec
from shared.contracts.image import Companion, DeliveryPackage, ImageBuilt
from shared.durable import sync_folder
from shared.errors import Conflict, InvalidInput
from shared.ids import digest_file
from shared.stopping import stop_if_told, stopped_first

SUMS, SUMS_SIGNATURE = "SHA256SUMS", "SHA256SUMS.sig"
CHART = "instance-chart.tgz"
_SCRIPTS = ("start.sh", "verify.sh")
_TEXTS = ("README.md", "kubernetes.yaml", "helm-values.yaml", *_SCRIPTS)


async def package_delivery(
    bucket: Path, tag: str, spec: ImageSpec, signer: Signer, *, as_tar: bool = False,
    companions: Sequence[Companion] = (),
) -> DeliveryPackage:  # fmt: skip
    """Put the delivery of a built image at `bucket/delivery/<tag>/`; one that is there is replaced.

    Args:
        spec: what the image was built to.
        signer: the key that signed the image; it signs the list of hashes too.
        as_tar: also write the folder as `bucket/delivery/<tag>.tar`.
        companions: services that the compose file brings beside the instance.

    Raises:
        NotFound: there is no image with this tag.
        Conflict: the built file is not what was built and signed.
        InvalidInput: a Neo4j is asked for, and the image holds no graph.
        StorageFull: no room; nothing is left behind.
    """
    return await stopped_first(_package, bucket, tag, spec, signer, as_tar, companions)


def _package(
    bucket: Path, tag: str, spec: ImageSpec, signer: Signer, as_tar: bool, companions: Sequence[Companion]
) -> DeliveryPackage:
    built, image = built_image(bucket, tag)
    if (built.customer_id, built.tag, built.dataset_digest) != (spec.customer_id, spec.tag, spec.dataset_digest):
        raise Conflict("The image under this tag was built to another specification. Build it again.", field="tag")
    SignedBy(signer.verifier, spec.repository).verify(image.parent, built.manifest_digest, built.archive_digest)
    deliveries = bucket / "delivery"
    deliveries.mkdir(parents=True, exist_ok=True)
    sweep(deliveries)
    work = deliveries / work_name(f".building-{tag}")
    work.mkdir(mode=0o755)
    tar = deliveries / f"{tag}.tar"
    try:
        with room_or_clean(at=deliveries):
            _fill(work, image, spec, built, signer, companions)
            sizes = [path.stat().st_size for path in work.iterdir()]
            stop_if_told()
            if as_tar:
                _write_tar(work, f"{spec.customer_id}-{tag}", tar)
            else:
                tar.unlink(missing_ok=True)  # of an earlier delivery under this tag
            publish(work, deliveries / tag)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return DeliveryPackage(
        customer_id=spec.customer_id,
        tag=tag,
        location=str(deliveries / tag),
        tar=str(tar) if as_tar else None,
        files=len(sizes),
        size_bytes=sum(sizes),
    )


def _fill(
    work: Path, image: Path, spec: ImageSpec, built: ImageBuilt, signer: Signer, companions: Sequence[Companion]
) -> None:
    share(image, work / IMAGE)
    if digest_file(work / IMAGE) != built.archive_digest:
        raise Conflict("The built image was altered after it was built. Build it again.", field="tag")
    texts = {name: delivery(name, spec, built, signer.verifier, companions) for name in _TEXTS}
    contents = {name: text.encode() for name, text in texts.items()}
    contents["docker-compose.yml"] = compose(spec, signer.verifier, companions).encode()
    contents |= {name: (image.parent / name).read_bytes() for name in evidence.FILES}
    contents |= report_of(image.parents[2], built)
    contents[CHART] = helm_chart()
    sums = {IMAGE: built.archive_digest.removeprefix("sha256:")}
    kinds = [layer.kind for layer in built.layers]
    if "neo4j" in companions and "graph" not in kinds:
        raise InvalidInput("This image holds no graph for a Neo4j. Package it without.", field="companions")
    if "graph" in kinds:  # for a Neo4j of the customer's own
        sums |= neo4j_import.neo4j_files(image, kinds.index("graph"), work)
        contents[neo4j_import.DATASET] = neo4j_import.dataset_node(built.dataset_digest)
        contents[neo4j_import.SCRIPT] = delivery(neo4j_import.SCRIPT, spec, built, signer.verifier).encode()
    for name, data in contents.items():
        write_new(work / name, data)
        sums[name] = hashlib.sha256(data).hexdigest()
    for name in contents:
        if name.endswith(".sh"):
            (work / name).chmod(0o755)
    listing = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    write_new(work / SUMS, listing)
    write_new(work / SUMS_SIGNATURE, base64.b64encode(signer.sign(listing)) + b"\n")
    sync_folder(work)


def _write_tar(folder: Path, name: str, target: Path) -> None:
    """The folder as one tar, whole or not there; the same for the same files."""
    draft = target.with_name(work_name(f".building-{target.name}"))
    with room_or_clean(draft):
        with new_file(draft) as raw, tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for path in sorted(folder.iterdir()):
                info = tarfile.TarInfo(f"{name}/{path.name}")
                info.size, info.mode, info.mtime = path.stat().st_size, path.stat().st_mode & 0o755, SOURCE_EPOCH
                with path.open("rb") as file:
                    tar.addfile(info, file)
        draft.replace(target)
