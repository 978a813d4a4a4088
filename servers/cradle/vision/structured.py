"""Structured answers: which JSON schemas are taken, and the check of an answer against one. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import orjson

from shared.errors import InvalidInput, TooLarge, Unavailable

MAX_SCHEMA_BYTES = 32_000
MAX_NODES = 2_000
# `pattern` could keep a checker busy for ever; a `$ref` to elsewhere would open a connection.
_REFUSED = frozenset({"pattern", "patternProperties", "$dynamicRef", "$recursiveRef"})


def check_schema(schema: dict[str, Any]) -> None:
    """Refuses what is no usable schema.

    Raises:
        InvalidInput: not a JSON schema of an object, or one that uses `pattern` or points elsewhere.
        TooLarge: over `MAX_SCHEMA_BYTES`.
    """
    import jsonschema

    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise TooLarge(f"The schema is over {MAX_SCHEMA_BYTES // 1000} kB. Ask for less.", field="json_schema")
    if schema.get("type") != "object":
        raise InvalidInput("The schema describes an object: give it `type: object`.", field="json_schema")
    for count, node in enumerate(_nodes(schema)):
        if count > MAX_NODES or _REFUSED & node.keys() or not str(node.get("$ref", "#")).startswith("#"):
            raise InvalidInput("The schema may not use pattern or refer to elsewhere.", field="json_schema")
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError:
        raise InvalidInput("This is not a JSON schema (draft 2020-12).", field="json_schema") from None


def structured(text: str, schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The answer as an object that fits the schema; None where no schema was given.

    Raises:
        Unavailable: the answer is not JSON, or does not fit; it is not repeated.
    """
    if schema is None:
        return None
    import jsonschema

    try:
        value = orjson.loads(_unfenced(text))
        jsonschema.Draft202012Validator(schema).validate(value)
    except (orjson.JSONDecodeError, jsonschema.ValidationError, RecursionError):
        raise Unavailable(
            "The vision provider's answer does not fit the schema. Try again, or use another provider."
        ) from None
    return value


def _unfenced(text: str) -> str:
    """Models like to put JSON between fences."""
    body = text.strip()
    if body.startswith("```") and body.endswith("```"):
        body = body.removeprefix("```json").removeprefix("```").removesuffix("```")
    return body


def _nodes(schema: object) -> Iterator[dict[str, Any]]:
    stack = [schema]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
