"""A small German catalogue as rows, and the few steps that the dataset's tests repeat."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from shared.dataset.freeze import frozen_files
from shared.dataset.manifest import DatasetModel, Manifest
from shared.dataset.rows import (
    ChunkRow,
    DocumentBundle,
    DocumentParts,
    DocumentRow,
    FeatureRow,
    GroupRow,
    PriceRow,
    ProductRow,
    RelationRow,
    chunk_id,
    document_id,
    exact_amount,
    product_id,
)
from shared.dataset.writer import DatasetWriter

DIMENSION = 32
MODEL = DatasetModel(model="test-model", revision="1", dimension=DIMENSION)
FINGERPRINT = "sha256:" + "0" * 64
PLANTED = "Der Leitungsschutzschalter löst bei 16 Ampere aus; sein Gehäuse ist aus schlagfestem Polyamid."


def vector_of(text: str, dimension: int = DIMENSION) -> np.ndarray:
    """A unit vector that depends on the text alone: stands for an embedding where meaning is not in question."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
    raw = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return raw / np.linalg.norm(raw)


def article(number: int) -> str:
    return f"5SY4{number:03d}-7"


def document(number: int, text: str = "Die Klemme sitzt im Schaltschrank.") -> DocumentBundle:
    """Data sheet `number`: two passages, one product with a feature, a price, groups and a relation."""
    path = f"datenblaetter/blatt-{number:03d}.pdf"
    doc, name = document_id(path), f"Reihenklemme {number}"
    product = product_id(doc, article(number))
    texts = [text, f"{name}, Artikelnummer {article(number)}, GTIN 40123450{number:05d}, Nennstrom 16 A."]
    chunks = [
        ChunkRow(
            chunk_id(doc, ordinal),
            doc,
            ordinal,
            each,
            1,
            page=ordinal + 1,
            heading_path="Technische Daten",
            kind="product" if ordinal else "text",
            language="de" if number % 2 == 0 else "en",
            end=len(each),
            tokens=len(each.split()),
            product_id=product if ordinal else "",
        )
        for ordinal, each in enumerate(texts)
    ]
    parts = DocumentParts(
        chunks,
        np.stack([vector_of(each) for each in texts]),
        [
            ProductRow(
                product,
                doc,
                0,
                article(number),
                1,
                gtin=f"40123450{number:05d}",
                name=name,
                manufacturer="Müller Elektro",
                class_system="ETIM-9.0",
                class_id="EC000897",
                language="de",
            )
        ],
        [FeatureRow(doc, product, 0, "Nennstrom", 1, value="16", number=16.0, unit="A", feature_id="EF000227")],
        [
            PriceRow(
                doc, product, 0, "net_list", 1, amount=exact_amount(f"{number}.10"), currency="EUR", lower_bound=1.0
            )
        ],
        [GroupRow(doc, "own", "G1", "Klemmen", 1), GroupRow(doc, "own", "G2", "Reihenklemmen", 1, parent="G1")],
        [
            RelationRow(doc, article(number), "member", "G2", 1),
            RelationRow(doc, article(number), "accessories", article(number + 1), 1),
        ],
    )
    row = DocumentRow(
        doc,
        path,
        "sha256:" + hashlib.sha256(text.encode()).hexdigest(),
        1000 + number,
        "application/pdf",
        "processed",
        1,
        title=f"Datenblatt {number}",
        language="de",
        pages=2,
        chunks=2,
        tokens=20,
        products=1,
    )
    return DocumentBundle(row, parts)


def unreadable(number: int) -> DocumentBundle:
    """A file that could not be read: a row in the ledger and nothing else."""
    path = f"scans/kaputt-{number}.pdf"
    row = DocumentRow(
        document_id(path),
        path,
        "sha256:" + "f" * 64,
        3,
        "application/pdf",
        "failed",
        1,
        failure_code="damaged",
        failure_reason="The file is cut off.",
    )
    return DocumentBundle(row)


async def commit(writer: DatasetWriter) -> Manifest:
    return await writer.commit(parameter_version=1, fingerprint=FINGERPRINT, model=MODEL)


async def written(root: Path, bundles: Sequence[DocumentBundle], seed: int = 0, batch: int = 4) -> Manifest:
    """The dataset of these documents, written in an order that the seed decides."""
    shuffled = list(bundles)
    random.Random(seed).shuffle(shuffled)  # noqa: S311
    async with DatasetWriter(str(root), DIMENSION) as writer:
        for start in range(0, len(shuffled), batch):
            await writer.replace_documents(shuffled[start : start + batch])
        return await commit(writer)


def frozen(root: Path) -> dict[str, bytes]:
    return {name: each if isinstance(each, bytes) else each.read_bytes() for name, each in frozen_files(root)}


def unpack(files: dict[str, bytes], target: Path) -> Path:
    for name, data in files.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(data)
    return target
