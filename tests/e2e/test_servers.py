"""Every server of a running platform: both protocol eras, described tools, REST with a token and not without."""

from __future__ import annotations

import asyncio
import base64
import io
from typing import Any

import httpx2
import numpy as np
import orjson
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import TextContent, Tool
from PIL import Image, ImageDraw, ImageFont

from servers.cradle.images.running import RunningInstance
from servers.local.platform import operator_file
from servers.marketplace.catalogue.own import FIRST_PARTY, PREFIX, first_party_address
from servers.marketplace.tools.catalogue import ServerInstalled
from servers.marketplace.tools.registry import CustomerRegistered
from shared.client import TokenSource, Upstream
from shared.contracts.embedding import EmbeddingResult
from shared.settings import Settings
from tests.e2e.conftest import READY_S, Running

pytestmark = pytest.mark.slow

SERVERS = ("orchestrator", "cradle", "marketplace", "instance")
EVERY = (*SERVERS, *FIRST_PARTY)


async def token_for(settings: Settings, audience: str, customer: str | None = None) -> str:
    """A token of the operator for one server."""
    return await operator_tokens(settings).token(audience, customer)


def operator_tokens(settings: Settings) -> TokenSource:
    """The operator's tokens, each renewed in time."""
    credential = orjson.loads(operator_file(settings.home).read_bytes())
    return TokenSource(settings, credential["client_id"], credential["client_secret"])


def address_of(settings: Settings, server: Any) -> str:
    """Where a server of the platform is."""
    return first_party_address(settings, server) if server in FIRST_PARTY else settings.resource(server)


async def a_customer_without_files(settings: Settings) -> str:
    """The id of a customer that the marketplace knows, who has every first-party server, and nobody has onboarded."""
    named = {"customer_id": "ohne-dateien", "company_name": "Ohne Dateien GmbH", "contact_email": "it@example.com"}
    url, tokens = settings.resource("marketplace"), operator_tokens(settings)
    async with Upstream(url, tokens) as marketplace:
        await marketplace.call("register_customer", named, CustomerRegistered)
    async with Upstream(url, key=await tokens.token(url, "ohne-dateien")) as marketplace:
        for name in FIRST_PARTY:
            await marketplace.call("install_mcp", {"server_name": PREFIX + name}, ServerInstalled)
    return "ohne-dateien"


@pytest.fixture
async def http(platform: Running) -> httpx2.AsyncClient:
    async with httpx2.AsyncClient(timeout=120, trust_env=False) as client:
        yield client


async def listed(mcp: Client) -> list[Tool]:
    """Every tool of a server, page after page."""
    page = await mcp.list_tools()
    tools = page.tools
    while page.next_cursor is not None:
        page = await mcp.list_tools(cursor=page.next_cursor)
        tools += page.tools
    return tools


@pytest.mark.requirement("M-01", "M-03")
@pytest.mark.parametrize("mode", ["legacy", "auto"])
@pytest.mark.parametrize("server", EVERY)
async def test_every_tool_of_every_server_is_described_in_both_eras(
    platform: Running, instance: RunningInstance, http: httpx2.AsyncClient, server: str, mode: str
) -> None:
    url = instance.url if server == "instance" else address_of(platform.settings, server)
    customer = await a_customer_without_files(platform.settings) if server in FIRST_PARTY else None
    key = instance.access_key if server == "instance" else await token_for(platform.settings, url, customer)
    http.headers["authorization"] = f"Bearer {key}"
    async with Client(streamable_http_client(url, http_client=http), mode=mode) as mcp:
        tools = await listed(mcp)
        assert tools == await listed(mcp)
    assert tools
    for tool in tools:
        assert tool.title, tool.name
        assert "Use " in (tool.description or ""), tool.name
        assert tool.output_schema, tool.name
        assert tool.input_schema["additionalProperties"] is False, tool.name
        assert tool.annotations is not None, tool.name
        assert None not in tool.annotations.model_dump(exclude={"title"}).values(), tool.name


@pytest.mark.parametrize("server", SERVERS)
async def test_health_needs_no_token_and_names_the_service(
    platform: Running, instance: RunningInstance, http: httpx2.AsyncClient, server: str
) -> None:
    base = instance.url.removesuffix("/mcp") if server == "instance" else platform.settings.url(server)
    answer = await http.get(f"{base}/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")


@pytest.mark.requirement("M-06")
async def test_texts_are_embedded_over_rest_as_over_mcp(platform: Running, http: httpx2.AsyncClient) -> None:
    base = f"http://127.0.0.1:{platform.settings.embedding_port}"
    async with asyncio.timeout(READY_S):  # the model of a new platform is exported first
        while (await http.get(f"{base}/health")).json()["status"] != "healthy":  # noqa: ASYNC110
            await asyncio.sleep(0.2)
    asked = {"texts": ["Schutzart der Hallenleuchte", "größe"], "normalize": True}
    assert (await http.post(f"{base}/embed", json=asked)).status_code == 401
    http.headers["authorization"] = f"Bearer {await token_for(platform.settings, platform.settings.resource('cradle'))}"
    seed = await http.post(f"{base}/embed", json=asked)
    vectors = np.array(seed.json()["embeddings"], dtype=np.float32)
    assert vectors.shape == (2, seed.json()["dimension"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
    openai = await http.post(f"{base}/v1/embeddings", json={"model": seed.json()["model"], "input": asked["texts"]})
    assert np.allclose([each["embedding"] for each in openai.json()["data"]], vectors, atol=1e-5)
    for server in ("cradle", "orchestrator"):
        url = platform.settings.resource(server)
        http.headers["authorization"] = f"Bearer {await token_for(platform.settings, url)}"
        async with Client(streamable_http_client(url, http_client=http), mode="auto") as mcp:
            packed = await mcp.call_tool("embed", {"texts": asked["texts"]})
            plain = await mcp.call_tool("embed", {"texts": asked["texts"], "encoding": "float"})
        for result in (packed, plain):  # however many vectors: one small text, and the vectors once
            (said,) = result.content
            assert isinstance(said, TextContent)
            assert len(said.text) < 200
        held = [EmbeddingResult.model_validate(each.structured_content) for each in (packed, plain)]
        assert [(each.data is None, each.vectors is None) for each in held] == [(False, True), (True, False)]
        data = np.frombuffer(base64.b64decode(held[0].data or ""), "<f4").reshape(vectors.shape)
        assert np.allclose(data, vectors, atol=1e-5)
        assert np.allclose(held[1].vectors or [], vectors, atol=1e-5)


async def test_an_image_is_read_over_rest(platform: Running, http: httpx2.AsyncClient) -> None:
    picture = Image.new("L", (900, 140), 255)
    ImageDraw.Draw(picture).text((30, 30), "Schutzart IP66", fill=0, font=ImageFont.load_default(64))
    png = io.BytesIO()
    picture.save(png, "PNG")
    base = f"http://127.0.0.1:{platform.settings.vision_port}"
    asked = {"image_base64": base64.b64encode(png.getvalue()).decode(), "task": "ocr"}
    assert (await http.post(f"{base}/process", json=asked)).status_code == 401
    http.headers["authorization"] = f"Bearer {await token_for(platform.settings, platform.settings.resource('cradle'))}"
    answer = await http.post(f"{base}/process", json=asked)
    assert answer.status_code == 200, answer.text
    assert "IP66" in answer.text
