"""The console's pages. All of them read; none changes anything."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from servers.instance.console import session
from servers.instance.console.texts import TEXTS, note_in
from servers.instance.search import Library
from shared.dataset.filters import Filters
from shared.errors import NotFound, PlatformError
from shared.languages import language_of

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
MAX_QUERY = 1000
PAGE = re.compile(r"/(documents(/[\w%.~-]+)?)?(\?[!-~]*)?", re.ASCII)
"""The address of a page of this console, and of nothing else: where signing in may lead."""
Handler = Callable[[Request], Awaitable[Response]]


class Console:
    """Handlers for the web pages of one instance."""

    def __init__(self, library: Callable[[], Library], access_key: str) -> None:
        self._library = library
        self._key = access_key

    def routes(self) -> list[tuple[str, Handler, list[str]]]:
        """Path, handler and methods of every page."""
        return [
            ("/", self._guarded(self._search), ["GET"]),
            ("/documents", self._guarded(self._documents), ["GET"]),
            ("/documents/{document_id}", self._guarded(self._document), ["GET"]),
            ("/login", self._login, ["GET", "POST"]),
            ("/logout", self._logout, ["POST"]),
            ("/console.css", self._style, ["GET"]),
            ("/icon.svg", self._icon, ["GET"]),
        ]

    def nothing(self, request: Request) -> Response:
        """What a browser is shown at an address that is none of a page."""
        return _render(request, "error.html", 401, code="nothing_here", signed_in=self._signed_in(request))

    def _signed_in(self, request: Request) -> bool:
        return session.valid(self._key, request.cookies.get(session.COOKIE))

    def _guarded(self, page: Handler) -> Handler:
        async def handle(request: Request) -> Response:
            if not self._signed_in(request):
                return RedirectResponse(_sign_in_for(request), 303, HEADERS)
            try:
                return await page(request)
            except PlatformError as error:
                return _render(request, "error.html", error.status, code=error.code)

        return handle

    async def _search(self, request: Request) -> Response:
        query = request.query_params.get("q", "").strip()[:MAX_QUERY]
        answer = await self._library().search(query, 10, Filters(), detailed=True) if query else None
        about = await self._library().describe()
        return _render(request, "search.html", query=query, answer=answer, about=about)

    async def _documents(self, request: Request) -> Response:
        cursor = request.query_params.get("cursor")
        listing = await self._library().documents(cursor[:200] if cursor else None, 50)
        return _render(request, "documents.html", listing=listing, company=self._company())

    async def _document(self, request: Request) -> Response:
        start = request.query_params.get("start", "0")
        if not (start.isascii() and start.isdigit() and len(start) < 9):
            raise NotFound("There is no such page.")
        found = await self._library().document(request.path_params["document_id"], int(start), 30)
        return _render(request, "document.html", found=found, company=self._company())

    async def _login(self, request: Request) -> Response:
        if request.method == "GET":
            return _render(
                request, "login.html", signed_in=False, wrong=False, next=_page(request.query_params.get("next"))
            )
        form = await request.form(max_files=0, max_fields=4, max_part_size=4096)
        if not session.same_key(self._key, str(form.get("key", ""))):
            return _render(request, "login.html", 401, signed_in=False, wrong=True, next=_page(form.get("next")))
        answer = RedirectResponse(_page(form.get("next")), 303, HEADERS)
        answer.set_cookie(
            session.COOKIE, session.issue(self._key), max_age=session.LIFETIME_S, httponly=True,
            samesite="lax",  # a link in a mail opens its page; no page changes anything
            secure=request.url.scheme == "https",
        )  # fmt: skip
        return answer

    async def _logout(self, request: Request) -> Response:
        answer = RedirectResponse("/login", 303, HEADERS)
        answer.delete_cookie(session.COOKIE)
        return answer

    async def _style(self, request: Request) -> Response:
        return _file("console.css", "text/css")

    async def _icon(self, request: Request) -> Response:
        return _file("icon.svg", "image/svg+xml")

    def _company(self) -> str:
        return self._library().config.company_name


def _sign_in_for(request: Request) -> str:
    """Signing in, and then the page that was asked for."""
    asked = _page(f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path)
    return "/login" if asked == "/" else f"/login?{urlencode({'next': asked})}"


def _page(asked: object) -> str:
    """An address of this console; for all else its first page."""
    return asked if isinstance(asked, str) and len(asked) <= 2000 and PAGE.fullmatch(asked) else "/"


def _file(name: str, media_type: str) -> Response:
    content = files("templates").joinpath("console", name).read_bytes()
    return Response(content, media_type=media_type, headers={**HEADERS, "Cache-Control": "max-age=3600"})


@cache
def _templates() -> Any:
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("templates", "console"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    made.filters["without"] = _without
    return made


def _without(text: str, heading: str | None) -> str:
    """A passage without its first line where that only repeats the headings shown above it."""
    return text.removeprefix(heading).lstrip("\n") or text if heading and text.startswith(heading + "\n") else text


def _render(
    request: Request, template: str, status: int = 200, *, signed_in: bool = True, **values: object
) -> Response:
    chosen = request.query_params.get("lang") or request.cookies.get("lang")
    code = language_of(chosen, request.headers.get("accept-language"), "de")
    other = "?" + urlencode({**request.query_params, "lang": "en" if code == "de" else "de"})
    page = (
        _templates()
        .get_template(template)
        .render(t=TEXTS[code], note_in=note_in, lang=code, other_language=other, signed_in=signed_in, **values)
    )
    answer = HTMLResponse(page, status, HEADERS)
    if request.query_params.get("lang") in TEXTS:
        answer.set_cookie("lang", code, max_age=365 * 86400, samesite="lax")
    return answer
