"""Structured answers: which JSON schemas are taken, and the check of an answer against one. Pure."""

from __future__ import annotations

import re
from typing import Any

import orjson

from servers.cradle.vision.failures import Wasted
from shared.errors import InvalidInput, TooLarge

MAX_SCHEMA_BYTES = 32_000
MAX_NODES = 2_000
MAX_LEVELS = 100
_REFUSED = frozenset({"pattern", "patternProperties", "$id", "$dynamicRef", "$recursiveRef"})
"""`pattern` could keep a checker busy for ever; under an `$id` of its own, `#` is a document that would be fetched."""
_FENCED = re.compile(r"```(?:\w*\s)?(.*)```", re.DOTALL)
_PART = re.compile(r"#/(\$defs|definitions|properties)/([^/~%]+)")


def check_schema(schema: dict[str, Any]) -> None:
    """Refuses what is no usable schema.

    Raises:
        InvalidInput: not a JSON schema of an object, or one that uses `pattern`, points elsewhere or to itself, or
            grows without bound where its references are followed.
        TooLarge: over `MAX_SCHEMA_BYTES`.
    """
    import jsonschema

    if len(orjson.dumps(schema)) > MAX_SCHEMA_BYTES:
        raise TooLarge(f"The schema is over {MAX_SCHEMA_BYTES // 1000} kB. Ask for less.", field="json_schema")
    if schema.get("type") != "object":
        raise InvalidInput("The schema describes an object: give it `type: object`.", field="json_schema")
    try:
        _Unfolded(schema).measure(schema)
    except RecursionError:  # a chain of references
        raise _unusable() from None
    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError:
        raise InvalidInput("This is not a JSON schema (draft 2020-12).", field="json_schema") from None


def structured(text: str, schema: dict[str, Any] | None) -> dict[str, Any] | None:
    """The answer as an object that fits the schema; None where no schema was given.

    Raises:
        Wasted: the answer is not JSON, or does not fit; it is not repeated.
    """
    if schema is None:
        return None
    import jsonschema
    from referencing import Registry

    try:
        value = orjson.loads(text)
        # The registry is empty: that of jsonschema would fetch what it does not hold.
        jsonschema.Draft202012Validator(schema, registry=Registry()).validate(value)
    except (orjson.JSONDecodeError, jsonschema.ValidationError, RecursionError):
        raise Wasted(
            "The vision provider's answer does not fit the schema. Try again, or use another provider."
        ) from None
    return value


class _Unfolded:
    """Measures a schema with each reference as often as it is followed: so often an answer is checked."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._schema = schema
        self._parts: dict[str, tuple[int, int] | None] = {}

    def measure(self, node: object) -> tuple[int, int]:
        """How many objects, and how deep they nest.

        Raises:
            InvalidInput: over `MAX_NODES` or `MAX_LEVELS`, without end, or with something that is refused.
        """
        if not isinstance(node, dict | list):
            return 0, 0
        inner = [self.measure(each) for each in (node.values() if isinstance(node, dict) else node)]
        if isinstance(node, dict):
            if _REFUSED & node.keys():
                raise _unusable()
            if isinstance(reference := node.get("$ref"), str):
                inner.append(self._part(reference))
        size, levels = 1 + sum(size for size, _ in inner), 1 + max((levels for _, levels in inner), default=0)
        if size > MAX_NODES or levels > MAX_LEVELS:
            raise InvalidInput(
                "The schema has too many parts, or parts in parts, once its references are followed. Ask for less.",
                field="json_schema",
            )
        return size, levels

    def _part(self, reference: str) -> tuple[int, int]:
        if reference not in self._parts:
            self._parts[reference] = None  # until it is measured: what comes by here again has no end
            found = _PART.fullmatch(reference)
            parts = self._schema.get(found[1]) if found else None
            if found is None or not isinstance(parts, dict) or found[2] not in parts:
                raise _unusable()
            self._parts[reference] = self.measure(parts[found[2]])
        measured = self._parts[reference]
        if measured is None:
            raise _unusable()
        return measured


def _unusable() -> InvalidInput:
    return InvalidInput(
        "The schema may not use pattern or $id, nor refer to elsewhere or back to itself; what is below `$defs` may be "
        "referred to.",
        field="json_schema",
    )


def unfenced(text: str) -> str:
    """The answer without the code fence that models like to put around all of it, whatever they are told."""
    found = _FENCED.fullmatch(text.strip())
    return text.strip() if found is None or "```" in found[1] else found[1].strip()
