"""Web pages for people, in English or German as the browser asks: one layout, no script, nothing fetched. No page
has a cookie of its own; a way through an identity provider has one while it lasts.

The templates are written in English. `templates/consent/de.json` has what they say (`pages`), and what is said by them:
meanings and errors (`said`). What is not there is shown in English.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from shared.errors import PlatformError
from shared.languages import Language, language_of

MAX_BODY = 32 * 1024


def page(
    request: Request, template: str, status: int = 200, forms_to: str | None = None, /, **values: Any
) -> HTMLResponse:
    """A page of `templates/consent`.

    Args:
        forms_to: where its form may lead beside the marketplace itself.
    """
    language = language_of(None, request.headers.get("accept-language"), "en")
    html = _environment(language).get_template(template).render(language=language, **values)
    headers = {**page_headers(forms_to), "Content-Language": language, "Vary": "Accept-Language"}
    return HTMLResponse(html, status, headers)


def error_page(request: Request, error: PlatformError, detail: str = "", other: str = "") -> HTMLResponse:
    """An error as a page. `detail`: what a program's maker or an administrator needs of it, in English; `other`: a link
    to sign in as somebody else."""
    return page(request, "error.html", error.status, message=error.message, detail=detail, other=other)


def paged(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """A page's handler with a page for what is wrong with the request itself, such as its form."""

    async def handle(request: Request) -> Response:
        try:
            return await handler(request)
        except PlatformError as error:
            return error_page(request, error)

    return handle


def page_headers(forms_to: str | None = None) -> dict[str, str]:
    """The headers of a page, and of a redirect after its form: a browser follows it only to where the form may go."""
    forms = "'self'" if forms_to is None else f"'self' {forms_to}"
    return {
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
        f"form-action {forms}; frame-ancestors 'none'; base-uri 'none'",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "same-origin",  # with no-referrer a browser sends `Origin: null`, which is refused
        "Cache-Control": "no-store",
    }


@cache
def _environment(language: Language) -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("templates") / "consent"
    pages = {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir() if each.name.endswith(".html")}
    made = Environment(
        loader=DictLoader(pages), autoescape=True, undefined=StrictUndefined, extensions=["jinja2.ext.i18n"]
    )
    words = orjson.loads((folder / "de.json").read_bytes()) if language == "de" else {"pages": {}, "said": {}}
    made.install_gettext_callables(lambda text: words["pages"].get(text, text), lambda one, *_: one, newstyle=True)  # pyright: ignore[reportAttributeAccessIssue]
    made.filters["said"] = lambda text: words["said"].get(text, text)
    return made
