"""Passages that are not read, and rows that a filter leaves out, change no answer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dataset_corpus import document, vector_of, written

from shared.dataset import search, sketch
from shared.dataset.filters import Filters
from shared.dataset.reader import DatasetReader
from shared.dataset.rows import DocumentBundle, chunk_id

THINGS = [
    "Reihenklemme", "Klemmenleiste", "Schaltschrank", "Gehäuse", "Leuchte", "Netzgerät", "Sicherung", "Motorschutz",
    "Kabel", "Stecker",
]  # fmt: skip
LONG = 11
"""The document whose passages are long, so that others come before them."""
QUESTIONS = [
    "Klemme im Schaltschrank",
    "Welches Gehäuse hat die Leuchte?",
    "Motorschutz 17 A",
    "Kabel",
    "Netzgerät 230",
]
LATE = ("Reihenklemme Netzgerät Leuchte Motorschutz", "Gehäuse Leuchte Sicherung")
"""Words and meaning of a question whose second best passage is not among the first six by rank alone."""
FILTERS = [
    Filters(language="de"),
    Filters(language="en"),
    Filters(language="en", kind="text"),
    Filters(page=3),
    Filters(document="d7.pdf"),
    Filters(document="d7.pdf", language="fr"),
    Filters(kind="none"),
]


def saying(number: int) -> DocumentBundle:
    """Document `number` of twelve passages, in two languages."""
    draw, bundle = np.random.default_rng(number), document(number)
    doc, first = bundle.document.document_id, replace(bundle.parts.chunks[0], product_id="", kind="text")
    length = 60 if number == LONG else 6
    texts = [f"{' '.join(draw.choice(THINGS, length))} {draw.integers(9, 99)} A, verzinkt" for _ in range(12)]
    chunks = [
        replace(first, chunk_id=chunk_id(doc, at), ordinal=at, text=text, page=at, language=("de", "en")[at % 3 == 0])
        for at, text in enumerate(texts)
    ]
    parts = replace(
        bundle.parts, chunks=chunks, vectors=np.stack([vector_of(each) for each in texts]), products=[], features=[],
        prices=[], relations=[],
    )  # fmt: skip
    return DocumentBundle(replace(bundle.document, path=f"d{number}.pdf", chunks=len(chunks)), parts)


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sketch, "ABOVE", 100)
        made = tmp_path_factory.mktemp("search") / "dataset"
        assert (await written(made, [saying(at) for at in range(25)])).vector_index
    return made


async def test_reading_only_what_could_come_among_the_best_finds_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with DatasetReader(folder) as reader:
        read, answers = 0, []
        whole = search.Passages.read

        async def counted(passages: search.Passages, hits: list[search.Found], columns: list[str]) -> None:
            nonlocal read
            read += len(hits)
            await whole(passages, hits, columns)

        monkeypatch.setattr(search.Passages, "read", counted)
        for raised in (search.MOST_RAISED, 1e9):
            monkeypatch.setattr(search, "MOST_RAISED", raised)
            pairs = [LATE, *((said, meant) for said in QUESTIONS for meant in QUESTIONS)]
            found = [await reader.search(said, vector_of(meant), limit=2) for said, meant in pairs]
            answers.append((read, found))
    assert answers[0][1] == answers[1][1]
    assert answers[0][0] < answers[1][0] - answers[0][0]


@pytest.mark.parametrize("filters", FILTERS, ids=str)
async def test_leaving_out_what_filters_exclude_finds_what_the_table_finds_among_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, filters: Filters
) -> None:
    async with DatasetReader(folder) as reader:
        answers = []
        for widest in (0.0, 1.0):
            monkeypatch.setattr(search, "WIDEST", widest)
            answers.append([await reader.search(each, limit=100, filters=filters) for each in QUESTIONS])
    ours, theirs = ([{(hit.chunk_id, round(hit.score, 6)) for hit in hits} for hits in each] for each in answers)
    assert ours == theirs
    assert any(ours) == (filters.kind != "none" and filters.language != "fr")
    for hit in (hit for hits in answers[0] for hit in hits):
        assert (filters.language or hit.language, filters.page or hit.page) == (hit.language, hit.page)
        assert (filters.document or hit.path) == hit.path


async def test_where_no_passage_has_a_word_those_like_it_come_before_what_is_merely_near(folder: Path) -> None:
    async with DatasetReader(folder) as reader:
        (like, *_) = await reader.search("Schaltschrankschloss")
        (near, *_) = await reader.search("xqzzy", vector_of("Kabel"))
    assert (like.matched, near.matched) == (("words",), ("meaning",))
    assert "Schaltschrank" in like.text
    assert like.score > near.score


async def test_where_filters_exclude_all_that_came_first_the_table_looks_among_the_rest(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "WIDEST", 0.0)
    monkeypatch.setattr(search, "DEPTH", 1)
    async with DatasetReader(folder) as reader:
        found = await reader.search("verzinkt", limit=1, filters=Filters(document=f"d{LONG}.pdf"))
    assert [hit.path for hit in found] == [f"d{LONG}.pdf"]
