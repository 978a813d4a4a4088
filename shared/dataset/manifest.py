"""The manifest of a dataset: which version is visible, what it holds, and the digest that binds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.contracts.model import Contract
from shared.contracts.processing import Computed, Counts
from shared.dataset.places import Place
from shared.errors import Conflict, NotFound
from shared.ids import Digest

FORMAT: Literal[1] = 1
MANIFEST = "manifest.json"


class DatasetModel(Contract):
    """The embedding model whose vectors the dataset holds: what a query must be embedded with."""

    model: str
    revision: str
    dimension: int = Field(gt=0)
    query_prefix: str = ""
    passage_prefix: str = ""
    normalize: bool = True


class Pins(Contract):
    """Where the visible version lies: Delta versions by table, the Lance table's name, the folder of the graph."""

    tables: dict[str, int]
    vectors: str
    graph: str


class Manifest(Contract):
    """What is visible of a dataset. A dataset without this file is not there.

    `dataset_digest` is taken over the logical content, not over files: the rows of every table in the order of their
    keys, each as canonical JSON, and the fingerprint of the parameters. Vectors are left out: text and fingerprint
    decide them up to the last bits of floating point, which differ between devices, and two machines must agree on the
    digest. `dataset_version` counts commits and is None in a frozen copy, which depends on content alone; `computed`,
    which depends on the versions before, is not in one either.
    """

    format: Literal[1] = FORMAT
    dataset_version: int | None = Field(None, ge=1)
    dataset_digest: Digest
    table_digests: dict[str, Digest]
    parameter_version: int = Field(ge=1)
    fingerprint: Digest
    model: DatasetModel
    counts: Counts
    computed: Computed | None = None
    languages: dict[str, int] = Field(
        default_factory=dict, description="Language → passages; those in several count in each."
    )
    vector_index: bool = Field(False, description="A sketch of the vectors narrows the search.")
    pins: Pins


def visible(place: Place) -> Manifest | None:
    """The manifest at a dataset's root, None where there is none; blocking.

    Raises:
        Conflict: it is of a format that this release does not read.
    """
    raw = place.read(MANIFEST)
    if raw is None:
        return None
    try:
        return Manifest.model_validate_json(raw)
    except ValueError:
        raise Conflict(
            "This dataset was written by another release of the platform. Process the documents again."
        ) from None


def committed(place: Place) -> Manifest:
    """The manifest of a dataset that has to be there; blocking.

    Raises:
        NotFound: no version is visible.
        Conflict: as `visible`.
    """
    manifest = visible(place)
    if manifest is None:
        raise NotFound("There is no dataset here yet. Process the customer's documents first.")
    return manifest
