"""The console's session, languages and pages, without a dataset."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from servers.instance.console import session
from servers.instance.console.pages import Console, _without
from servers.instance.console.texts import FAILURES_DE, TEXTS
from shared.errors import Unavailable
from shared.languages import language_of

KEY = "a-key-of-some-length"


def not_open() -> object:
    raise Unavailable("The dataset is still being opened. Try again in a moment.")


@pytest.fixture
async def browser() -> AsyncIterator[httpx2.AsyncClient]:
    console = Console(not_open, KEY)  # pyright: ignore[reportArgumentType]
    app = Starlette(routes=[Route(path, handler, methods=methods) for path, handler, methods in console.routes()])
    transport = httpx2.ASGITransport(app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://instance") as client:
        yield client


def test_a_session_ends_with_its_time_and_with_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(session, "time", lambda: now[0])
    cookie = session.issue(KEY)
    now[0] += session.LIFETIME_S - 1
    assert session.valid(KEY, cookie)
    assert not session.valid("another-key-here", cookie)
    now[0] += 1
    assert not session.valid(KEY, cookie)


@pytest.mark.parametrize(
    "cookie", [None, "", ".", "9999999999.", "9999999999.00", "x.y", "٣.x", "9" * 40 + ".a", "9999999999.ü"]
)
def test_a_made_up_cookie_is_no_session(cookie: str | None) -> None:
    assert not session.valid(KEY, cookie)


def test_both_languages_have_the_same_texts() -> None:
    assert TEXTS["de"].keys() == TEXTS["en"].keys()
    assert TEXTS["de"]["errors"].keys() == TEXTS["en"]["errors"].keys()


def test_every_reason_that_a_reader_gives_has_german_words() -> None:
    source = "".join(path.read_text() for path in Path("servers/cradle/processing").rglob("*.py"))
    given = set(re.findall(r'Unreadable\(\s*"([a-z_]+)"', source))
    assert len(given) > 15
    assert given <= FAILURES_DE.keys()


def test_where_every_reason_says_what_to_do_its_german_words_do_too() -> None:
    source = "".join(path.read_text() for path in Path("servers/cradle/processing").rglob("*.py"))
    reasons = re.findall(r'Unreadable\(\s*"([a-z_]+)",\s*f?"([^"]*)"', source)
    helped = {code for code, _ in reasons} - {code for code, text in reasons if ". " not in text}
    assert {"damaged", "encrypted", "empty", "unsupported_format"} <= helped
    assert [code for code in sorted(helped) if ". " not in FAILURES_DE[code]] == []


@pytest.mark.parametrize(
    ("text", "heading", "shown"),
    [
        ("Montage › Klemmen\nRK 4", "Montage › Klemmen", "RK 4"),
        ("Montage\n\nRK 4", "Montage", "RK 4"),
        ("Montagehinweis", "Montage", "Montagehinweis"),
        ("Montage\n", "Montage", "Montage\n"),
        ("RK 4", None, "RK 4"),
    ],
)
def test_a_passage_does_not_repeat_the_headings_above_it(text: str, heading: str | None, shown: str) -> None:
    assert _without(text, heading) == shown


@pytest.mark.parametrize(
    ("chosen", "accepted", "expected"),
    [("en", "de", "en"), (None, "en-GB,en;q=0.9,de;q=0.8", "en"), (None, "fr", "de"), ("xx", None, "de")],
)
def test_the_language_is_the_chosen_one_else_the_browsers(chosen: str, accepted: str, expected: str) -> None:
    assert language_of(chosen, accepted, "de") == expected


async def test_every_page_asks_for_the_key_first(browser: httpx2.AsyncClient) -> None:
    for path, place in {
        "/": "/login",
        "/documents": "/login?next=%2Fdocuments",
        "/documents/doc_1?start=30": "/login?next=%2Fdocuments%2Fdoc_1%3Fstart%3D30",
    }.items():
        answer = await browser.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, place), path


async def test_signing_in_leads_to_the_page_that_was_asked_for(browser: httpx2.AsyncClient) -> None:
    asked = (await browser.get("/", params={"q": "Größe <b>", "lang": "de"})).headers["location"]
    page = await browser.get(asked)
    wanted = html.unescape(re.findall(r'name="next" value="([^"]*)"', page.text)[0])
    refused = await browser.post("/login", data={"key": "wrong", "next": wanted})
    assert html.escape(wanted) in refused.text
    opened = await browser.post("/login", data={"key": KEY, "next": wanted})
    assert (opened.headers["location"], "q=Gr" in wanted) == (wanted, True)


@pytest.mark.parametrize(
    "place",
    [
        "https://evil.example/", "//evil.example", "/\\evil.example", "/documents\\evil", "/documents/../mcp",
        "documents", "/mcp", "/?a\r\nSet-Cookie: x=1", "/" + "?" + "a" * 3000, "",
    ],
)  # fmt: skip
async def test_signing_in_leads_nowhere_but_into_the_console(browser: httpx2.AsyncClient, place: str) -> None:
    opened = await browser.post("/login", data={"key": KEY, "next": place})
    assert (opened.status_code, opened.headers["location"]) == (303, "/")


async def test_another_language_shows_the_same_page(browser: httpx2.AsyncClient) -> None:
    page = await browser.get("/login", params={"next": "/documents?cursor=a&b", "lang": "en"})
    assert '<html lang="en">' in page.text
    other = html.unescape(re.findall(r'<a href="(\?[^"]*)" hreflang="de"', page.text)[0])
    again = await browser.get("/login" + other)
    assert '<html lang="de">' in again.text
    assert 'value="/documents?cursor=a&amp;b"' in again.text


async def test_a_wrong_key_is_refused_and_the_right_one_opens(browser: httpx2.AsyncClient) -> None:
    wrong = await browser.post("/login", data={"key": "wrong"})
    assert wrong.status_code == 401
    assert "set-cookie" not in wrong.headers
    right = await browser.post("/login", data={"key": KEY})
    assert (right.status_code, right.headers["location"]) == (303, "/")
    cookie = right.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie  # strict would ask for the key behind every link in a mail
    assert KEY not in cookie


@pytest.mark.parametrize(("language", "said"), [("de", "wird gerade geöffnet"), ("en", "is just being opened")])
async def test_an_error_is_a_page_with_its_sentence(browser: httpx2.AsyncClient, language: str, said: str) -> None:
    browser.cookies.set(session.COOKIE, session.issue(KEY))
    answer = await browser.get("/", params={"q": "<script>alert(1)</script>"}, headers={"accept-language": language})
    assert answer.status_code == 503
    assert said in answer.text
    assert "<script>" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
