"""`embed` and `ocr`: one request to cradle each. Content passes through memory and is kept nowhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.types import CallToolResult, TextContent
from pydantic import Field

from servers.orchestrator.access import known_customer
from servers.orchestrator.services import Services
from servers.orchestrator.tools.arguments import CustomerArgument
from shared.auth import principal
from shared.contracts.embedding import MAX_TEXTS, EmbeddingRequest, EmbeddingResult, Encoding, InputType, Text
from shared.contracts.vision import (
    ImageBase64,
    JsonSchema,
    ObjectKey,
    Output,
    Pages,
    Provider,
    Resource,
    VisionRequest,
    VisionResult,
    VisionTask,
)
from shared.metering.units import CRADLE, Units

OnBehalf = Annotated[
    CustomerArgument | None, Field(description="The customer that it is for; leave out for your own or for none.")
]


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def embed(
        texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_TEXTS)],
        input_type: Annotated[
            InputType, Field(description="'query' for questions, 'passage' for documents.")
        ] = "passage",
        normalize: bool = True,
        truncate: Annotated[
            bool, Field(description="Cut texts over the model's limit instead of refusing them.")
        ] = False,
        encoding: Annotated[Encoding, Field(description="'base64': float32, row after row.")] = "base64",
        customer_id: OnBehalf = None,
    ) -> Annotated[CallToolResult, EmbeddingResult]:
        """Turn texts into vectors with the platform's model. Nothing of them is kept.

        Use it for single questions or small batches; whole collections are embedded by process_new_documents. A vector
        of 384 numbers is 2,048 characters of the answer, one of 1,024 is 5,464: a program takes hundreds, an agent few.
        """
        held = services()
        request = EmbeddingRequest(
            texts=texts, input_type=input_type, normalize=normalize, truncate=truncate, encoding=encoding
        )
        customer = await _on_behalf(held, customer_id)
        result = await held.cradle("embed", EmbeddingResult, customer, **request.model_dump(mode="json"))
        held.meter.served(customer, CRADLE, "embed", Units(calls=1, tokens=result.tokens))
        line = f"{result.count} vectors of {result.dimension} float32 by {result.model}; {result.tokens} tokens."
        cut = f" {len(result.truncated)} texts were cut." if result.truncated else ""
        return CallToolResult(
            content=[TextContent(type="text", text=line + cut)],
            structured_content=result.model_dump(mode="json", exclude_none=True),
        )

    async def ocr(
        image_base64: ImageBase64 | None = None,
        resource: Resource | None = None,
        key: ObjectKey | None = None,
        pages: Pages | None = None,
        task: VisionTask = "ocr",
        output: Output = "text",
        provider: Provider | None = None,
        json_schema: JsonSchema | None = None,
        customer_id: OnBehalf = None,
    ) -> VisionResult:
        """Read what stands on an image or on a scanned PDF's pages. Nothing of it is kept.

        Use it for some pages; whole collections are read by process_new_documents. An answer holds as many pages as an
        agent takes; next_pages names those left. `cost_eur` is the provider's price, null where none is set, as for one
        that runs here; what the platform charges, get_statement of the marketplace tells.
        """
        held = services()
        request = VisionRequest(
            image_base64=image_base64, resource=resource, key=key, pages=pages, task=task, output=output,
            provider=provider, json_schema=json_schema,
        )  # fmt: skip
        customer = await _on_behalf(held, customer_id)
        asked = request.model_dump(mode="json", exclude_none=True)
        result = await held.cradle("ocr", VisionResult, customer, **asked)
        held.meter.served(customer, CRADLE, "ocr", Units(calls=1, pages=len(result.pages)))
        return result

    server.tool(embed, scope="embed", title="Embed texts", read_only=True, idempotent=True, open_world=False)
    server.tool(ocr, scope="ocr", title="Read an image", read_only=True, idempotent=True, open_world=True)


async def _on_behalf(held: Services, customer_id: str | None) -> str | None:
    """The customer that a call is for: the one named, or else the one of the caller's token."""
    if customer_id is not None:
        return (await known_customer(held.store, customer_id)).customer_id
    return principal().customer
