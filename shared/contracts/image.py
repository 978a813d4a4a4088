"""Customer images: digests, sizes and places. Holds no content."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest

Compression = Literal["gzip", "zstd"]
"""Of an image's layers. Docker reads zstd since version 23."""

PINNED = r"docker://(?P<host>[a-z0-9.-]+(:[0-9]{1,5})?)/(?P<name>[a-z0-9]+([._/-][a-z0-9]+)*)@(?P<digest>sha256:[0-9a-f]{64})"
"""How an image in a registry is named, whole: by the digest of its manifest or of an index of several architectures."""

Architecture = Literal["amd64", "arm64"]

Builder = Literal["assembled", "engine"]
"""What puts an image's layers together: this program, which needs nothing, or a container engine by a Dockerfile."""


class ImageLayer(Contract):
    """One layer of an image."""

    kind: str
    digest: Digest
    size_bytes: int = Field(ge=0)


class ImageVariant(Contract):
    """The image for one architecture of several: its platform layers below the content that all share."""

    architecture: Architecture
    manifest_digest: Digest
    image_id: Digest
    layers: list[ImageLayer]


class ImageBuilt(Contract):
    """An assembled image: one tar that is an OCI layout and a docker archive.

    `image_id` and `layers` are of the architecture of the machine that built it.
    """

    customer_id: CustomerId
    tag: str
    manifest_digest: Digest = Field(description="Of the manifest; where there are variants, of their index.")
    architecture: Architecture = "amd64"
    variants: list[ImageVariant] = Field(default_factory=list, description="Where there are several, each of them.")
    image_id: Digest
    archive_digest: Digest = Field(description="SHA-256 of the tar.")
    size_bytes: int = Field(ge=0)
    layers: list[ImageLayer]
    dataset_digest: Digest
    fingerprint: Digest
    method: Builder
    compression: Compression = "gzip"
    seconds: float = Field(ge=0)

    @property
    def image_ids(self) -> dict[str, str]:
        """The ids by architecture."""
        return {each.architecture: each.image_id for each in self.variants} or {self.architecture: self.image_id}


class ImageArchived(Contract):
    """An image in the archive that refuses overwriting and deletion."""

    customer_id: CustomerId
    tag: str
    archive_digest: Digest
    location: str = Field(description="In the archive, encrypted with the customer's key.")
    image: str = Field("", description="The image's folder in the customer's bucket.")
    already_there: bool


Companion = Literal["neo4j"]
"""A service that a delivery can bring beside the instance. Postgres and S3 are none: an instance talks to neither."""


class DeliveryPackage(Contract):
    """The folder that is handed to the customer."""

    customer_id: CustomerId
    tag: str
    location: str
    tar: str | None = Field(None, description="The folder as one file, where it was asked for.")
    files: int = Field(ge=0)
    size_bytes: int = Field(ge=0)


class UpdateMade(Contract):
    """A signed dataset delta for instances that hold `base_digest`."""

    customer_id: CustomerId
    base_digest: Digest
    dataset_digest: Digest
    update_digest: Digest = Field(description="SHA-256 of the file.")
    location: str
    size_bytes: int = Field(ge=0)
    changed: int = Field(ge=0, description="Documents that are new or changed.")
    removed: int = Field(ge=0)
