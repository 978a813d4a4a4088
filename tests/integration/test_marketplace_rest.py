"""REST beside MCP: the OpenAPI document holds for requests made from it, and compute passes through to cradle."""

from __future__ import annotations

import asyncio
from typing import Any

import jwt
import orjson
import pytest
from hypothesis import HealthCheck, Phase, settings

from servers.marketplace.openapi import openapi
from servers.marketplace.tools.usage import Usage
from shared.settings import Settings
from tests.marketplace_rig import Market, answer_json, body_of, free_port, listening
from tests.serving_rig import HANGS_S

EXAMPLES = 12
NOT_TRUE_HERE = {
    "positive_data_acceptance",  # a cursor or a name of the right form need not exist
    "not_a_server_error",  # 503 while no cradle runs is documented; every other 5xx fails below
    "unsupported_method",  # routes of other methods answer 405 with the platform's error, without `Allow`
}


class Cradle:
    """What stands where cradle's REST ports are: answers as cradle does, and notes the tokens that it sees."""

    def __init__(self) -> None:
        self.tokens: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.status = 200

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        told = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.tokens.append(jwt.decode(told["authorization"].split()[1], options={"verify_signature": False}))
        self.bodies.append(await body_of(receive))
        if scope["path"] == "/process":
            await answer_json(send, {"text": "IP66", "pages": [{"page": 1}, {"page": 2}]}, self.status)
        else:
            await answer_json(send, {"object": "list", "data": []}, self.status, {"x-tokens": "17"})


@pytest.fixture
def market_settings() -> dict[str, Any]:
    return {"embedding_port": free_port(), "vision_port": free_port()}


async def test_requests_made_from_the_document_are_answered_as_it_says(market: Market) -> None:
    import schemathesis
    from schemathesis.checks import CHECKS

    token = await market.user_token("acme")
    document = (await market.http.get(market.base + "/openapi.json")).json()
    schema = schemathesis.openapi.from_dict(document)
    chosen = [each for each in CHECKS.get_all() if each.__name__ not in NOT_TRUE_HERE]
    counted: dict[str, int] = {}

    def attack(operation: Any) -> None:
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @_given(operation)
        def one(case: Any) -> None:
            dropped = "authorization" not in case.headers  # a request that is to be refused for it, then
            headers = {} if dropped else {"authorization": f"Bearer {token}"}
            answer = case.call(base_url=market.base, headers=headers, timeout=HANGS_S)
            counted[operation.label] = counted.get(operation.label, 0) + 1
            assert answer.status_code < 500 or answer.status_code == 503, (operation.label, answer.status_code)
            case.validate_response(answer, checks=chosen, headers=headers)

        one()

    for found in schema.get_all_operations():
        await asyncio.to_thread(attack, found.ok())
    assert set(counted) == {
        f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods
    }
    assert sum(counted.values()) >= 4 * EXAMPLES


def _given(operation: Any) -> Any:
    import schemathesis
    from hypothesis import given
    from hypothesis import strategies as st

    return given(st.one_of([operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode]))


async def test_the_document_names_no_route_that_is_not_there_and_each_needs_a_token_but_the_public_ones(
    market: Market,
) -> None:
    for path, methods in openapi(market.settings)["paths"].items():
        for method, told in methods.items():
            place = market.base + path.replace("{name}", "io.0711%2Ftax").replace("{version}", "latest")
            answer = await market.http.request(method.upper(), place, content=b"{}")
            assert answer.status_code != 404, path
            assert (answer.status_code == 401) == ("security" in told), path


async def test_embeddings_and_vision_pass_through_with_a_token_for_cradle_and_are_metered(market: Market) -> None:
    token, cradle = await market.user_token("acme"), Cradle()
    headers = {"authorization": f"Bearer {token}"}
    body = orjson.dumps({"input": ["Reihenklemme"], "model": "x"})

    async def post(path: str, content: bytes = body) -> Any:
        return await market.http.post(market.base + path, content=content, headers=headers)

    refused = await post("/v1/embeddings")
    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    ports = (market.settings.embedding_port, market.settings.vision_port)
    async with listening(cradle, ports[0], Settings()), listening(cradle, ports[1], Settings()):  # pyright: ignore[reportArgumentType]
        answered = await post("/v1/embeddings")
        assert (answered.status_code, answered.headers["x-tokens"]) == (200, "17")
        assert (await post("/v1/vision", orjson.dumps({"image_base64": "AAAA"}))).json()["text"] == "IP66"
        cradle.status = 400
        assert (await post("/v1/embeddings")).status_code == 400
    assert cradle.bodies[0] == body
    assert {claims["aud"] for claims in cradle.tokens} == {market.settings.resource("cradle")}
    assert [claims["scope"] for claims in cradle.tokens] == ["embed", "ocr", "embed"]
    assert {claims["customer"] for claims in cradle.tokens} == {"acme"}
    usage = await market.call(token, "get_usage", Usage)
    assert {(row.tool, row.units.calls, row.units.tokens, row.units.pages) for row in usage.rows} == {
        ("embed", 1, 17, 0), ("ocr", 1, 0, 2),
    }  # fmt: skip


async def test_the_openai_package_raises_its_own_errors_of_the_guard_the_scope_and_a_cradle_that_is_away(
    market: Market,
) -> None:
    import openai

    async def refusal(token: str) -> tuple[int, str | None, str | None]:
        async with openai.AsyncOpenAI(base_url=market.base + "/v1", api_key=token, max_retries=0) as client:
            with pytest.raises(openai.APIStatusError) as refused:
                await client.embeddings.create(model="x", input="Reihenklemme")
        return refused.value.status_code, refused.value.type, refused.value.code

    without = await market.user_token("acme", scope="catalogue:read")
    assert await refusal("none") == (401, "invalid_request_error", "unauthenticated")
    assert await refusal(without) == (403, "invalid_request_error", "forbidden")
    assert await refusal(await market.user_token("acme")) == (503, "server_error", "unavailable")
