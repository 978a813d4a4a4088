"""Who gets in: forged tokens, other servers' tokens, hosts, origins, routes without a token."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.auth import AccessKeyVerifier, GivenKeys, Principal, TokenVerifier
from shared.errors import Unauthenticated
from shared.ids import digest
from shared.settings import Settings
from tests.serving_rig import HANGS_S, Issuer, build, envelope, headers_for, legacy, memory, modern, running


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("home"), max_body_bytes=100_000)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


@pytest.fixture(scope="module")
async def base(settings: Settings, issuer: Issuer) -> AsyncIterator[str]:
    async with running(build(settings, issuer), settings) as address:
        yield address


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=HANGS_S) as opened:
        yield opened


def part(value: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(settings: Settings, issuer: Issuer) -> dict[str, str]:
    """Tokens of which each is wrong in one way."""
    good = issuer.claims(settings)
    other = Issuer("one")
    public = issuer.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    head, body, signature = issuer.sign(good).split(".")
    rsa_key = rsa.generate_private_key(65537, 2048)
    wide = ec.generate_private_key(ec.SECP384R1())
    now = int(time.time())
    tokens = {
        "expired": issuer.token(settings, exp=now - 60, iat=now - 120),
        "not before": issuer.token(settings, nbf=now + 600),
        "issued in the future": issuer.token(settings, iat=now + 600, exp=now + 900),
        "exp 2100": issuer.token(settings, exp=4_102_444_800),
        "lives two hours": issuer.token(settings, exp=now + 7200),
        "ends before it starts": issuer.token(settings, iat=now, exp=now - 1),
        "none": f"{part({'alg': 'none', 'kid': 'one'})}.{body}.",
        "none in capitals": f"{part({'alg': 'NONE', 'kid': 'one'})}.{body}.",
        "HS256 with the public key": _hs256(good, public),
        "RS256": jwt.encode(good, rsa_key, algorithm="RS256", headers={"kid": "one"}),
        "ES384": jwt.encode(good, wide, algorithm="ES384", headers={"kid": "one"}),
        "another key under the same kid": other.sign(good),
        "unknown kid": issuer.sign(good, kid="two"),
        "kid traversal": issuer.sign(good, kid="../../dev/null"),
        "kid with SQL": issuer.sign(good, kid="x' OR '1'='1"),
        "no kid": jwt.encode(good, issuer.private, algorithm="ES256"),
        "empty kid": issuer.sign(good, kid=""),
        "jku": other.sign(good, jku="http://127.0.0.1:1/jwks.json"),
        "x5u": other.sign(good, x5u="http://127.0.0.1:1/cert.pem"),
        "jwk in the header": other.sign(good, jwk=other.jwk),
        "crit": issuer.sign(good, crit=["b64"], b64=True),
        "audience list": issuer.token(settings, aud=[settings.resource("cradle")]),
        "two audiences": issuer.token(settings, aud=[settings.resource("cradle"), "http://x/mcp"]),
        "wrong audience": issuer.token(settings, aud=settings.resource("marketplace")),
        "audience with a slash": issuer.token(settings, aud=settings.resource("cradle") + "/"),
        "wrong issuer": issuer.token(settings, iss="http://127.0.0.1:9999"),
        "issuer with a slash": issuer.token(settings, iss=settings.url("marketplace") + "/"),
        "unknown role": issuer.token(settings, role="root"),
        "no role": issuer.token(settings, role=None),
        "role is a list": issuer.token(settings, role=["platform_admin"]),
        "customer is not an id": issuer.token(settings, customer="../other"),
        "customer with a line feed": issuer.token(settings, customer="acme\n"),
        "customer is a list": issuer.token(settings, customer=["acme", "other"]),
        "scope is a list": issuer.token(settings, scope=["read"]),
        "subject with a line feed": issuer.token(settings, sub="a\nb"),
        "subject ends with a line feed": issuer.token(settings, sub="a\n"),
        "exp is text": _with_body(issuer, {**good, "exp": "tomorrow"}),
        "exp is true": _with_body(issuer, {**good, "exp": True}),
        "body changed": f"{head}.{part({**good, 'scope': 'admin'})}.{signature}",
        "signature cut": f"{head}.{body}.{signature[:-4]}",
        "signature empty": f"{head}.{body}.",
        "zero signature": f"{head}.{body}.{base64.urlsafe_b64encode(bytes(64)).rstrip(b'=').decode()}",
        "two parts": f"{head}.{body}",
        "not a token": "hello",
        "huge": head + "." + "A" * 20_000 + "." + signature,
        "body is a list": issuer_raw(issuer, b"[]"),
    }
    tokens |= {
        f"no {claim}": issuer.token(settings, **{claim: None}) for claim in ("exp", "iat", "iss", "aud", "sub", "jti")
    }
    return tokens


def _hs256(claims: dict[str, Any], secret: bytes) -> str:
    import hashlib
    import hmac

    head = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'one'})}.{part(claims)}"
    seal = hmac.new(secret, head.encode(), hashlib.sha256).digest()
    return f"{head}.{base64.urlsafe_b64encode(seal).rstrip(b'=').decode()}"


def _with_body(issuer: Issuer, claims: dict[str, Any]) -> str:
    return issuer_raw(issuer, json.dumps(claims).encode())


def issuer_raw(issuer: Issuer, body: bytes) -> str:
    """Signs any body."""
    return jwt.api_jws.encode(body, issuer.private, algorithm="ES256", headers={"kid": issuer.kid})


@pytest.mark.requirement("A-01")
async def test_every_forged_token_gets_the_identical_401(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    tokens = forged(settings, issuer)
    assert len(tokens) >= 25
    assert (await modern(client, base, issuer.token(settings), "echo", {"text": "x"})).status_code == 200
    answers = {}
    for name, token in tokens.items():
        for call in (modern, legacy):
            answer = await call(client, base, token, "echo", {"text": "x"})
            seen = {key: value for key, value in answer.headers.items() if key != "date"}
            answers[f"{name}, {call.__name__}"] = (answer.status_code, answer.content, tuple(sorted(seen.items())))
    odd = {name: answer[0] for name, answer in answers.items() if answer[0] != 401}
    assert odd == {}
    assert len(set(answers.values())) == 1


@pytest.mark.requirement("A-02")
async def test_a_token_for_one_server_is_refused_by_another(tmp_path: Path, client: httpx2.AsyncClient) -> None:
    settings, issuer = Settings(home=tmp_path), Issuer()
    keys = GivenKeys(issuer.jwks)
    for wanted in ("orchestrator", "marketplace", "cradle", "instance"):
        verifier = TokenVerifier.of(settings, wanted, keys)
        for other in ("orchestrator", "marketplace", "cradle", "instance"):
            token = issuer.token(settings, aud=settings.resource(other))
            if other == wanted:
                assert (await verifier.verify(token)).subject == "user-1"
            else:
                with pytest.raises(Unauthenticated):
                    await verifier.verify(token)


@pytest.mark.requirement("A-05")
async def test_a_challenge_names_the_metadata_and_the_scope(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    missing = await modern(client, base, None, "echo", {"text": "x"})
    assert missing.status_code == 401
    challenge = missing.headers["www-authenticate"]
    assert 'error="invalid_token"' in challenge
    assert f'resource_metadata="{settings.url("cradle")}/.well-known/oauth-protected-resource/mcp"' in challenge
    for call in (modern, legacy):
        refused = await call(client, base, issuer.token(settings), "change")
        assert refused.status_code == 403, call.__name__
        assert 'error="insufficient_scope"' in refused.headers["www-authenticate"]
        assert 'scope="admin"' in refused.headers["www-authenticate"]
        assert refused.json()["error"]["data"]["0711/error"]["code"] == "forbidden"
        large = await call(client, base, issuer.token(settings), "change", {"text": "x" * 70_000})
        assert (large.status_code, large.headers["www-authenticate"]) == (403, refused.headers["www-authenticate"])
        allowed = await call(client, base, issuer.token(settings, scope="admin"), "change")
        assert allowed.status_code == 200, call.__name__


async def test_the_metadata_says_where_tokens_come_from(
    base: str, settings: Settings, client: httpx2.AsyncClient
) -> None:
    for path in ("/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/mcp"):
        told = (await client.get(base + path)).json()
        assert told["resource"] == settings.resource("cradle")
        assert told["authorization_servers"] == [settings.url("marketplace")]
        assert told["scopes_supported"] == ["admin", "read"]


async def test_a_server_without_an_issuer_sends_nobody_to_one(
    settings: Settings, issuer: Issuer, client: httpx2.AsyncClient
) -> None:
    async with running(build(settings, issuer, issuer=""), settings) as alone:
        missing = await modern(client, alone, None, "echo", {"text": "x"})
        assert missing.status_code == 401
        assert "resource_metadata" not in missing.headers["www-authenticate"]
        assert (await client.get(alone + "/.well-known/oauth-protected-resource")).status_code == 401


@pytest.mark.requirement("A-05")
async def test_every_path_but_the_listed_ones_needs_a_token(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    closed = [
        "/",
        "/mcp",
        "/repeat",
        "/broken",
        "/nothing",
        "/health/",
        "//health",
        "/health/../repeat",
        "/docs",
        "/openapi.json",
    ]
    for path in closed:
        for method in ("GET", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "HEAD"):
            answer = await client.request(method, base + path)
            assert answer.status_code == 401, (method, path)
    assert (await client.get(base + "/health")).status_code == 200
    assert (await client.get(base + "/metrics")).status_code == 200
    other = headers_for(issuer.token(settings, scope="write"))
    assert (await client.post(base + "/repeat", json={}, headers=other)).status_code == 403


async def test_metrics_are_not_given_to_a_proxy(base: str, client: httpx2.AsyncClient) -> None:
    answer = await client.get(base + "/metrics", headers={"x-forwarded-for": "10.0.0.1"})
    assert answer.status_code == 403


async def test_two_authorization_headers_are_refused(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    good = f"Bearer {issuer.token(settings)}"
    for given in ([good, good], [good, "Bearer x"], ["Basic x"], ["Bearer"], [f"Bearer  {good}"]):
        headers = [("authorization", each) for each in given]
        assert (await client.get(base + "/broken", headers=headers)).status_code == 401, given
    assert (await client.get(base + f"/broken?access_token={issuer.token(settings)}")).status_code == 401


async def test_a_foreign_host_is_misdirected_and_a_foreign_origin_forbidden(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    body = envelope("tools/call", {"name": "echo", "arguments": {"text": "x"}})
    headers = headers_for(issuer.token(settings), "tools/call", "echo")
    for host, status in {
        "evil.example": 421, "127.0.0.1.evil.example": 421, "evil.example:8003": 421, "localhost:1": 200,
        "[::1]:8003": 200, "127.0.0.1@evil.example": 421, "": 421, "[::1": 421,
    }.items():  # fmt: skip
        answer = await client.post(base + "/mcp", json=body, headers=headers | {"host": host})
        assert answer.status_code == status, host
    own = base.removeprefix("http://")
    for origin, status in {
        "http://evil.example": 403, "null": 403, f"http://{own}.evil.example": 403, "http://localhost:9": 403,
        f"http://{own}": 200,
    }.items():  # fmt: skip
        answer = await client.post(base + "/mcp", json=body, headers=headers | {"origin": origin})
        assert answer.status_code == status, origin


@pytest.mark.requirement("I-02")
async def test_a_large_body_is_refused_before_it_is_read(
    settings: Settings, issuer: Issuer, base: str, client: httpx2.AsyncClient
) -> None:
    async def much() -> AsyncIterator[bytes]:
        for _ in range(320):
            yield b"x" * 65_536

    for path, method in (("/mcp", "tools/call"), ("/mcp", None), ("/repeat", None)):
        headers = headers_for(issuer.token(settings), method, "echo")
        for body in (b"[" + b" " * 20 * 2**20, much()):  # a client that sends all of it learns why it is refused
            refused = await client.post(base + path, content=body, headers=headers)
            assert (refused.status_code, refused.headers["connection"]) == (413, "close"), (path, method)
            assert "send less at once" in refused.text


@pytest.mark.requirement("I-02")
@pytest.mark.parametrize("method", ["tools/call", None])
async def test_100_mb_whose_length_is_not_told_hardly_touch_the_memory_at_the_usual_limit(
    issuer: Issuer, client: httpx2.AsyncClient, tmp_path: Path, method: str | None
) -> None:
    settings, block = Settings(home=tmp_path), b"x" * 65_536

    async def much() -> AsyncIterator[bytes]:
        for _ in range(1600):
            yield block

    async with running(build(settings, issuer), settings) as base:
        headers = headers_for(issuer.token(settings), method, "echo")
        peaks = []
        for _ in range(3):  # the process has other threads, of other tests
            Path("/proc/self/clear_refs").write_text("5")  # noqa: ASYNC240  # the peak begins here
            before = memory("VmRSS")
            assert (await client.post(base + "/mcp", content=much(), headers=headers)).status_code == 413
            peaks.append(memory("VmHWM") - before)
        assert min(peaks) <= 16 * 2**20


async def test_an_access_key_lets_in_who_has_it() -> None:
    caller = Principal("instance", "customer_user", frozenset({"dataset:read"}), "acme", "access-key", 0)
    verifier = AccessKeyVerifier(digest(b"the-key"), caller)
    admitted = await verifier.verify("the-key")
    assert (admitted.subject, admitted.customer) == ("instance", "acme")
    assert admitted.expires_at > time.time()
    for wrong in ("", "the-keY", "the-key ", "\ud800"):
        with pytest.raises(Unauthenticated):
            await verifier.verify(wrong)
