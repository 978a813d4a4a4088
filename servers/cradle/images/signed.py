"""The one door to a deployment: only an image that this platform signed for this customer passes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from servers.cradle.images.build import IMAGE, built_image
from servers.cradle.images.signing import SIGNATURE, SignedBy
from shared.contracts.image import ImageBuilt
from shared.errors import Conflict
from shared.ids import digest_file
from shared.signatures import Verifier


@dataclass(frozen=True, slots=True)
class SignedImage:
    """An image whose file, record and signature fit each other."""

    tar: Path
    built: ImageBuilt


def signed_image(bucket: Path, tag: str, customer_id: str, verifier: Verifier) -> SignedImage:
    """The image under a tag, checked whole: signer, customer, digests, and the file itself; blocking.

    Raises:
        NotFound: there is none.
        Conflict: unsigned, signed by another key, altered, or another customer's; says which.
    """
    folder = bucket / "images" / tag
    if (folder / IMAGE).is_file() and not (folder / SIGNATURE).is_file():
        raise Conflict("The image is not signed. Build it again; nothing was deployed.", field="tag")
    built, tar = built_image(bucket, tag)
    if built.customer_id != customer_id:
        raise Conflict("This is another customer's image. Nothing was deployed.", field="tag")
    SignedBy(verifier, f"0711/{customer_id}").verify(tar.parent, built.manifest_digest, built.archive_digest)
    if digest_file(tar) != built.archive_digest:
        raise Conflict("The image was altered after it was signed. Build it again; nothing was deployed.", field="tag")
    return SignedImage(tar, built)
