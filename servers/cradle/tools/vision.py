"""`ocr`: what stands on an image or in a scanned PDF."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import Field

from servers.cradle.services import Services
from shared.auth import principal
from shared.contracts.vision import MAX_IMAGE_BYTES, VisionRequest, VisionResult, VisionTask
from shared.serving import Server

Base64 = Annotated[
    str, Field(min_length=4, max_length=MAX_IMAGE_BYTES * 4 // 3 + 4, description="PNG, JPEG, TIFF, WebP, BMP or PDF.")
]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers `ocr` on the server."""

    async def ocr(
        image_base64: Base64,
        task: VisionTask = "ocr",
        output: Annotated[Literal["text", "words"], Field(description="'words' adds lines with boxes.")] = "text",
        provider: Annotated[str | None, Field(max_length=40, description="Default: the operator's setting.")] = None,
        json_schema: Annotated[
            dict[str, Any] | None,
            Field(description="A JSON schema of an object; the facts come back in its form."),
        ] = None,
    ) -> VisionResult:
        """Read the text of an image or of every page of a PDF. Nothing of it is kept.

        Use it for single pages; whole collections are read by process_documents.
        """
        request = VisionRequest(
            image_base64=image_base64, task=task, output=output, provider=provider, json_schema=json_schema
        )
        held = services()
        return await held.vision.read(request, local_only=await local_only(held))

    server.tool(ocr, scope="ocr", title="Read an image", read_only=True, idempotent=True, open_world=True)


async def local_only(held: Services) -> bool:
    """A customer's newest parameters decide; a caller without a customer speaks for the platform itself."""
    from shared.errors import NotFound

    customer = principal().customer
    if customer is None:
        return False
    try:
        return (await held.installations.get(customer)).parameters.local_only
    except NotFound:
        return True
