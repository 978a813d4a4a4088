"""Passages: nothing lost, nothing over the bound, the same every time."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servers.cradle.processing.chunking import JOINT, Chunk, Chunker, ChunkSizes, Tokenizer
from servers.cradle.processing.extract.text import table_block
from servers.cradle.processing.extraction import Block, Extraction, Feature, Localised, Product
from servers.cradle.processing.product_text import product_lines


class WordPieces:
    """Pieces of up to four letters or one sign, and two special tokens, as a model's tokenizer counts."""

    def starts(self, text: str) -> list[int]:
        return [match.start() for match in re.finditer(r"\w{1,4}|[^\w\s]", text)]

    def passage(self, text: str) -> list[int]:
        return [0, *(1 for _ in self.starts(text)), 2]


TOKENS = WordPieces()
TEXT = st.text(st.sampled_from("aä bcde fg.h! ß,\n\U0001f600x-1"), min_size=1, max_size=400).filter(str.strip)
BLOCK = st.one_of(
    st.builds(lambda text, level: Block("heading", text, level=level), TEXT, st.integers(1, 4)),
    st.builds(lambda text, page: Block("paragraph", text, page=page), TEXT, st.integers(0, 2)),
    st.builds(lambda text: Block("list", text), TEXT),
    st.builds(
        table_block,
        st.lists(
            st.lists(st.sampled_from(["", "a", "bb cc", "7,5", "Langer Wert " * 9]), min_size=3, max_size=3), min_size=1
        ),
        st.integers(0, 1),
    ),
    st.builds(
        lambda name, count: Product("A-1", names=(Localised(name),), features=_features(count)),
        st.sampled_from(["Klemme", "Leuchte " * 20]),
        st.integers(0, 30),
    ),
)


def _features(count: int) -> tuple[Feature, ...]:
    return tuple(Feature(names=(Localised(f"Merkmal {i}"),), values=(Localised(f"Wert {i}"),)) for i in range(count))


def chunk(extraction: Extraction, tokenizer: Tokenizer, sizes: ChunkSizes) -> list[Chunk]:
    """All passages of a document that is one extraction."""
    return list(Chunker(tokenizer, sizes).add(extraction))


def text_of(extraction: Extraction) -> str:
    """The document's text as the chunker's description says."""
    texts = ["\n".join(product_lines(item)) if isinstance(item, Product) else item.text for item in extraction.flow]
    return JOINT.join(text for text in texts if text)


EMPTY = table_block([["", ""], ["", ""]], 1)


def parts_of(flow: list[Block | Product], size: int) -> list[Extraction]:
    return [Extraction(flow=tuple(flow[at : at + size])) for at in range(0, len(flow), size)]


@example([Block("heading", "1", level=1), Block("heading", "a", level=1), EMPTY], (32, 0))
@example([EMPTY], (32, 0))
@settings(max_examples=300)
@given(st.lists(BLOCK, max_size=12), st.sampled_from([(32, 0), (32, 8), (64, 24), (220, 24)]))
def test_every_character_of_every_block_is_in_a_passage_and_no_passage_is_over_the_bound(flow, sizes) -> None:
    extraction = Extraction(flow=tuple(flow))
    text = text_of(extraction)
    chunks = chunk(extraction, TOKENS, ChunkSizes(*sizes))
    covered = bytearray(len(text))
    for each in chunks:
        assert len(TOKENS.passage(each.text)) == each.tokens <= sizes[0]
        assert each.start < each.end <= len(text)
        assert each.text.strip()
        covered[each.start : each.end] = b"\x01" * (each.end - each.start)
    missing = {text[at] for at in range(len(text)) if not covered[at] and not text[at].isspace()}
    assert missing == set()
    assert [each.ordinal for each in chunks] == list(range(len(chunks)))


@settings(max_examples=200)
@given(st.lists(BLOCK, max_size=10), st.sampled_from([(32, 0), (64, 24)]))
def test_what_a_passages_range_holds_is_what_it_says(flow, sizes) -> None:
    text = text_of(Extraction(flow=tuple(flow)))
    for each in chunk(Extraction(flow=tuple(flow)), TOKENS, ChunkSizes(*sizes)):
        said = re.sub(r"\s+", "", each.text)
        for word in text[each.start : each.end].split():
            assert word in said


@given(st.lists(BLOCK, max_size=8), st.integers(1, 4))
@settings(max_examples=100)
def test_the_same_parts_give_the_same_passages_with_running_ordinals_and_offsets(flow, size) -> None:
    def run() -> list[Chunk]:
        chunker = Chunker(TOKENS, ChunkSizes(48, 8))
        return [each for part in parts_of(flow, size) for each in chunker.add(part)]

    first = run()
    assert first == run()
    assert [each.ordinal for each in first] == list(range(len(first)))
    whole = text_of(Extraction(flow=tuple(flow)))
    assert all(each.end <= len(whole) for each in first)


def test_a_short_text_is_a_passage() -> None:
    (only,) = chunk(Extraction(flow=(Block("paragraph", "IP65", page=3),)), TOKENS, ChunkSizes(64))
    assert (only.text, only.page, only.start, only.end) == ("IP65", 3, 0, 4)


def test_a_passage_begins_with_the_headings_above_it_and_knows_its_path() -> None:
    flow = (
        Block("heading", "Netzteil", level=1),
        Block("heading", "Daten", level=2),
        Block("paragraph", "Ausgang 24 V."),
        Block("heading", "Einbau", level=2),
        Block("paragraph", "Senkrecht einbauen."),
    )
    first, second = chunk(Extraction(flow=flow), TOKENS, ChunkSizes(64))
    assert (first.text, first.heading_path) == ("Netzteil\n\nDaten\n\nAusgang 24 V.", "Netzteil › Daten")
    assert (second.text, second.heading_path) == ("Netzteil\nEinbau\n\nSenkrecht einbauen.", "Netzteil › Einbau")


