"""Rules about a tool's arguments: the operator's conditions in CEL, stored, compiled and judged."""
