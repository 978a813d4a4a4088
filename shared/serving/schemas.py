"""JSON schemas of arguments."""

from __future__ import annotations

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
