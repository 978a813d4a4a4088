"""A scan of more pages than an agent takes in one answer, or than a provider reads in time, is read by and by."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest

from servers.cradle import vision_rest
from servers.cradle.services import Services
from servers.cradle.tools import vision
from servers.cradle.vision.service import VisionService
from shared.answers import ANSWER_CHARS
from shared.auth import GivenKeys, TokenVerifier
from shared.serving import Server
from tests.serving_rig import HANGS_S, Issuer, answer_of, headers_for, modern, running
from tests.vision_rig import VisionServer, asking, one_server, says, settings_for, tiff_of

__all__ = ["one_server"]
PAGES = 40
LARGEST = ANSWER_CHARS * 5 // 4
"""Characters of JSON that an agent takes: see `test_instance_answer_sizes`."""


class Caller:
    """Who asks the tool and the route."""

    def __init__(self, client: httpx2.AsyncClient, base: str, token: str) -> None:
        self._client, self._base, self._token = client, base, token

    async def tool(self, pages: str | None) -> dict[str, Any]:
        asked = asking("compatible", tiff_of(PAGES), pages=pages).model_dump(exclude_none=True)
        answer = answer_of(await modern(self._client, self._base, self._token, "ocr", asked))
        return answer["result"]["structuredContent"]

    async def route(self, pages: str | None) -> tuple[int, dict[str, Any]]:
        asked = asking("compatible", tiff_of(PAGES), pages=pages).model_dump(exclude_none=True)
        answer = await self._client.post(self._base + "/process", json=asked, headers=headers_for(self._token))
        return answer.status_code, answer.json()


@asynccontextmanager
async def caller_of(url: str, **more: object) -> AsyncIterator[Caller]:
    settings, keys, unused = settings_for(url, **more), Issuer(), None
    service = VisionService(settings)
    held: Any = Services(settings, unused, service, unused, unused, unused)  # pyright: ignore[reportArgumentType]
    server = Server("cradle", settings, verifier=TokenVerifier.of(settings, "cradle", GivenKeys(keys.jwks)))
    for room in (vision, vision_rest):
        room.register(server, lambda: held, lambda tool, units: None)
    token = keys.token(settings, scope="ocr", role="platform_admin", customer=None)
    async with running(server, settings) as base, httpx2.AsyncClient(timeout=HANGS_S) as client:
        yield Caller(client, base, token)
    await service.close()


def numbers(answer: dict[str, Any]) -> list[int]:
    return [page["page"] for page in answer["pages"]]


@pytest.mark.parametrize(("asked", "last"), [(None, PAGES), ("3-31", 31), ("3-", PAGES), ("7", 7)])
async def test_each_page_comes_once_in_answers_that_an_agent_takes(
    server: VisionServer, asked: str | None, last: int
) -> None:
    server.reply = says("Prüfprotokoll der Anlage, Blatt für Blatt. " * 70)
    async with caller_of(server.url) as caller:
        pages, seen = asked, []
        while True:
            answer = await caller.tool(pages)
            assert sum(len(page["text"]) for page in answer["pages"]) <= LARGEST
            seen += numbers(answer)
            if (pages := answer.get("next_pages")) is None:
                break
        assert seen == list(range(seen[0], last + 1))
        assert len(server.requests) == len(seen), "a page was read and not given"
        status, whole = await caller.route(asked)
        assert (status, numbers(whole), whole["next_pages"]) == (200, seen, None)


async def test_what_was_read_when_the_time_is_over_is_given_and_what_is_left_is_named(server: VisionServer) -> None:
    server.by_path = {"/chat/completions": lambda path: None if len(server.requests) > 3 else says("Blatt")(path)}
    async with caller_of(server.url, call_deadline_s=10) as caller:
        answer = await caller.tool("2-30")
        assert (numbers(answer), answer["next_pages"]) == ([2, 3, 4], "5-30")
        server.requests.clear()
        status, refused = await caller.route(None)
        assert (status, refused["code"]) == (504, "deadline_exceeded")
