"""A browser at an address that has no page is told what is there; everybody else gets the error as JSON."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from tests.security.test_tokens_and_scopes import servers

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
SECRET_PATH = "/geheim-4711"


@pytest.fixture(scope="module")
async def clients(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, httpx2.AsyncClient]]:
    """A client of each server, none of which is started."""
    built = servers(tmp_path_factory.mktemp("servers"))
    opened: dict[str, Any] = {
        name: httpx2.AsyncClient(transport=httpx2.ASGITransport(app=server.asgi()), base_url="http://127.0.0.1")  # pyright: ignore
        for name, server in built.items()
    }
    yield opened
    for client in opened.values():
        await client.aclose()


@pytest.mark.requirement("A-05")
@pytest.mark.parametrize(
    ("name", "path", "language", "says"),
    [
        ("marketplace", "/", "en", "0711 connect"),
        ("marketplace", SECRET_PATH, "de", "http://127.0.0.1:4090/approvals"),
        ("marketplace", "/mcp", "en", "http://127.0.0.1:4090/mcp"),
        ("instance", SECRET_PATH, "de", "Programme verbinden sich unter /mcp"),
        ("instance", "/mcp", "en", 'href="/"'),
    ],
)
async def test_a_browser_is_told_what_is_there_with_the_status_of_the_refusal(
    clients: dict[str, httpx2.AsyncClient], name: str, path: str, language: str, says: str
) -> None:
    answer = await clients[name].get(path, headers={"accept": BROWSER, "accept-language": language})
    assert answer.status_code == 401
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert f'<html lang="{language}">' in answer.text
    assert says in answer.text
    assert SECRET_PATH not in answer.text
    assert "Acme" not in answer.text  # the instance's company


async def test_a_browser_is_told_of_every_server_that_it_has_no_icon(clients: dict[str, httpx2.AsyncClient]) -> None:
    for name, client in clients.items():
        answer = await client.get("/favicon.ico", headers={"accept": "image/avif,image/webp,*/*;q=0.8"})
        assert (answer.status_code, answer.content) == (204, b""), name
        assert "max-age" in answer.headers["cache-control"]


@pytest.mark.requirement("A-05")
async def test_everybody_else_gets_json(clients: dict[str, httpx2.AsyncClient]) -> None:
    asked: list[tuple[str, dict[str, str]]] = [
        ("GET", {}),
        ("GET", {"accept": "*/*"}),
        ("GET", {"accept": "application/json, text/event-stream"}),
        ("GET", {"accept": BROWSER, "authorization": "Bearer x"}),
        ("POST", {"accept": BROWSER}),
    ]
    for name, client in clients.items():
        browsed = [("GET", {"accept": BROWSER})] if name not in {"marketplace", "instance"} else []
        for method, headers in asked + browsed:
            answer = await client.request(method, SECRET_PATH, headers=headers)
            assert answer.status_code == 401, (name, method, headers)
            assert answer.json()["code"] == "unauthenticated"