def test_each_part_of_a_table_repeats_the_header() -> None:
    table = table_block([["Artikel", "Preis"], *([f"RK-{i}", f"{i},50"] for i in range(60))], 1)
    chunks = chunk(Extraction(flow=(table,)), TOKENS, ChunkSizes(64))
    assert len(chunks) > 5
    assert all(each.text.startswith("Artikel | Preis\n") for each in chunks)
    rows = [line for each in chunks for line in each.text.split("\n")[1:]]
    assert rows == [f"RK-{i} | {i},50" for i in range(60)]


def test_each_part_of_a_product_repeats_its_name_and_names_the_product() -> None:
    flow = (Product("A-1", names=(Localised("Klemme"),), features=_features(80)), Product("A-2"))
    chunks = chunk(Extraction(flow=flow), TOKENS, ChunkSizes(64))
    ours = [each for each in chunks if each.product == 0]
    assert len(ours) > 5
    assert all(each.text.startswith("Klemme (Artikelnummer A-1)\n") for each in ours)
    assert [each.text for each in chunks if each.product == 1] == ["Artikelnummer A-2"]


def test_neighbours_in_a_long_paragraph_overlap_at_sentences() -> None:
    sentences = [f"Satz Nummer {i} sagt etwas." for i in range(40)]
    chunks = chunk(Extraction(flow=(Block("paragraph", " ".join(sentences)),)), TOKENS, ChunkSizes(64, 16))
    assert len(chunks) > 4
    for before, after in pairwise(chunks):
        assert before.start < after.start <= before.end
        assert after.text.startswith("Satz Nummer")


def test_a_word_without_end_is_cut_not_dropped() -> None:
    chunks = chunk(Extraction(flow=(Block("paragraph", "x" * 5000),)), TOKENS, ChunkSizes(32, 4))
    assert chunks[0].start == 0
    assert chunks[-1].end == 5000
    assert all(each.tokens <= 32 for each in chunks)


@pytest.mark.parametrize(
    ("text", "language"), [("Die Klemme ist grau.", "de"), ("The clamp is grey.", "en"), ("24 V", "")]
)
def test_a_passage_knows_its_language(text: str, language: str) -> None:
    (only,) = chunk(Extraction(flow=(Block("paragraph", text),)), TOKENS, ChunkSizes(64))
    assert only.language == language


def test_names_of_a_catalogues_elements_make_no_german_product_english() -> None:
    told = ("QUANTITY_MIN", "CUSTOMS_NUMBER", "COUNTRY_OF_ORIGIN", "WEIGHT")
    product = Product("A-1", names=(Localised("Relais", "deu"),), properties=tuple((name, "1") for name in told))
    (only,) = chunk(Extraction(flow=(product,)), TOKENS, ChunkSizes(220))
    assert all(name in only.text for name in told)
    assert only.language == "de"


def test_a_passage_of_a_product_without_telling_words_is_in_its_products_language() -> None:
    product = Product("A-1", names=(Localised("Relais", "deu"),), features=_features(30))
    found = chunk(Extraction(flow=(product,)), TOKENS, ChunkSizes(32))
    assert {each.language for each in found} == {"de"}
    assert len(found) > 2


def test_every_passage_of_a_product_that_a_catalogue_names_in_two_languages_is_in_both() -> None:
    names = (Localised("Sicherheitsrelais", "deu"), Localised("Safety relay", "eng"))
    product, plain = Product("A-1", names=names, features=_features(30)), Product("A-2", names=names[:1])
    found = chunk(Extraction(flow=(product, plain, Block("paragraph", "Die Klemme ist grau."))), TOKENS, ChunkSizes(32))
    languages = [each.language for each in found]
    assert languages == ["mul"] * (len(found) - 2) + ["de", "de"]
    assert len(found) > 4


def test_an_empty_row_before_one_that_is_too_long_makes_no_passage_of_nothing() -> None:
    block = table_block([["", ""], ["Langer Wert " * 20, "Ende"]], 0)
    found = chunk(Extraction(flow=(block,)), TOKENS, ChunkSizes(32, 0))
    assert all(each.text.strip() and each.start < each.end for each in found)
    assert found[-1].text.endswith("Ende")


def test_an_attachment_has_passages_of_its_own_below_its_name_and_what_it_is_attached_to() -> None:
    items = (
        Block("heading", "Angebot 26-0815", level=1),
        Block("paragraph", "Anbei die Preise."),
        Block("heading", "Klemmen", level=1, source="preise.xlsx"),
        Block("paragraph", "RK 4 kostet 3,20 EUR.", source="preise.xlsx"),
        Product("RK-4", source="artikel.csv"),
        Block("paragraph", "Mit freundlichem Gruß"),
    )
    made = chunk(Extraction(flow=items), TOKENS, ChunkSizes(200))
    assert [each.heading_path for each in made] == [
        "Angebot 26-0815",
        "Angebot 26-0815 › preise.xlsx › Klemmen",
        "Angebot 26-0815 › artikel.csv",
        "Angebot 26-0815",
    ]
    assert made[1].text == "Angebot 26-0815 › preise.xlsx\nKlemmen\n\nRK 4 kostet 3,20 EUR."
    assert made[3].text.endswith("Mit freundlichem Gruß")
    whole = Chunker(TOKENS, ChunkSizes(200))
    parts = [Extraction(flow=(item,)) for item in items]
    assert [each.heading_path for part in parts for each in whole.add(part)][-1] == "Angebot 26-0815"
