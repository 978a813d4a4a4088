"""Embeddings and vision over REST: a stateless passage to cradle, for programs that speak no MCP.

The body goes as it is and the answer comes as it is; nothing of either is kept. The caller's token stays here: cradle
gets one for itself, for this caller's customer and for this one thing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from servers.marketplace import policy
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.quotas import Quotas
from servers.marketplace.gateway.relay import REFUSALS
from servers.marketplace.gateway.route import Routes
from servers.marketplace.tokens import Grant, Mint
from shared.auth import Principal, principal
from shared.client.stream import read_whole
from shared.errors import DeadlineExceeded, Forbidden, TooLarge, Unavailable
from shared.metering.meter import Meter
from shared.metering.units import CRADLE, GATEWAY, LARGEST, Units, units_of_result
from shared.serving.rest import read_body
from shared.settings import Settings

PASSED = ("content-type", "retry-after", "x-model", "x-dimension", "x-count", "x-tokens", "x-truncated")


@dataclass(frozen=True, slots=True)
class Work:
    """One of cradle's routes: its address, the tool of the same meaning, and the scope that it needs there."""

    url: str
    tool: str
    scope: str


class Compute:
    """Passes requests on to cradle."""

    def __init__(self, settings: Settings, outgoing: Outgoing, mint: Mint, meter: Meter, quotas: Quotas,
        routes: Routes,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._outgoing = outgoing
        self._mint = mint
        self._meter = meter
        self._quotas = quotas
        self._routes = routes
        cradle = urlsplit(settings.url("cradle"))
        host = f"[{cradle.hostname}]" if ":" in (cradle.hostname or "") else cradle.hostname
        self._embed = Work(f"{cradle.scheme}://{host}:{settings.embedding_port}/v1/embeddings", "embed", "embed")
        self._vision = Work(f"{cradle.scheme}://{host}:{settings.vision_port}/process", "ocr", "ocr")

    async def embeddings(self, request: Request) -> Response:
        """`POST /v1/embeddings`, as the OpenAI client sends it."""
        return await self._pass_on(request, self._embed)

    async def vision(self, request: Request) -> Response:
        """`POST /v1/vision`, with the body of cradle's `/process`."""
        return await self._pass_on(request, self._vision)

    async def _pass_on(self, request: Request, work: Work) -> Response:
        caller = principal()
        token = self._token(caller, work)
        if work.tool in await self._routes.conditions(caller.customer, CRADLE):
            raise Forbidden(f"A rule is set on the arguments of {work.tool}: call that tool of {CRADLE} instead.")
        await self._quotas.take(caller, CRADLE, work.tool)
        status, headers, body = await self._ask(work, token, await read_body(request))
        if status == 200:
            self._meter.served(caller.customer, CRADLE, work.tool, _units(work, headers, body))
        return Response(body, status, {name: headers[name] for name in PASSED if name in headers})

    def _token(self, caller: Principal, work: Work) -> str:
        scopes = policy.granted(caller.role, caller.subject, "cradle", [work.scope])
        if not scopes:
            raise Forbidden(f"This account's role does not have the scope {work.scope}.")
        audience = self._settings.resource("cradle")
        return self._mint.upstream(Grant(caller.subject, caller.role, audience, scopes, caller.customer, GATEWAY))

    async def _ask(self, work: Work, token: str, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = [
            ("authorization", f"Bearer {token}"),
            ("content-type", "application/json"),
            ("accept-encoding", "identity"),
        ]
        try:
            async with (
                asyncio.timeout(self._settings.call_deadline_s),
                self._outgoing.client(work.url, operated=True).request("POST", work.url, headers, sent) as response,
            ):
                body, status = await read_whole(response, self._settings.max_body_bytes), response.status
                told = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
        except TooLarge:
            raise Unavailable("The answer is too large: send less at once.") from None
        except TimeoutError:
            raise DeadlineExceeded("Cradle did not finish in time: send less at once, or try again.") from None
        except OSError:
            raise Unavailable("Cradle cannot be reached: try again later.") from None
        if status in REFUSALS or status >= 500:
            raise Unavailable("Cradle does not do this now: try again later.")
        return status, told, body


def _units(work: Work, headers: dict[str, str], body: bytes) -> Units:
    whole = Units(calls=1, bytes=len(body))
    if work.tool == "embed":
        tokens = headers.get("x-tokens", "")
        return whole + Units(tokens=min(int(tokens), LARGEST) if tokens.isdecimal() else 0)
    result = orjson.loads(body)
    return whole + units_of_result(result if isinstance(result, dict) else {})
