"""Each check of an image by itself: what is right passes, and what differs in one place fails by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from servers.cradle.images.measure import Measured
from servers.cradle.images.signing import Signer
from servers.cradle.images.unpack import Contents
from servers.cradle.images.verify import (
    _checks_of_counts,
    _checks_of_files,
    _checks_of_measures,
    _checks_of_signature,
)
from servers.cradle.installations.probes import cosines
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import DatasetAnswer
from shared.contracts.processing import VerificationCheck
from shared.contracts.verification import SampledQuestions
from shared.dataset.recall import Recall
from shared.ids import digest
from tests.image_rig import small_image

ID, MANIFEST, DATASET, PRINT = (digest(name) for name in (b"id", b"manifest", b"dataset", b"fingerprint"))
LABELS = {"com.0711.dataset.digest": DATASET, "com.0711.parameters.fingerprint": PRINT}
CONFIG: dict[str, Any] = {"User": "10001:10001", "Entrypoint": ["python"], "Labels": LABELS}
BUILT = ImageBuilt(
    customer_id="acme", tag="p1", manifest_digest=MANIFEST, image_id=ID, archive_digest=digest(b"tar"), size_bytes=1,
    layers=[], dataset_digest=DATASET, fingerprint=PRINT, method="assembled", seconds=0,
)  # fmt: skip


def failed(checks: list[VerificationCheck]) -> set[str]:
    return {check.name for check in checks if not check.passed}


def contents(config: dict[str, Any] = CONFIG, **changes: Any) -> Contents:
    given = {"config": {"architecture": "amd64", "config": config}, "image_id": ID, "manifest_digest": MANIFEST}
    return Contents(**{**given, **changes})


@pytest.mark.requirement("O-02", "Z-04")
def test_an_images_own_word_is_compared_with_what_was_built() -> None:
    from servers.cradle.images.spec import USER

    good = {**CONFIG, "User": f"{USER}:{USER}"}
    assert failed(_checks_of_files(contents(good), BUILT)) == set()
    assert failed(_checks_of_files(contents(good, manifest_digest=None), BUILT)) == set()  # what `docker save` writes
    cases = {
        "image id": contents(good, image_id=digest(b"other"), variants={"amd64": ID}),
        "manifest": contents(good, manifest_digest=digest(b"other")),
        "user": contents({**good, "User": ""}),
        "entrypoint": contents({**good, "Entrypoint": []}),
        "architectures": contents(good, variants={"amd64": ID, "arm64": ID}),
    }
    for name, each in cases.items():
        assert failed(_checks_of_files(each, BUILT)) == {name}
    for label in LABELS:
        other = {**good, "Labels": {**LABELS, label: digest(b"other")}}
        assert failed(_checks_of_files(contents(other), BUILT)) == {"labels"}
    assert failed(_checks_of_files(contents({**good, "Labels": None}), BUILT)) == {"labels"}


@pytest.mark.requirement("Z-04", "S-01")
def test_the_file_and_its_signature_are_two_checks(tmp_path: Path) -> None:
    signer = Signer.open(tmp_path / "keys")
    image = small_image(tmp_path / "bucket", signer)
    assert failed(_checks_of_signature(image.tar, image.built, signer.verifier)) == set()
    (image.folder / "signature.json").rename(tmp_path / "signature.json")
    assert failed(_checks_of_signature(image.tar, image.built, signer.verifier)) == {"signature"}
    (tmp_path / "signature.json").rename(image.folder / "signature.json")
    with image.tar.open("ab") as file:
        file.write(b"more")
    assert failed(_checks_of_signature(image.tar, image.built, signer.verifier)) == {"image.tar", "signature"}


@pytest.mark.requirement("Z-04")
@pytest.mark.parametrize(
    ("shares", "probes", "expected"),
    [
        ((1.0, 0.98), [0.9995, 0.999], set()),
        ((1.0, 0.97), [1.0], {"recall@10"}),
        ((1.0,), [1.0, 0.9989], {"model of the installation"}),
        ((), [1.0], set()),
    ],
)
def test_the_least_recall_and_the_least_cosine_count(
    shares: tuple[float, ...], probes: list[float], expected: set[str]
) -> None:
    checks = _checks_of_measures(Measured([], Recall(shares, tuple(1.0 for _ in shares)), probes))
    assert failed(checks) == expected
    assert len(checks) == 1 + bool(shares)


def test_a_model_that_gives_no_number_for_a_text_is_not_the_installations() -> None:
    stored, given = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    given[1, 1], given[2, 2] = np.nan, np.inf
    assert cosines(stored, given).tolist() == [1.0, 0.0, 0.0]
    assert cosines(stored, stored * 3).tolist() == [1.0, 1.0, 1.0]
    checks = _checks_of_measures(Measured([], Recall((), ()), cosines(stored, given).tolist()))
    assert failed(checks) == {"model of the installation"}


@pytest.mark.requirement("Z-04")
def test_what_the_instance_counts_is_what_the_images_manifest_says() -> None:
    counts = {"documents": 3, "chunks": 9}
    described = DatasetAnswer(
        customer_id="acme", company_name="x", dataset_digest=DATASET, fingerprint=PRINT, embedding_model="x",
        counts=counts, languages={}, tables=[], node_kinds={}, edge_kinds={}, failures={}, graph_ready=True,
    )  # fmt: skip

    def checks(**changes: Any) -> set[str]:
        manifest = {"dataset_digest": DATASET, "counts": counts, **changes}
        return failed(_checks_of_counts(contents(dataset_manifest=orjson.dumps(manifest)), described))

    assert checks() == checks(counts={**counts, "pages": 4}) == set()
    assert checks(counts={"documents": 3, "chunks": 8}) == checks(counts={"documents": 3}) == {"counts"}
    assert checks(counts={}) == {"counts"}
    assert checks(dataset_digest=digest(b"other")) == {"dataset digest"}
    assert failed(_checks_of_counts(contents(), described)) == {"dataset digest", "counts"}
    nothing = described.model_copy(update={"counts": {}})  # where neither side counts anything, nothing is proved
    assert failed(_checks_of_counts(contents(), nothing)) == {"dataset digest", "counts"}


def test_a_question_whose_passage_is_not_among_ten_is_not_found() -> None:
    assert SampledQuestions(ranks=[1, 0, 10], milliseconds=[1.0, 1.0, 1.0]).found == 2
