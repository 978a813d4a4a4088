"""What is said of wrong arguments: which, why, and how to mend it."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from shared.contracts.model import Contract
from shared.serving.failures import invalid_arguments


class Condition(Contract):
    feature: str
    comparison: Literal["equals", "at_least"] = "equals"
    value: str


class Order(Contract):
    job_id: Annotated[str, Field(pattern="^job_[a-z]+$", description="A job's id, as its tool gave it.")] = "job_a"
    query: str = Field("x", min_length=1)
    digest: Annotated[str, Field(pattern="^[0-9a-f]+$", description="In hex.")] | None = None
    conditions: list[Condition] = Field([], max_length=1)
    version: Annotated[int, Field(ge=1)] | Literal["newest"] | None = None


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"job_id": "x"}, "`job_id` should match pattern '^job_[a-z]+$' (A job's id, as its tool gave it)."),
        ({"digest": "x"}, "`digest` should match pattern '^[0-9a-f]+$' (In hex)."),
        ({"query": ""}, "`query` should have at least 1 character."),
        ({"query": 5}, "`query` should be a valid string."),
        ({"conditions": [{"feature": "a", "value": "1", "operator": ">="}]},
         "`conditions.0.*` is not known here: leave it out (known: comparison, feature, value)."),
        ({"conditions": ["x"]}, "`conditions.0` should be an object."),
        ({"version": 0}, "`version` should be greater than or equal to 1; `version` should be 'newest'."),
        ({"conditions": [{}]}, "`conditions.0.feature` is required; `conditions.0.value` is required."),
        ({"conditions": [{"feature": "a", "value": "b"}] * 2},
         "`conditions` should have at most 1 item after validation, not 2."),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_with_what_it_should_be(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError) as wrong:
        Order.model_validate(given)
    assert invalid_arguments(wrong.value, Order.model_json_schema()).message == "Argument " + said
