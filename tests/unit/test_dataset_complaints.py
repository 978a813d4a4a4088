"""What engines say of statements is told without their own parts and with the next step."""

from __future__ import annotations

import pytest

from shared.dataset.complaints import GRAPH_NARROWER, TABLE_NARROWER, narrower, told


@pytest.mark.parametrize(
    ("engine", "said", "statement", "tells"),
    [
        ("cypher", "Binder exception: Table product does not exist", "", "product does not exist. Kinds are"),
        ("cypher", "Catalog exception: function TYPE does not exist", "", "property kind"),
        ("cypher", 'Conversion exception: Cast failed. Could not convert "" to INT64', "", "'4711' in quotes"),
        (
            "cypher",
            'Parser exception: Invalid input <MATCH (n) RETURN n GROUP>: expected rule iC_Statements '
            '(line: 1, offset: 19) "MATCH (n) RETURN n GROUP BY n" ^^^^^',
            "MATCH (n) RETURN n GROUP BY n",
            "character 20, `GROUP BY n`. What is not aggregated",
        ),
        (
            "cypher",
            "Parser exception: Invalid input < n>: expected rule oC_SingleQuery (line: 2, offset: 7) ^",
            "MATCH (n)\nRETURN  n n",
            "line 2, character 8, ` n n`",
        ),
        ("sql", "Error during planning: table 'datafusion.public.product' not found", "", "table 'product' not found"),
        ("sql", "Optimizer rule 'push_down' failed caused by Error during planning: OFFSET", "", "Error during plan"),
        ("sql", "Schema error: No field named article_number. Valid fields are …", "", "It is in products"),
        ("sql", 'Schema error: No field named "RK-4-GR". Valid fields are …', "", "stands in single quotes"),
        (
            "sql",
            "Parquet error: Error evaluating predicate: Cannot cast string '' to value of Date32 type",
            "",
            "valid_from <= '2026-12-31'",
        ),
        ("sql", "Cast error: Cannot cast string 'M8x1' to value of Float64 type", "", "TRY_CAST"),
        ("sql", "Error during planning: Invalid function 'group_concat'. Did you …", "", "string_agg"),
        ("sql", "This feature is not implemented: Unsupported ast node in sqltorel: RLike { …", "", "column ~ '"),
        ("sql", "External error: Arrow error: Divide by zero error", "", "Divide by zero error"),
        ("bolt", "There is no procedure of this name", "", "There is no procedure of this name"),
    ],
)  # fmt: skip
def test_a_sentence_of_an_engine_is_told_with_what_mends_it(engine: str, said: str, statement: str, tells: str) -> None:
    sentence = told(engine, said, statement)
    assert tells in sentence
    for inner in ("exception", "expected rule", "datafusion", "caused by", "External error"):
        assert inner not in sentence


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("cypher", "Buffer manager exception: Unable to allocate memory! The buffer pool is full"),
        ("sql", "Resources exhausted: Failed to allocate additional 1 MB"),
    ],
)
def test_where_memory_does_not_suffice_the_way_to_narrow_is_told(engine: str, said: str) -> None:
    sentence = told(engine, said, "")
    assert "more memory" in sentence
    assert narrower(engine).rstrip(".") in sentence
    assert said not in sentence


def test_a_graph_is_narrowed_by_its_paths_and_a_table_by_its_joins() -> None:
    assert narrower("bolt") == narrower("cypher") == GRAPH_NARROWER
    assert narrower("sql") == TABLE_NARROWER
