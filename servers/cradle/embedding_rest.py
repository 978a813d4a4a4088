"""HTTP routes of the embedding port: the seed's `/embed`, text-embeddings-inference's, and OpenAI's `/v1/embeddings`.

They need a token with the scope `embed`. `/health` and `/metrics` come with the server.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from servers.cradle.embedding.service import EmbeddingService
from shared.auth import principal
from shared.contracts.embedding import MAX_TEXTS, EmbeddingRequest, EmbeddingResult, InputType, Text
from shared.errors import InvalidInput, NotFound
from shared.serving import Server, read_model

SCOPE = "embed"
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)]


class EmbedBody(BaseModel):
    """`POST /embed` with `texts` (an object comes back) or with TEI's `inputs` (a bare list of vectors comes back)."""

    model_config = ConfigDict(extra="forbid")

    texts: Texts | None = None
    inputs: Text | Texts | None = None
    normalize: bool = True
    truncate: bool = False
    input_type: InputType = "passage"


class OpenAiBody(BaseModel):
    """`POST /v1/embeddings`. `input_type` is an addition (`extra_body` in the openai package)."""

    model_config = ConfigDict(extra="forbid")

    input: Text | Texts | list[int] | list[list[int]]
    model: str = Field(max_length=200)
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = Field(None, max_length=200)
    input_type: InputType = "passage"


def register(server: Server, service: Callable[[], EmbeddingService]) -> None:
    """Offers the routes on a server; `service` is asked at each call, so that the server may start first."""

    async def embed(request: Request) -> Any:
        body = await read_model(request, EmbedBody)
        texts = _texts_of(body)
        result = await service().embed(
            EmbeddingRequest(
                texts=texts,
                input_type=body.input_type,
                normalize=body.normalize,
                truncate=body.truncate,
                encoding="float",
            ),
            tenant(),
        )
        return result.vectors if body.texts is None else seed_answer(result)

    async def openai(request: Request) -> Any:
        body = await read_model(request, OpenAiBody)
        identity = await service().identity()
        _require_model(body.model, identity.model)
        if body.dimensions not in (None, identity.dimension):
            raise InvalidInput(f"This model has {identity.dimension} dimensions.", field="dimensions")
        result = await service().embed(
            EmbeddingRequest(texts=_strings(body.input), input_type=body.input_type, encoding=body.encoding_format),
            tenant(),
        )
        return openai_answer(result)

    server.route("/embed", embed, ["POST"], scope=SCOPE)
    server.route("/v1/embeddings", openai, ["POST"], scope=SCOPE)


def tenant() -> str:
    """Whose share of the device a call uses: the customer's, or the caller's where it acts for none."""
    caller = principal()
    return caller.customer or caller.subject


def seed_answer(result: EmbeddingResult) -> dict[str, Any]:
    """The answer of `POST /embed {"texts": …}`."""
    return {
        "embeddings": result.vectors,
        "model": result.model,
        "revision": result.revision,
        "dimension": result.dimension,
        "count": result.count,
        "tokens": result.tokens,
        "truncated": result.truncated,
    }


def openai_answer(result: EmbeddingResult) -> dict[str, Any]:
    """The answer of `POST /v1/embeddings`; vectors as numbers, or each in base64 as the request said."""
    vectors: list[Any] = result.vectors if result.vectors is not None else _rows(result)
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)],
        "model": result.model,
        "usage": {"prompt_tokens": result.tokens, "total_tokens": result.tokens},
    }


def _rows(result: EmbeddingResult) -> list[str]:
    data, size = base64.b64decode(result.data or ""), result.dimension * 4
    return [base64.b64encode(data[at : at + size]).decode() for at in range(0, len(data), size)]


def _texts_of(body: EmbedBody) -> list[str]:
    if (body.texts is None) == (body.inputs is None):
        raise InvalidInput("Send a list of texts as `texts`, or `inputs` as text-embeddings-inference takes it.")
    if body.texts is not None:
        return body.texts
    return [body.inputs] if isinstance(body.inputs, str) else body.inputs or []


def _strings(given: str | list[str] | list[int] | list[list[int]]) -> list[str]:
    if isinstance(given, str):
        return [given]
    if not all(isinstance(text, str) for text in given):
        raise InvalidInput(
            "Send texts: token ids of another model's tokenizer would give wrong vectors "
            "(LangChain: check_embedding_ctx_length=False).",
            field="input",
        )
    return [str(text) for text in given]


def _require_model(asked: str, served: str) -> None:
    if asked not in (served, served.rsplit("/", 1)[-1]):
        raise NotFound(f"This server has one model: {served}. Ask for that.", field="model")
