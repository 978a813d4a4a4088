"""An OpenID provider that speaks the protocol with real signatures, and a browser that walks between the two."""

from __future__ import annotations

import hashlib
import hmac
import html
import re
import secrets
import time
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urljoin, urlsplit

import httpx2
import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from starlette.types import Receive, Scope, Send

from servers.marketplace.providers.issuer import DISCOVERY
from servers.marketplace.providers.sign_in import CALLBACK
from servers.marketplace.tools.accounts import UserCreated
from tests.integration.test_marketplace_oauth import asking, registered
from tests.marketplace_rig import Market, answer_json, body_of, running_market
from tests.serving_rig import HANGS_S, free_port, listening

OURS = "0711-at-the-provider"
SECRET = "s3cret: of 100 % & more"
"""With signs that client_secret_basic has to escape."""
LINK = "Sign in with Acme & Co"

Answering = Callable[[Send], Awaitable[None]]


class Provider:
    """An identity provider as OpenID Connect has it: metadata, keys, sign-in, codes, tokens. The test changes what
    it says.

    Attributes:
        says: claims of ID tokens that are others than usual; None: left out.
        signs: what makes a token of claims.
        answers: path → what is answered in place of the usual.
        refuses: what the sign-in page answers the program with, in place of a code.
        thin: the address is left out of ID tokens, and told at the userinfo endpoint alone.
        tells: claims of the userinfo endpoint that are others than usual; None: left out.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.issuer = f"http://127.0.0.1:{self.port}"
        self.private: Any = rsa.generate_private_key(65537, 2048)
        self.about: dict[str, Any] = {
            "issuer": self.issuer,
            "jwks_uri": self.issuer + "/keys",
            "authorization_endpoint": self.issuer + "/authorize",
            "token_endpoint": self.issuer + "/token",
            "userinfo_endpoint": self.issuer + "/userinfo",
            "authorization_response_iss_parameter_supported": True,
        }
        self.keys: list[dict[str, Any]] = [jwk(self.private, "one")]
        self.asked: list[str] = []
        self.redirects: set[str] = set()
        self.says: dict[str, Any] = {}
        self.signs: Callable[[dict[str, Any]], str] = self.signed
        self.answers: dict[str, Answering] = {}
        self.refuses: dict[str, str] = {}
        self.thin = False
        self.tells: dict[str, Any] = {}
        self.codes: dict[str, dict[str, str]] = {}
        self.people: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        self.asked.append(path)
        query = dict(parse_qsl(scope["query_string"].decode()))
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        form = dict(parse_qsl((await body_of(receive)).decode())) if scope["method"] == "POST" else {}
        if path in self.answers:
            await self.answers[path](send)
        elif path == "/authorize":
            await self._sign_in(send, query, form, headers.get("cookie", ""))
        elif path == "/token":
            status, told = self._token(form, headers.get("authorization", ""))
            await answer_json(send, told, status)
        elif path == "/userinfo":
            told = self.people.get(headers.get("authorization", ""))
            await answer_json(send, told, 200) if told else await answer(send, 401, {"www-authenticate": "Bearer"}, b"")
        else:
            told = {DISCOVERY: self.about, "/keys": {"keys": self.keys}}.get(path)
            await answer_json(send, told, 200 if told is not None else 404)

    async def _sign_in(self, send: Send, asked: dict[str, str], form: dict[str, str], cookie: str) -> None:
        """The provider's own page; who is known by a cookie passes it unseen."""
        self.requests.append(asked)
        wrong = (
            asked.get("client_id") != OURS
            or asked.get("redirect_uri") not in self.redirects
            or asked.get("response_type") != "code"
            or "openid" not in asked.get("scope", "").split()
            or (asked.get("code_challenge_method"), len(asked.get("code_challenge", ""))) != ("S256", 43)
        )
        if wrong:
            await answer_json(send, {"error": "invalid_request"}, 400)
            return
        known = re.search(r"known=([^;]+)", cookie)
        if "user" not in form and (known is None or asked.get("prompt") == "login"):
            page = '<form method="post"><input type="hidden" name="user" value=""><button>Sign in</button></form>'
            await answer(send, 200, {"content-type": "text/html"}, page.encode())
            return
        user = form.get("user") or unquote_plus(known[1] if known else "")
        code = secrets.token_urlsafe(24)
        self.codes[code] = {**asked, "user": user}
        told = self.refuses or {"code": code, "session_state": "x"}
        told = told | {"state": asked["state"]} | ({"iss": self.issuer} if self._names_itself else {})
        where = f"{asked['redirect_uri']}?{urlencode(told)}"
        await answer(send, 302, {"location": where, "set-cookie": f"known={urlencode({'': user})[1:]}; Path=/"}, b"")

    @property
    def _names_itself(self) -> bool:
        return bool(self.about.get("authorization_response_iss_parameter_supported"))

    def _token(self, form: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        if authorization.startswith("Basic "):
            shown = b64decode(authorization[6:]).decode().split(":")
        else:
            shown = [form.get("client_id", ""), form.get("client_secret", "")]
        if [unquote_plus(each) for each in shown] != [OURS, SECRET] and shown != [OURS, SECRET]:
            return 401, {"error": "invalid_client"}
        given = self.codes.pop(form.get("code", ""), None)
        if given is None or form.get("redirect_uri") != given["redirect_uri"]:
            return 400, {"error": "invalid_grant"}
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if urlsafe_b64encode(digest).decode().rstrip("=") != given["code_challenge"]:
            return 400, {"error": "invalid_grant"}
        claims = self.claims(**({"email": given["user"], "nonce": given["nonce"]} | self.says))
        access = secrets.token_urlsafe(24)
        person = {name: claims[name] for name in ("sub", "email", "email_verified") if name in claims} | self.tells
        self.people[f"Bearer {access}"] = {name: value for name, value in person.items() if value is not None}
        if self.thin:
            claims = {name: value for name, value in claims.items() if not name.startswith("email")}
        return 200, {"id_token": self.signs(claims), "access_token": access, "token_type": "Bearer"}

    def claims(self, **changes: Any) -> dict[str, Any]:
        now = int(time.time())
        told = {"iss": self.issuer, "aud": OURS, "sub": "7f3a", "iat": now, "exp": now + 300} | changes
        told = {"email": "Anna@acme.example", "email_verified": True} | told
        return {name: value for name, value in told.items() if value is not None}

    def token(self, **changes: Any) -> str:
        return self.signed(self.claims(**changes))

    def signed(self, claims: dict[str, Any], kid: str | None = "one", algorithm: str = "RS256", **head: Any) -> str:
        named = {"kid": kid} if kid is not None else {}
        return jwt.encode(claims, self.private, algorithm=algorithm, headers={**named, **head})


class Browser:
    """A person's browser: it keeps cookies, follows redirects and links, and sends forms. `page` is what it shows."""

    def __init__(self, language: str = "en") -> None:
        headers = {"accept": "text/html", "accept-language": language}
        self.http = httpx2.AsyncClient(trust_env=False, timeout=HANGS_S, headers=headers)
        self.page: httpx2.Response
        self.passed: list[str] = []

    async def open(self, url: str) -> httpx2.Response:
        """Go to an address, on to where it leads, and stop before what nobody serves."""
        return await self._follow(await self.http.get(url))

    async def click(self, text: str) -> httpx2.Response:
        """Follow a link of the page."""
        links = {html.unescape(name).strip(): html.unescape(href) for href, name in _LINK.findall(self.page.text)}
        return await self.open(urljoin(str(self.page.url), links[text]))

    async def send(self, **fields: str) -> httpx2.Response:
        """Send the page's form, with what is hidden in it."""
        hidden = {name: html.unescape(value) for name, value in _HIDDEN.findall(self.page.text)}
        action = re.findall(r'<form method="post" action="([^"]*)"', self.page.text) or [str(self.page.url)]
        place = urljoin(str(self.page.url), action[0])
        parts = urlsplit(place)
        origin = {"origin": f"{parts.scheme}://{parts.netloc}"}
        return await self._follow(await self.http.post(place, data=hidden | fields, headers=origin))

    async def _follow(self, response: httpx2.Response) -> httpx2.Response:
        while response.has_redirect_location:
            place = urljoin(str(response.url), response.headers["location"])
            self.passed.append(place)
            if urlsplit(place).path == "/callback":  # the program's, which listens nowhere
                break
            response = await self.http.get(place)
        self.page = response
        return response


_LINK = re.compile(r'<a [^>]*?href="([^"]*)"[^>]*>([^<]*)</a>')
_HIDDEN = re.compile(r'<input type="hidden" name="([^"]*)" value="([^"]*)"')


async def answer(send: Send, status: int, headers: dict[str, str], body: bytes) -> None:
    """Send a whole answer."""
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})


