"""`embed`: vectors for texts, one explicit result (never thousands of content blocks)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from mcp.types import CallToolResult, TextContent
from pydantic import Field

from servers.cradle.metering import Served
from servers.cradle.services import Services
from shared.auth import principal
from shared.contracts.embedding import MAX_TEXTS, EmbeddingRequest, EmbeddingResult, Encoding, InputType, Text
from shared.metering.units import Units
from shared.serving import Server


def register(server: Server, services: Callable[[], Services], served: Served) -> None:
    """Offers `embed` on the server; what it gives is counted by `served`."""

    async def embed(
        texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)],
        input_type: Annotated[InputType, Field(description="'query' for questions, else 'passage'.")] = "passage",
        normalize: bool = True,
        truncate: Annotated[bool, Field(description="Cut texts that are too long instead of refusing.")] = False,
        encoding: Encoding = "base64",
        priority: Literal["interactive", "bulk"] = "interactive",
    ) -> Annotated[CallToolResult, EmbeddingResult]:
        """Turn texts into vectors with the model that cradle serves. Nothing of them is kept.

        Use it for single queries and for batches. `data` is base64 of little-endian float32, row after row.
        """
        request = EmbeddingRequest(
            texts=texts, input_type=input_type, normalize=normalize, truncate=truncate, encoding=encoding
        )
        caller = principal()
        result = await services().embedding.embed(request, caller.customer or caller.subject, priority=priority)
        served("embed", Units(calls=1, tokens=result.tokens))
        return embedding_answer(result)

    server.tool(embed, scope="embed", title="Embed texts", read_only=True, idempotent=True, open_world=False)


def embedding_answer(result: EmbeddingResult) -> CallToolResult:
    """The vectors in structured content, and a text of one short line for the model."""
    line = f"{result.count} vectors of {result.dimension} float32 by {result.model}; {result.tokens} tokens."
    if result.truncated:
        line += f" {len(result.truncated)} texts were cut."
    return CallToolResult(
        content=[TextContent(type="text", text=line)], structured_content=result.model_dump(mode="json")
    )
