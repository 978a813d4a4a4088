"""What an engine says of a statement, in words by which it is mended: engines tell of their own parts, not of the next
step. Pure."""

from __future__ import annotations

import re

GRAPH_NARROWER = "Begin at a node that is named ({number: '…'}), bound the length of paths (*1..3), or return less."
TABLE_NARROWER = "Add conditions, give each joined table its ON, or aggregate less."
_MEMORY = re.compile(r"buffer manager exception|unable to allocate|resources exhausted", re.IGNORECASE)
_OWN = (  # what an engine puts before, or names, that is nothing to whoever asks
    re.compile(r"^(?:Binder|Catalog|Conversion|Runtime) exception: "),
    re.compile(r"(?:Optimizer rule '\w+' failed caused by |type_coercion caused by |External error: |Arrow error: )"),
    re.compile(r"(?<=')datafusion\.public\."),
)
_UNREAD = re.compile(r"Parser exception: .*?\(line: (\d+), offset: (\d+)\).*", re.DOTALL)
_MENDED = {
    "bolt": (),
    "cypher": (
        (r"Table (\w+) does not exist", "Kinds are a property: (n:Node {kind: '…'}), -[e:Edge {kind: '…'}]->"),
        (r"function (?:TYPE|LABEL)S? does not exist", "The kind of a node or relation is its property kind"),
        (r"Cast failed|Cannot compare types", "All properties are texts: write number: '4711' in quotes"),
        (r"shortest_?path", "Shortest paths are written (a)-[e:Edge* SHORTEST 1..5]-(b)"),
        (r"group by", "What is not aggregated in RETURN is grouped by: leave GROUP BY out"),
        (r"exists ?\(", "A pattern is asked for by EXISTS { MATCH (n)-[:Edge]->() }"),
    ),
    "sql": (
        (r"No field named \"?(?:\w+\.)?(?:article_number|gtin)\b", "It is in products: JOIN on product_id"),
        (r"No field named \"?(?:\w+\.)?amount\b", "It is in prices: JOIN on product_id"),
        (r"No field named \"", "A text stands in single quotes: '4711'; columns are written small"),
        (r"not implemented: TOP", "Write LIMIT at the end"),
        (r"Unsupported ast node in sqltorel: RLike", "A pattern is asked for by column ~ '…', a part by ILIKE '%…%'"),
        (r"to value of (?:Date|Timestamp)", "Days are texts, '' where open: valid_from <= '2026-12-31'"),
        (r"Cannot cast string", "TRY_CAST gives NULL where it is no number; features.number holds those that are"),
        (r"Invalid function '(?:group_concat|listagg)'", "It is string_agg(column, ', ')"),
    ),
}  # fmt: skip


def told(engine: str, said: str, statement: str) -> str:
    """A sentence, without its point, that says what is wrong, and the next step where one is known.

    Args:
        engine: `sql`, `cypher` or `bolt`.
        said: by the engine.
    """
    if _MEMORY.search(said):
        return f"it needs more memory than one query may have. {narrower(engine).rstrip('.')}"
    place, sentence = _UNREAD.fullmatch(said), said
    if place is not None:
        line, offset = int(place[1]), int(place[2])
        rest = "".join(statement.splitlines(keepends=True)[line - 1 : line])[offset:]
        sentence = f"it cannot be read at line {line}, character {offset + 1}" + (f", `{rest[:40]}`" if rest else "")
    for each in _OWN:
        sentence = each.sub("", sentence)
    looked = statement if place is not None else said
    mended = next((step for like, step in _MENDED[engine] if re.search(like, looked, re.IGNORECASE)), "")
    return f"{sentence}. {mended}" if mended else sentence


def narrower(engine: str) -> str:
    """How a statement takes less time and memory."""
    return TABLE_NARROWER if engine == "sql" else GRAPH_NARROWER
