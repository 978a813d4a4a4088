"""`GET /metrics`: for a scraper on the same machine, where no proxy stands in between."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import Forbidden
from shared.serving.guard import LOOPBACK
from shared.telemetry import exposition

FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


async def metrics(request: Request) -> Response:
    """All metrics of the process. Labels hold names of tools and codes of errors, nothing of a customer.

    Raises:
        Forbidden: the request comes from another machine, or through a proxy.
    """
    check_near(request)
    body, media_type = exposition()
    return Response(body, media_type=media_type)


def check_near(request: Request) -> None:
    """Let a scraper on the same machine pass.

    Raises:
        Forbidden: the request comes from another machine, or through a proxy.
    """
    near = request.client is not None and request.client.host in LOOPBACK
    if not near or any(header in request.headers for header in FORWARDED):
        raise Forbidden("Metrics are for a scraper on the same machine.")
