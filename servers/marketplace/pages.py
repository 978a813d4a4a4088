"""Web pages for people: one layout, no script, nothing fetched from elsewhere, no cookie."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

from starlette.responses import HTMLResponse

MAX_BODY = 32 * 1024


def page(template: str, status: int = 200, forms_to: str | None = None, /, **values: Any) -> HTMLResponse:
    """A page of `templates/consent`.

    Args:
        forms_to: where its form may lead beside the marketplace itself.
    """
    return HTMLResponse(_environment().get_template(template).render(**values), status, page_headers(forms_to))


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
def _environment() -> Any:
    from jinja2 import DictLoader, Environment, StrictUndefined

    folder = files("templates") / "consent"
    pages = {each.name: each.read_text(encoding="utf-8") for each in folder.iterdir() if each.name.endswith(".html")}
    return Environment(loader=DictLoader(pages), autoescape=True, undefined=StrictUndefined)
