"""A running instance says where what it found may not answer: its vectors always find something."""

from __future__ import annotations

from pathlib import Path

import httpx2
import pytest

from servers.instance.console import session
from servers.instance.search import (
    COMPARES,
    NO_TEXT,
    NOTHING,
    ONLY_MEANING,
    SAID_BY_NONE,
    SIMILAR_NUMBERS,
    SOME_UNKNOWN,
    UNKNOWN_CODE,
)
from shared.contracts.instance import DatasetAnswer, SearchAnswer
from shared.dataset.rows import (
    ChunkRow,
    DocumentBundle,
    DocumentParts,
    DocumentRow,
    ProductRow,
    chunk_id,
    document_id,
    product_id,
)
from shared.encoder import Encoder
from shared.ids import digest
from tests.image_rig import encoder_of
from tests.instance_rig import KEY, instance_of

TEXTS = {
    "klemme": "Reihenklemme RK 4 grau, Artikelnummer RK-4-GR, Anzugsdrehmoment 0,6 Nm",
    "leuchte": "LED-Hallenleuchte HL-240-50, 34500 lm, Schutzart IP66",
    "schraube": "Sechskantschraube M8 x 40 verzinkt, Gewinde UNC: 5540, mit Sensor",
}


def bundle(name: str, encoder: Encoder) -> DocumentBundle:
    path, text = f"{name}.pdf", TEXTS[name]
    doc = document_id(path)
    chunk = ChunkRow(chunk_id(doc, 0), doc, 0, text, 1, page=1, kind="text", language="de", end=len(text), tokens=9)
    row = DocumentRow(
        doc, path, digest(text.encode()), 9, "application/pdf", "processed", 1,
        title=path, language="de", pages=1, chunks=1, tokens=9,
    )  # fmt: skip
    return DocumentBundle(row, DocumentParts([chunk], encoder.encode([text])))


def priced(number: str, name: str, encoder: Encoder) -> DocumentBundle:
    """A document with one product."""
    path, text = f"{number}.xml", f"{name} (Artikelnummer {number})"
    doc = document_id(path)
    key = product_id(doc, number, 0)
    chunk = ChunkRow(
        chunk_id(doc, 0), doc, 0, text, 1, kind="product", language="mul", end=len(text), tokens=9, product_id=key,
    )  # fmt: skip
    row = DocumentRow(
        doc, path, digest(text.encode()), 9, "application/xml", "processed", 1,
        title=path, language="de", pages=1, chunks=1, products=1, tokens=9,
    )  # fmt: skip
    product = ProductRow(key, doc, 0, number, 1, name=name, language="de")
    return DocumentBundle(row, DocumentParts([chunk], encoder.encode([text]), [product]))