def jwk(private: Any, kid: str, **more: Any) -> dict[str, Any]:
    kind = RSAAlgorithm if isinstance(private, rsa.RSAPrivateKey) else ECAlgorithm
    return {**kind.to_jwk(private.public_key(), as_dict=True), "kid": kid, "use": "sig", **more}


def by_secret(claims: dict[str, Any], provider: Provider) -> str:
    """HS256 with the public key, which whoever takes any algorithm would verify with."""
    public = provider.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    parts = [urlsafe_b64encode(orjson.dumps(each)).rstrip(b"=") for each in ({"alg": "HS256", "kid": "one"}, claims)]
    seal = hmac.new(public, b".".join(parts), "sha256").digest()
    return b".".join([*parts, urlsafe_b64encode(seal).rstrip(b"=")]).decode()


def trusting(provider: Provider, **changes: Any) -> dict[str, Any]:
    """The setting that lets a provider sign people in on the pages."""
    told = {"audience": OURS, "domains": ["acme.example"], "name": "Acme & Co", "client_secret": SECRET}
    return {provider.issuer: told | changes}


@asynccontextmanager
async def market_with(database: Any, home: Any, provider: Provider, **changes: Any) -> AsyncIterator[Market]:
    """A marketplace with two customers that trusts a running provider."""
    made = await database("servers.marketplace", "shared")
    trusted = trusting(provider, **changes)
    async with (
        running_market(home, made.urls, identity_providers=trusted) as running,
        listening(provider, provider.port, running.settings),
    ):
        provider.redirects.add(running.base + CALLBACK)
        await running.add_customers()
        yield running


async def at_consent(market: Market, language: str = "en", **changes: str) -> tuple[Browser, str]:
    """A browser at the consent page of a program, and the program's id."""
    browser, client_id = Browser(language), (await registered(market))["client_id"]
    await browser.open(asking(market, client_id, **changes))
    return browser, client_id


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def market(database: Any, tmp_path: Any, provider: Provider) -> AsyncIterator[Market]:
    async with market_with(database, tmp_path, provider) as running:
        yield running


@pytest.fixture
async def anna(market: Market) -> UserCreated:
    return await market.add_user("customer_user", "acme", "anna@acme.example")
