"""Arguments derived from a tool's schema: objects that fit it, and objects of its names with any values."""

from __future__ import annotations

from functools import reduce
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

HOSTILE = [
    "\0", "a\0b", "\ud800", "x\udfff", "\u202eabc", "\u200b\u200d\ufeff", "a" + "\u0301" * 10_000, "{{7*7}}", "$(id)",
    "-rf", "../../etc/passwd", "/etc/passwd", "' OR 1=1 --", "\r\nX: y", "%00", "a" * 70_000, "ß€漢字🙂", "",
]  # fmt: skip
LONGEST, MOST = 4_000, 40
"""Characters and items of values that are as large as their schema lets them be."""
NUMBERS = [2**63, -(2**63) - 1, 2**53, 1e308, -1, 0, 0.5]
Case = dict[str, Any]
Values = st.SearchStrategy[Any]

anything: Values = st.recursive(
    st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(HOSTILE) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def cases_of(schema: Case, count: int, start: int) -> list[Case]:
    """About `count` objects, the same for the same `start`: a quarter fits, the rest has wrong, unknown or no values,
    or fits but for one place, however deep."""
    fits = fitting(schema, schema)
    wrong = st.dictionaries(st.sampled_from([*schema.get("properties", {}), "unknown", "\ud800"]), anything, max_size=4)
    spoilt = st.tuples(fits, wrong).map(lambda pair: pair[0] | pair[1])
    found: list[Case] = []

    @seed(start)
    @settings(
        max_examples=count, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=[*HealthCheck]
    )
    @given(st.one_of(fits, wrong, spoilt, but_for_one_place(fits)))
    def collect(case: Case) -> None:
        found.append(case)

    collect()
    return found


@st.composite
def but_for_one_place(draw: st.DrawFn, fits: Values) -> Any:
    """A value that fits, of which one part is anything, too long, too often there, missing or unknown."""
    return _changed(draw, draw(fits), inner=True)


def _changed(draw: st.DrawFn, value: Any, *, inner: bool = False) -> Any:
    if isinstance(value, dict) and value and (inner or draw(st.booleans())):
        name = draw(st.sampled_from([*value]))
        return value | {name: _changed(draw, value[name])}
    if isinstance(value, list) and value and draw(st.booleans()):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], _changed(draw, value[at]), *value[at + 1 :]]
    other = anything
    if isinstance(value, dict):
        left = {name: value[name] for name in draw(st.sets(st.sampled_from([*value])))} if value else {}
        other |= st.sampled_from([left, value | {"unknown": 1}])
    if isinstance(value, list | str) and value:
        other |= st.sampled_from([value * (1001 if len(str(value)) < 1000 else 2), value[:1]])
    return draw(other)


def fitting(schema: Case, root: Case) -> Values:
    """Values that fit a schema; those of large bounds stay small."""
    if "$ref" in schema:
        place = schema["$ref"].removeprefix("#/").split("/")
        return st.deferred(lambda: fitting(reduce(lambda node, name: node[name], place, root), root))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for either in ("anyOf", "oneOf"):
        if either in schema:
            return st.one_of(*(fitting(each, root) for each in schema[either]))
    return OF_TYPE[schema.get("type", "")](schema, root)


def _text(schema: Case, root: Case) -> Values:
    least, most = schema.get("minLength", 0), schema.get("maxLength", 200)
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True).filter(lambda text: least <= len(text) <= most)
    hostile = [text for text in HOSTILE if least <= len(text) <= most]
    longest = [each * min(most, LONGEST) for each in "aß🙂"]  # of up to four bytes each
    return st.text(min_size=least, max_size=min(most, least + 40)) | st.sampled_from(hostile + longest)


def _integer(schema: Case, root: Case) -> Values:
    return st.integers(schema.get("minimum", -(2**63)), schema.get("maximum", 2**63 - 1))


def _number(schema: Case, root: Case) -> Values:
    return st.floats(schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False)


def _list(schema: Case, root: Case) -> Values:
    least, most = schema.get("minItems", 0), schema.get("maxItems", 99)
    each = fitting(schema.get("items", {}), root)
    return st.lists(each, min_size=least, max_size=min(most, least + 3)) | each.map(lambda one: [one] * min(most, MOST))


def _object(schema: Case, root: Case) -> Values:
    parts = {name: fitting(part, root) for name, part in schema.get("properties", {}).items()}
    required = set(schema.get("required", ()))
    if not parts and (named := schema.get("patternProperties")):
        ((pattern, part),) = named.items()
        least = schema.get("minProperties", 0)
        keys = st.from_regex(pattern, fullmatch=True)
        return st.dictionaries(keys, fitting(part, root), min_size=least, max_size=least + 3)
    if not parts and schema.get("additionalProperties", True):
        return st.dictionaries(st.text(max_size=8), anything, max_size=3)
    return st.fixed_dictionaries(
        {name: part for name, part in parts.items() if name in required},
        optional={name: part for name, part in parts.items() if name not in required},
    )


OF_TYPE = {
    "": lambda schema, root: anything,
    "null": lambda schema, root: st.none(),
    "boolean": lambda schema, root: st.booleans(),
    "string": _text,
    "integer": _integer,
    "number": _number,
    "array": _list,
    "object": _object,
}
