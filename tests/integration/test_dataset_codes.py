"""Article numbers and dimensions are found as people spell them, and a product of many passages by its first one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_corpus import PLANTED, document, frozen, unpack, vector_of, written

from shared.dataset.reader import DatasetReader
from shared.dataset.rows import DocumentBundle, chunk_id, product_id


def telling(number: int, article: str, texts: Sequence[str]) -> DocumentBundle:
    """Document `number`, whose one product says these passages."""
    bundle = document(number)
    doc = bundle.document.document_id
    key = product_id(doc, article)
    first = replace(bundle.parts.chunks[1], product_id=key)
    chunks = [replace(first, chunk_id=chunk_id(doc, at), ordinal=at, text=text) for at, text in enumerate(texts)]
    products = [replace(bundle.parts.products[0], product_id=key, article_number=article)]
    return DocumentBundle(
        replace(bundle.document, chunks=len(chunks)),
        replace(
            bundle.parts, chunks=chunks, vectors=np.stack([vector_of(each) for each in texts]), products=products,
            features=[], prices=[], relations=[],
        ),
    )  # fmt: skip


SCREW = "Sechskantschraube M8 x 40 verzinkt (Artikelnummer 933-8-40-ZN)\nGTIN: 4006209123457\nNorm: DIN 933"
OTHERS = [
    f"Sechskantschraube M{size} x 40 verzinkt (Artikelnummer 933-{size}-40-ZN)\nNorm: DIN 933" for size in (10, 12, 16)
]
TITLE = "Sicherheitsrelais (Artikelnummer 1303890000)"
RELAY = [f"{TITLE}\nGTIN: 4050118102697\nHersteller: Muster\nSichere Abschaltung, 24 V DC, Sicherheitskategorie SIL 3"]
RELAY += [f"{TITLE}\nAnschluss {at} › Abisolierlänge: 8 mm" for at in range(90)]


@pytest.fixture(scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("codes")
    bundles = [telling(1, "933-8-40-ZN", [SCREW]), telling(90, "1303890000", RELAY), document(91, PLANTED)]
    bundles += [telling(at + 2, f"933-{at}-ZN", [text]) for at, text in enumerate(OTHERS)]
    await written(folder / "dataset", bundles)
    async with DatasetReader(unpack(frozen(folder / "dataset"), folder / "frozen")) as opened:
        yield opened


@pytest.mark.parametrize("query", ["933 8 40 ZN", "4006 2091 2345 7", "M8x40 verzinkt", "M8X40", "Schraube M8×40"])
async def test_what_is_spelled_otherwise_comes_first_against_a_vector_that_says_otherwise(
    reader: DatasetReader, query: str
) -> None:
    best = (await reader.search(query, vector_of(PLANTED), limit=3))[0]
    assert best.text == SCREW
    assert "codes" in best.matched


async def test_a_number_alone_finds_what_its_product_is_before_all_else_that_it_says(reader: DatasetReader) -> None:
    hits = await reader.search("1303890000", vector_of(RELAY[40]), limit=3)
    assert [hit.text for hit in hits][:1] == RELAY[:1]
    asked = await reader.search("Anschluss 7 Abisolierlänge 1303890000", vector_of(PLANTED), limit=1)
    assert asked[0].text == RELAY[8]


async def test_a_code_that_stands_in_many_passages_of_one_product_identifies_it(reader: DatasetReader) -> None:
    hits = await reader.search("verzinkte Sechskantschraube 1303890000", vector_of(SCREW), limit=5)
    assert {hit.text.split("\n")[0] for hit in hits} == {TITLE}


async def test_the_mail_that_says_a_number_comes_before_the_attachment_that_stands_below_it(tmp_path: Path) -> None:
    subject, name = "Auftrag 26-0815: Liefertermin", "Auftrag 26-0815.pdf"
    attached = f"{subject} › {name}\nSchutzart IP66"  # shorter, and it holds all that is asked for
    mail = (
        f"{subject}\n\nVon: Einkauf\n\nGuten Tag, zum Auftrag 26-0815 über 36 Leuchten HL-240-50 (4099000030359), "
        "Ihre Bestellung 4500017788, bestätigen wir die Lieferung am 17.04.2026 mit der Spedition Kessler."
    )
    bundle = telling(1, "HL-240", [attached, mail])
    headings = [f"{subject} › {name}", subject]
    chunks = [
        replace(each, heading_path=heading, kind="text", product_id="")
        for each, heading in zip(bundle.parts.chunks, headings, strict=True)
    ]
    await written(tmp_path, [replace(bundle, parts=replace(bundle.parts, chunks=chunks)), document(91, PLANTED)])
    async with DatasetReader(tmp_path) as opened:
        hits = await opened.search("Auftrag 26-0815", vector_of(attached), limit=2)
    assert [hit.text for hit in hits] == [mail, attached]


async def test_the_graph_knows_which_documents_mention_a_number_that_is_written_apart(tmp_path: Path) -> None:
    texts = {
        2: "Für die RK 12-04 PS bieten wir 31,80 EUR.",
        3: "Passend zu (RK-12-04-PS).",
        4: "Siehe 12045 oder RK 12-04 PK.",
        5: "Ersatz für 5SY4 116-7.",
    }
    numbers = {1: "RK 12-04 PS", 6: "12045 XL", 7: "5SY4 116-7"}
    bundles = [telling(at, number, ["Ein Sensor."]) for at, number in numbers.items()]
    await written(tmp_path / "dataset", [*bundles, *(document(at, text) for at, text in texts.items())])
    async with DatasetReader(unpack(frozen(tmp_path / "dataset"), tmp_path / "frozen"), scratch=tmp_path) as opened:
        found = await opened.cypher(
            "MATCH (d:Node)-[:Edge {kind: 'MENTIONS'}]->(p:Node) WHERE p.number CONTAINS ' ' "
            "RETURN p.number, d.document_id ORDER BY p.number, d.document_id"
        )
    mentioned = {number: {row[1] for row in found.rows if row[0] == number} for number in numbers.values()}
    of = {at: document(at).document.document_id for at in texts}
    assert mentioned == {"RK 12-04 PS": {of[2], of[3]}, "12045 XL": set(), "5SY4 116-7": {of[5]}}
