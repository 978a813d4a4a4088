"""REST on the vision port: `POST /process`, with the body of the MCP tool `ocr`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from servers.cradle.metering import Served
from servers.cradle.services import Services
from servers.cradle.tools.vision import pages_of, read
from shared.contracts.vision import VisionRequest
from shared.serving import Server, read_model


def register(server: Server, services: Callable[[], Services], served: Served) -> None:
    """Offers the route on the server; what it gives is counted by `served`."""

    async def process(request: Request) -> dict[str, Any]:
        result = await read(services(), await read_model(request, VisionRequest))
        served("ocr", pages_of(result))
        text = "\n\n".join(page.text for page in result.pages)
        return {"text": text, **result.model_dump(mode="json")}

    server.route("/process", process, ["POST"], scope="ocr")
