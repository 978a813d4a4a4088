"""An image for amd64 and arm64 of Debian's Python and PyPI's wheels; the arm64 one runs here, emulated.

`.ci/arm64 FOLDER` makes the two bases and fetches the wheels; ARM64 names the folder.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from servers.cradle.images import launch
from servers.cradle.images.build import Means, Sources, build_image
from servers.cradle.images.signing import Signer
from servers.cradle.images.spec import ImageSpec
from servers.cradle.images.verify import verify_image
from shared.contracts.instance import InstanceConfig
from shared.dataset.freeze import frozen_files
from shared.ids import canonical_json
from tests.image_rig import NO_ENGINE, TEXTS, probes_of, write_dataset
from tests.registry_rig import Registry, registry

__all__ = ["registry"]

pytestmark = pytest.mark.slow
FOLDER = Path(os.environ.get("ARM64", ""))


@pytest.mark.requirement("O-02", "G-03")
@pytest.mark.skipif(not os.environ.get("ARM64"), reason="ARM64 names no bases and wheels (.ci/arm64 makes them)")
@pytest.mark.skipif(not launch.emulates("arm64"), reason="this machine does not emulate arm64 (.ci/arm64 sees to it)")
async def test_the_arm64_image_starts_and_answers_like_the_other(
    registry: Registry, tmp_path: Path, query_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(FOLDER / "wheels"))
    bases = {
        each: registry.image((FOLDER / f"{each}.tar").read_bytes(), architecture=each) for each in ("amd64", "arm64")
    }
    bucket = tmp_path / "bucket"
    manifest = await write_dataset(bucket / "dataset", TEXTS, query_model)
    told = {"fingerprint": manifest.fingerprint, "dataset_digest": manifest.dataset_digest, "parameter_version": 1}
    config = InstanceConfig(customer_id="acme", company_name="Müller & Söhne KG", tag="p1-both", **told)
    spec = ImageSpec(customer_id="acme", tag="p1-both", **told)
    sources = Sources(query_model, frozen_files(bucket / "dataset"), canonical_json(config.model_dump(mode="json")))
    signer = Signer.open(tmp_path / "keys")
    means = Means(tmp_path / "cache", signer, registry.pinned(registry.index(**bases)), others=["arm64"])
    built = await build_image(spec, sources, bucket, means)
    report = await verify_image(
        bucket / "images/p1-both/image.tar", built, tmp_path, signer.verifier, probes_of(query_model), NO_ENGINE
    )
    checks = {check.name: check for check in report.checks}
    assert report.passed, [check for check in report.checks if not check.passed]
    assert checks["architectures"].detail == "amd64, arm64"
    assert "emulated" in checks["starts on arm64"].detail
