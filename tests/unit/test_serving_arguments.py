"""What is said of wrong arguments: which, why, and how to mend it."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from mcp_types import ToolAnnotations
from pydantic import Field, ValidationError

from shared.contracts.model import Contract
from shared.errors import InvalidInput
from shared.serving.failures import invalid_arguments
from shared.serving.schemas import BOUNDS, TITLES, without
from shared.serving.tools import ToolServer, checked


class Condition(Contract):
    feature: str
    comparison: Literal["equals", "at_least"] = "equals"
    value: str


class Order(Contract):
    job_id: Annotated[str, Field(pattern="^job_[a-z]+$", description="A job's id, as its tool gave it.")] = "job_a"
    query: str = Field("x", min_length=1)
    digest: Annotated[str, Field(pattern="^[0-9a-f]+$", description="In hex.")] | None = None
    names: list[Annotated[str, Field(pattern="^[a-z]+/[a-z]+$", description="Such as a/b.")]] = Field([])
    conditions: list[Condition] = Field([], max_length=1)
    version: Annotated[int, Field(ge=1)] | Literal["newest"] | None = None


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"job_id": "x"}, "`job_id` should match pattern '^job_[a-z]+$' (A job's id, as its tool gave it)."),
        ({"digest": "x"}, "`digest` should match pattern '^[0-9a-f]+$' (In hex)."),
        ({"names": ["x"]}, "`names.0` should match pattern '^[a-z]+/[a-z]+$' (Such as a/b)."),
        ({"query": ""}, "`query` should have at least 1 character."),
        ({"query": 5}, "`query` should be a valid string."),
        ({"conditions": [{"feature": "a", "value": "1", "operator": ">="}]},
         "`conditions.0.*` is not known here: leave it out (known: comparison, feature, value)."),
        ({"conditions": ["x"]}, "`conditions.0` should be an object (known: comparison, feature, value)."),
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


async def act(
    customer_id: Annotated[str, Field(max_length=9)],
    title: Literal["short", "long"] = "short",
    count: Annotated[int, Field(ge=1)] | None = None,
) -> Condition:
    """Acts. Use it in tests."""
    return Condition(feature=customer_id, value=f"{title} {count}")


@pytest.fixture
def server() -> ToolServer:
    server = ToolServer("rig")
    server.declare(act, scope="read", title="Act", name="act", annotations=ToolAnnotations(), deadline_s=9)
    return server


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize("wrong", ["customerId", "customer-id", "CustomerId", "customerID"])
def test_a_name_in_another_spelling_is_told_to_have_underscores_and_not_to_be_left_out(
    server: ToolServer, wrong: str
) -> None:
    with pytest.raises(InvalidInput, match="have underscores here, as in: count, customer_id, title"):
        checked(server.specs["act"], {wrong: "a"})
    with pytest.raises(InvalidInput, match="leave it out"):
        checked(server.specs["act"], {"another": "a"})


@pytest.mark.requirement("M-04")
def test_a_customer_that_the_token_names_is_no_argument_and_the_error_says_so() -> None:
    async def install(server_name: str) -> Condition:
        """Installs. Use it in tests."""
        return Condition(feature=server_name, value="")

    server = ToolServer("rig")
    server.declare(install, scope="x", title="Install", name="install", annotations=ToolAnnotations(), deadline_s=9)
    with pytest.raises(InvalidInput, match=r"the token says: leave customer_id out.*`customer`.*server_name"):
        checked(server.specs["install"], {"server_name": "a/b", "customer_id": "mueller-elektro"})


@pytest.mark.requirement("M-04")
def test_null_for_an_argument_with_a_default_is_as_if_it_were_left_out(server: ToolServer) -> None:
    spec = server.specs["act"]
    assert checked(spec, {"customer_id": "a", "title": None, "count": None}) == {"customer_id": "a", "count": None}
    assert checked(spec, {"customer_id": None}) == {"customer_id": None}, "a required one is refused by its name"


@pytest.mark.requirement("M-04")
async def test_a_list_of_tools_repeats_no_names_as_titles_and_no_bounds_of_answers(server: ToolServer) -> None:
    (tool,) = await server.list_tools()
    assert tool.input_schema["properties"]["customer_id"] == {"maxLength": 9, "type": "string"}
    assert set(tool.input_schema["properties"]) == {"customer_id", "title", "count"}, "an argument may be called title"
    assert tool.output_schema is not None
    assert tool.output_schema["properties"]["feature"] == {"type": "string"}


def test_a_default_that_holds_such_a_word_stays_in_the_schema() -> None:
    schema = {"properties": {"pattern": {"default": {"title": "a"}, "title": "Pattern"}}}
    assert without(schema, TITLES | BOUNDS) == {"properties": {"pattern": {"default": {"title": "a"}}}}
