"""JSON schemas of arguments and answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def property_names(schema: Any) -> set[str]:
    """Every property name in a JSON schema, in definitions too."""
    found: set[str] = set()
    if isinstance(schema, dict):
        properties = schema.get("properties")
        found |= set(properties) if isinstance(properties, dict) else set()
        found |= set().union(*(property_names(each) for each in schema.values()))
    elif isinstance(schema, list):
        found |= set().union(*(property_names(each) for each in schema))
    return found


def nodes_at(schema: dict[str, Any], place: Sequence[int | str]) -> list[dict[str, Any]]:
    """The schemas of everything that may stand at a place such as `("conditions", 0)`, the outermost first."""
    here = kinds_of(schema, schema)
    for part in place:
        step = "items" if isinstance(part, int) else "properties"
        inner = [each[step] if step == "items" else each[step].get(part) for each in here if step in each]
        found = [kind for each in inner if isinstance(each, dict) for kind in kinds_of(schema, each)]
        here = found or here  # a part that is no property names which kind of a union it is
    return here


def properties_at(schema: dict[str, Any], place: Sequence[int | str]) -> dict[str, Any]:
    """The properties, name → schema, of every object that may stand at a place."""
    return {name: value for each in nodes_at(schema, place) for name, value in each.get("properties", {}).items()}


def kinds_of(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    """A schema, or what it refers to, and all that it is a choice of."""
    if "$ref" in node:
        return kinds_of(schema, schema.get("$defs", {}).get(node["$ref"].rpartition("/")[2], {}))
    inner = [each for key in ("anyOf", "oneOf", "allOf") for each in node.get(key, [])]
    return [node, *(kind for each in inner for kind in kinds_of(schema, each))]


NAMED = frozenset({"properties", "$defs", "patternProperties"})
TITLES = frozenset({"title"})
BOUNDS = frozenset({"pattern", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"})


def without(schema: Any, keywords: frozenset[str], *, names: bool = False) -> Any:
    """A copy of a schema without these keywords; `names`: its keys are names that somebody chose, and stay."""
    if isinstance(schema, list):
        return [without(each, keywords) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value
        if key in ("default", "const", "enum") and not names
        else without(value, keywords, names=key in NAMED and not names)
        for key, value in schema.items()
        if names or key not in keywords
    }


def left_out(schema: dict[str, Any], name: str) -> bool:
    """Whether an argument may be left out, and null is none of its values: a null there means that it is left out."""
    kinds = kinds_of(schema, schema.get("properties", {}).get(name, {}))
    return name not in schema.get("required", []) and all(each.get("type") != "null" for each in kinds)
