"""HTTP routes of the embedding port: the seed's `/embed`, text-embeddings-inference's, and OpenAI's `/v1/embeddings`.

They need a token with the scope `embed`. `/health` and `/metrics` come with the server.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from servers.cradle.embedding import wire
from servers.cradle.embedding.service import Embedded, EmbeddingService
from servers.cradle.metering import Served
from shared.auth import principal
from shared.errors import NotFound, Unavailable
from shared.metering.units import Units
from shared.serving import Server, read_model
from shared.serving.failures import openai_error
from shared.serving.hanging_up import hung_up
from shared.serving.process import OPEN_FILES

SCOPE = "embed"
NOT_SERVED = ("/embed_all", "/embed_sparse", "/predict", "/rerank", "/decode")
"""What text-embeddings-inference has beside, mostly for other kinds of models."""
MAX_BODY_BYTES = 8 * 2**20
"""Largest body of these routes: 2,048 texts of four times as many characters as the model reads."""
Result = TypeVar("Result")


def register(server: Server, service: Callable[[], EmbeddingService], served: Served) -> None:
    """Offers the routes on a server; `service` is asked at each call, so that the server may start first. The vectors
    that they give are counted by `served`."""

    def answer(result: Embedded, body: bytes, media_type: str = "application/json") -> Response:
        served("embed", Units(calls=1, tokens=result.tokens, bytes=len(body)))
        return Response(body, headers=wire.answer_headers(result), media_type=media_type)

    async def embed(request: Request) -> Response:
        form = wire.wanted_form(request.headers.get("accept", ""))
        body = await read_model(request, wire.EmbedBody)
        unit = body.normalize is not False
        result = await while_connected(
            request,
            service().vectors(
                body.given(),
                body.prompt_name or body.input_type,
                tenant(),
                normalize=unit,
                truncate=bool(body.truncate),
                priority=body.priority,
                dimensions=body.dimensions,
            ),
        )
        if form != "json":
            return answer(result, wire.raw_answer(result, form), wire.RAW)
        return answer(result, (wire.tei_answer if body.texts is None else wire.seed_answer)(result))

    async def openai(request: Request) -> Response:
        body = await read_model(request, wire.OpenAiBody)

        async def vectors() -> Embedded:
            return await service().vectors(
                body.given((await service().identity()).model),
                body.input_type,
                tenant(),
                truncate=body.truncate,
                priority=body.priority,
                dimensions=body.dimensions,
            )

        result = await while_connected(request, vectors())
        return answer(result, wire.openai_answer(result, body.encoding_format))

    async def similarity(request: Request) -> Any:
        body = await read_model(request, wire.SimilarityBody)
        options = body.parameters or wire.TeiOptions()
        result = await while_connected(
            request,
            service().vectors(
                [body.inputs.source_sentence, *body.inputs.sentences],
                options.prompt_name or "passage",
                tenant(),
                truncate=bool(options.truncate),
            ),
        )
        served("embed", Units(calls=1, tokens=result.tokens))
        return (result.vectors[1:] @ result.vectors[0]).tolist()

    async def tokenize(request: Request) -> Any:
        body = await read_model(request, wire.TokenizeBody)
        asked = service().tokens(wire.listed(body.inputs), body.prompt_name, body.add_special_tokens, tenant())
        return await while_connected(request, asked)

    async def info(request: Request) -> Any:
        more = {"max_concurrent_requests": OPEN_FILES, "version": importlib.metadata.version("platform-0711")}
        return await while_connected(request, service().info()) | more

    async def not_served(request: Request) -> Any:
        raise NotFound(
            "This server's model gives one vector for each text: `/embed`, `/v1/embeddings`, `/similarity` and "
            "`/tokenize` are what it offers of text-embeddings-inference."
        )

    for path in ("/embed", "/"):
        server.route(path, embed, ["POST"], scope=SCOPE, more=wire.tei_error)
    for path in NOT_SERVED:
        server.route(path, not_served, ["POST"], scope=SCOPE, more=wire.tei_error)
    server.route("/v1/embeddings", openai, ["POST"], scope=SCOPE, more=openai_error)
    server.route("/similarity", similarity, ["POST"], scope=SCOPE, more=wire.tei_error)
    server.route("/tokenize", tokenize, ["POST"], scope=SCOPE, more=wire.tei_error)
    server.route("/info", info, ["GET"], scope=SCOPE)


def tenant() -> str:
    """Whose share of the device a call uses: the customer's, or the caller's where it acts for none."""
    caller = principal()
    return caller.customer or caller.subject


async def while_connected(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """What `work` gives. It is cancelled as soon as the caller has hung up: nobody waits for its vectors."""
    working, gone = asyncio.ensure_future(work), asyncio.create_task(hung_up(request.receive))
    try:
        await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Unavailable("The caller has hung up.")
    finally:
        working.cancel()
        gone.cancel()
        await asyncio.gather(working, gone, return_exceptions=True)
