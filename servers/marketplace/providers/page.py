"""The two addresses that a browser passes on its way through an identity provider: out (`PATH`) and back (`CALLBACK`).

Out is a link and no form: a form's page would have to name every origin that the provider leads on to.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Protocol

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from servers.marketplace.forms import read_form
from servers.marketplace.pages import error_page, page_headers
from servers.marketplace.providers.sign_in import LASTS_S, OVER, Begun, Refusal, SignIn, way_out
from shared.errors import Forbidden, InvalidInput, NotFound, PlatformError
from shared.languages import language_of
from shared.settings import Settings

TABS = ("", "-2", "-3")
"""Of one browser, that sign in at the same time; one more takes the place of the first."""


class Door(Protocol):
    """A page that people sign in on."""

    async def held(self, told: Mapping[str, str]) -> dict[str, str]:
        """What the page needs when somebody comes back to it, of the parameters that it was opened with.

        Raises:
            PlatformError: it was opened with nothing that goes on.
        """
        ...

    def opened(self, held: Mapping[str, str]) -> dict[str, str]:
        """The parameters that open the page again."""
        ...

    async def entered(self, request: Request, told: Mapping[str, str], email: str, issuer: str) -> Response:
        """The page for whoever this verified e-mail address is of.

        Args:
            told: the parameters that open the page.
            issuer: the provider that has named it.

        Raises:
            PlatformError: nobody goes on here.
        """
        ...


class ProviderPages:
    """The handlers of both."""

    def __init__(self, settings: Settings, sign_in: SignIn, doors: Mapping[str, Door]) -> None:
        self._sign_in = sign_in
        self._doors = doors
        self._secure = settings.url("marketplace").startswith("https:")
        # The prefix keeps other servers of the same domain from setting it (RFC 6265bis); it needs TLS.
        cookie = "__Host-0711-sign-in" if self._secure else "0711-sign-in"
        self._cookies = tuple(cookie + tab for tab in TABS)

    async def out(self, request: Request) -> Response:
        """GET: to the provider, and the cookie."""
        told = request.query_params
        language = language_of(None, request.headers.get("accept-language"), "en")
        try:
            door = self._doors.get(told.get("door", ""))
            if door is None:
                raise NotFound(OVER)
            place, kept = await self._sign_in.begin(
                told.get("issuer", ""), told["door"], await door.held(told), language, again="again" in told
            )
        except PlatformError as error:
            return error_page(request, error)
        response = RedirectResponse(place, 303, page_headers())
        free = next((name for name in self._cookies if name not in request.cookies), self._cookies[0])
        response.set_cookie(free, kept, int(LASTS_S), path="/", secure=self._secure, httponly=True, samesite="lax")
        return response

    async def back(self, request: Request) -> Response:
        """GET: from the provider, to the page that the browser was on. What it had begun is used up."""
        try:
            answer = read_form(request.url.query.encode())
        except InvalidInput:
            answer = {}
        try:
            cookie, begun = self._begun(request, answer)
        except PlatformError as error:
            return error_page(request, error)
        door = self._doors[begun.door]
        told = door.opened(begun.held)
        try:
            response = await door.entered(request, told, await self._sign_in.end(begun, answer), begun.issuer)
        except PlatformError as error:
            other = way_out(begun.issuer, begun.door, told, again="1")
            response = error_page(request, error, error.detail if isinstance(error, Refusal) else "", other)
        response.delete_cookie(cookie, path="/", secure=self._secure, httponly=True, samesite="lax")
        return response

    def _begun(self, request: Request, answer: Mapping[str, str]) -> tuple[str, Begun]:
        """The cookie of the tab that this answer is for, and what it has begun."""
        for name in self._cookies:
            with contextlib.suppress(Forbidden):
                return name, self._sign_in.begun(request.cookies.get(name, ""), answer)
        raise Forbidden(OVER)