async def test_hits_that_hold_neither_the_number_nor_the_words_are_said_to_be_only_near(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    notes = {
        "Anzugsdrehmoment RK-4-GR": "",
        "Anzugsdrehmoment RK-99-GR": f"RK-99-GR{UNKNOWN_CODE}",
        "Was kostet die ZX-9000?": f"ZX-9000{UNKNOWN_CODE}",
        "HL 240 50": "",
        "RK 4 GR": "",
        "Schraube M8x40": "",
        "M8x60": f"M8x60{UNKNOWN_CODE}",
        "Schraube M8 x 40": "",
        "Sechskantschraube M8 x 50 verzinkt": f"M8 x 50{UNKNOWN_CODE}",
        "9999999": f"9999999{UNKNOWN_CODE}",
        "Welche Leistung hat die Leuchte KP 2000?": f"KP 2000{UNKNOWN_CODE}",
        "Unterschied von RK-4-GR und RK-99-GR": f"RK-99-GR{SOME_UNKNOWN}",
        "Leuchte mit 20000 lm": "",
        "Leuchte mit mindestens 20000 lm": COMPARES,
        "günstigste ZX-9000": f"ZX-9000{UNKNOWN_CODE} {COMPARES}",
        "xqzzy wvvkq": ONLY_MEANING,
        "Schraube UNC 5540": "",  # the passage has a sign between
        "Was kosten 250 Stück RK-4-GR am 15.08.2026?": "",
        "Gibt es Leuchten, Schrauben und Sensoren?": "",  # a Hallenleuchte, a Sechskantschraube, a Sensor
        "Gibt es Leuchten mit PROFINET?": f"PROFINET{SAID_BY_NONE}",
    }
    async with instance_of([bundle(name, encoder) for name in TEXTS], query_model, tmp_path) as upstream:
        for query, note in notes.items():
            answer = await upstream.call("search", {"query": query}, SearchAnswer)
            assert (answer.note, len(answer.hits)) == (note, 3), query
        empty = await upstream.call("search", {"query": "Leuchte", "kind": "ocr"}, SearchAnswer)
        assert (empty.note, empty.hits) == (NOTHING, [])


async def test_a_part_of_a_number_finds_the_products_whose_numbers_may_be_meant(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    numbers = {"1303890000": "Sicherheitsrelais", "0004711": "Dichtung", "RKA-4-GR": "Halter", "RKA-4-BL": "Klemme"}
    numbers |= {"KP 120-4 PS": "Pumpe"}
    async with instance_of([priced(*each, encoder) for each in numbers.items()], query_model, tmp_path) as upstream:
        for asked, meant in {
            "1303890": ["1303890000"],
            "1303 890": ["1303890000"],
            "Preis von 1303890": ["1303890000"],
            "890000": ["1303890000"],
            "1303980000": ["1303890000"],
            "001303890000": ["1303890000"],
            "4711": ["0004711"],
            "RKA-4": ["RKA-4-BL", "RKA-4-GR"],
            "KP 120-4 PX": ["KP 120-4 PS"],
            "Artikel KP 120-4 PX": ["KP 120-4 PS"],
        }.items():
            answer = await upstream.call("search", {"query": asked}, SearchAnswer)
            assert answer.note.endswith(SIMILAR_NUMBERS), asked
            assert all(f"{each} ({numbers[each]})" in answer.note for each in meant), asked
            found = [hit.text.partition(" (Artikelnummer ")[2].partition(")")[0] for hit in answer.hits]
            assert sorted(found[: len(meant)]) == meant, asked
        for language in ("de", "en"):  # the catalogue says it in both
            answer = await upstream.call("search", {"query": "Sicherheitsrelais", "language": language}, SearchAnswer)
            assert len(answer.hits) == len(numbers)
        assert (await upstream.call("describe_dataset", {}, DatasetAnswer)).languages == {"de": 5, "en": 5}
        for asked in ("1303890000", "130.389.0000", "RKA 4 GR", "KP 120-4 PS", "500 Stück", "Preis für 890000 Stück"):
            answer = await upstream.call("search", {"query": asked}, SearchAnswer)
            assert SIMILAR_NUMBERS not in answer.note, asked


@pytest.mark.parametrize(("language", "says"), [("de", "gibt es keinen Text"), ("en", "holds no text")])
async def test_a_dataset_of_which_no_file_could_be_read_says_so_where_it_is_searched(
    query_model: Path, tmp_path: Path, language: str, says: str
) -> None:
    plan = DocumentRow(
        document_id("plan.dwg"), "plan.dwg", "sha256:" + "f" * 64, 9, "application/octet-stream", "failed", 1,
        failure_code="unsupported_format", failure_reason="The content fits no known format.",
    )  # fmt: skip
    async with instance_of([DocumentBundle(plan)], query_model, tmp_path) as upstream:
        answer = await upstream.call("search", {"query": "Leuchte"}, SearchAnswer)
        assert (answer.hits, answer.note) == ([], NO_TEXT)
        base = upstream._url.removesuffix("/mcp")
        cookies = {session.COOKIE: session.issue(KEY)}
        async with httpx2.AsyncClient(trust_env=False, timeout=20, cookies=cookies) as browser:
            for place in ("/", "/?q=Leuchte"):
                page = (await browser.get(base + place, headers={"accept-language": language})).text
                assert says in page
                assert "andere Wörter" not in page
                assert "other words" not in page
