"""The delivery package: one folder for a person who only knows Docker. Holds no secret: the first start makes them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from pathlib import Path

from servers.cradle.images.build import IMAGE, built_image, publish, sweep
from servers.cradle.images.files import hash_file, share, write_new
from servers.cradle.images.layers import room_or_clean
from servers.cradle.images.render import compose, delivery
from servers.cradle.images.spec import ImageSpec
from shared.contracts.image import DeliveryPackage
from shared.errors import Conflict

_SCRIPTS = ("start.sh", "verify.sh")


async def package_delivery(bucket: Path, tag: str, spec: ImageSpec) -> DeliveryPackage:
    """Put the delivery of a built image at `bucket/delivery/<tag>/`; one that is there is replaced.

    Args:
        spec: what the image was built to.

    Raises:
        NotFound: there is no image with this tag.
        Conflict: the built file is not what was built.
        StorageFull: no room; nothing is left behind.
    """
    return await asyncio.to_thread(_package, bucket, tag, spec)


def _package(bucket: Path, tag: str, spec: ImageSpec) -> DeliveryPackage:
    built, image = built_image(bucket, tag)
    if (built.customer_id, built.tag, built.dataset_digest) != (spec.customer_id, spec.tag, spec.dataset_digest):
        raise Conflict("The image under this tag was built to another specification. Build it again.", field="tag")
    deliveries = bucket / "delivery"
    deliveries.mkdir(parents=True, exist_ok=True)
    sweep(deliveries)
    work = deliveries / f".building-{tag}-{os.getpid()}-{os.urandom(4).hex()}"
    work.mkdir(mode=0o755)
    try:
        with room_or_clean():
            share(image, work / IMAGE)
            if "sha256:" + hash_file(work / IMAGE) != built.archive_digest:
                raise Conflict("The built image was altered after it was built. Build it again.", field="tag")
            texts = {name: delivery(name, spec, built) for name in ("README.md", *_SCRIPTS)}
            texts["docker-compose.yml"] = compose(spec)
            sums = {IMAGE: built.archive_digest.removeprefix("sha256:")}
            for name, text in texts.items():
                write_new(work / name, text.encode())
                sums[name] = hashlib.sha256(text.encode()).hexdigest()
            for name in _SCRIPTS:
                (work / name).chmod(0o755)
            write_new(work / "SHA256SUMS", "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode())
            sizes = [path.stat().st_size for path in work.iterdir()]
            publish(work, deliveries / tag)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return DeliveryPackage(
        customer_id=spec.customer_id,
        tag=tag,
        location=str(deliveries / tag),
        files=len(sizes),
        size_bytes=sum(sizes),
    )
