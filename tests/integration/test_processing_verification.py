"""The verification of a dataset: it passes what holds what the sources hold, and names each count that does not fit."""

from __future__ import annotations

import orjson
import pytest

from servers.cradle import onboarding
from servers.cradle.services import Services
from shared.contracts.processing import VerificationReport
from tests.integration.test_processing_drift import held, process
from tests.processing_rig import Customer, customer

__all__ = ["customer", "held"]

FILES, STATES = "files in the sources and documents in the ledger", "processed and failed documents"
FAILED, MIXED = "failed documents in the ledger", "passages of another parameter version"
FINGERPRINT, READ = "fingerprint of the parameters", "documents that could be read"
MANIFEST, ROWS = "dataset/manifest.json", ("chunks", "products", "features", "prices")


def refused(report: VerificationReport) -> set[str]:
    assert report.passed is all(check.passed for check in report.checks)
    return {check.name for check in report.checks if not check.passed}


@pytest.mark.requirement("O-01")
async def test_each_count_that_differs_from_the_sources_or_the_rows_is_named(
    held: Services, customer: Customer
) -> None:
    (customer.folder / "preise.csv").write_text("Artikelnummer;Bezeichnung;Preis EUR\nA-1;Klemme;1,20\nA-2;Leuchte;2\n")
    (customer.folder / "fremd.dwg").write_bytes(b"AC1032" + bytes(range(256)))
    stored = await held.installations.save("acme", customer.version.parameters, held.embedding)
    processed = await process(held, stored.version)

    async def verified(version: int = stored.version) -> set[str]:
        return refused(await onboarding.verify_dataset(held, "acme", version))

    assert await verified() == set()
    plain = await customer.store.get(MANIFEST)
    for counts, names in (
        (("documents",), {FILES, STATES, "rows of documents"}),
        (("processed",), {STATES}),
        (("failed",), {STATES, FAILED}),
        (ROWS, {f"rows of {name}" for name in ROWS}),
    ):
        told = orjson.loads(plain)
        for count in counts:
            told["counts"][count] += 1
        await customer.store.put(MANIFEST, orjson.dumps(told))
        assert await verified() == names
    told = orjson.loads(plain) | {"fingerprint": "sha256:" + "c" * 64}
    await customer.store.put(MANIFEST, orjson.dumps(told))
    assert await verified() == {FINGERPRINT}
    await customer.store.put(MANIFEST, plain)
    (customer.folder / "neu.txt").write_text("Eine Datei, die nicht verarbeitet ist.")
    assert await verified() == {FILES}
    as_it_was = await onboarding.verify_dataset(held, "acme", stored.version, processed.files)
    assert refused(as_it_was) == set()
    assert refused(await onboarding.verify_dataset(held, "acme", stored.version, processed.files + 1)) == {FILES}
    (customer.folder / "neu.txt").unlink()
    other = customer.version.parameters.model_copy(
        update={"chunking": customer.version.parameters.chunking.model_copy(update={"max_tokens": 64})}
    )
    newer = await held.installations.save("acme", other, held.embedding)
    assert await verified(newer.version) == {MIXED, FINGERPRINT}


@pytest.mark.requirement("O-01")
async def test_a_dataset_of_files_of_which_none_could_be_read_does_not_pass(held: Services, customer: Customer) -> None:
    for path in customer.folder.rglob("*"):
        if path.is_file():
            path.unlink()
    for name in ("fremd.dwg", "anders.dwg"):
        (customer.folder / name).write_bytes(b"AC1032" + bytes(range(256)) + name.encode())
    stored = await held.installations.save("acme", customer.version.parameters, held.embedding)
    await process(held, stored.version)
    report = await onboarding.verify_dataset(held, "acme", stored.version)
    assert refused(report) == {READ}
    assert "0 of 2" in {check.detail for check in report.checks}
    (customer.folder / "preise.csv").write_text("Artikelnummer;Bezeichnung;Preis EUR\nA-1;Klemme;1,20\n")
    await process(held, stored.version)
    assert (await onboarding.verify_dataset(held, "acme", stored.version)).passed
