"""What a job asks before it goes on, as yes or no, and the form in which MCP's clients are asked. Pure."""

from __future__ import annotations

from collections.abc import Container
from itertools import count
from typing import Any

from shared.contracts.job import JobQuestion
from shared.errors import InvalidInput

FIELD = "confirm"


class Asked(Exception):
    """A step needs answers first: it runs again once it has them."""

    def __init__(self, questions: list[JobQuestion]) -> None:
        super().__init__("asked")
        self.questions = questions


def key_of(name: str, used: Container[str]) -> str:
    """The key of the question about something that is named in words: none of the `used` ones."""
    key = name.replace(" ", "_")
    return next(each for number in count(1) if (each := key if number == 1 else f"{key}_{number}") not in used)


def form_of(question: JobQuestion) -> dict[str, Any]:
    """The question as an elicitation with a form of one field, as 2026-07-28 writes it."""
    field = {"type": "boolean", "title": "Yes"}
    schema = {"type": "object", "properties": {FIELD: field}, "required": [FIELD]}
    params = {"mode": "form", "message": question.message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


def answer_of(response: Any) -> bool:
    """What the answer to such a form says; declined and closed forms say no.

    Raises:
        InvalidInput: it is no answer to one.
    """
    action = response.get("action") if isinstance(response, dict) else None
    if action in {"decline", "cancel"}:
        return False
    content = response.get("content") if action == "accept" else None
    confirmed = content.get(FIELD) if isinstance(content, dict) else None
    if not isinstance(confirmed, bool):
        raise InvalidInput(
            f"An answer is not what the form asks for: send action 'accept' with content {{'{FIELD}': true or false}}, "
            "or action 'decline'.",
            field="inputResponses",
        )
    return confirmed
