"""Where keys come from, how often they are fetched, and what a token that was verified before is worth later."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

import shared.auth.verifier
from shared.auth import GivenKeys, Principal, RemoteKeys, TokenVerifier, acting_as, principal, require, require_customer
from shared.auth.keys import FRESH_S, RETRY_S, STALE_S, read_keys
from shared.auth.verifier import TRUSTED_S
from shared.errors import Forbidden, Unauthenticated, Unavailable
from shared.settings import Settings
from tests.serving_rig import HANGS_S, Clock, Issuer


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What remote keys read."""
    clock = Clock()
    monkeypatch.setattr("shared.auth.keys.monotonic", clock)
    return clock


class Served:
    """An issuer's keys, and how often they were fetched."""

    def __init__(self, issuer: Issuer) -> None:
        self.fetches = 0
        self._issuer = issuer

    def __call__(self) -> Any:
        self.fetches += 1
        return self._issuer.jwks


@asynccontextmanager
async def serving(answer: Callable[[], Any]) -> AsyncIterator[str]:
    """A plain HTTP server on loopback whose every answer is `answer()` as JSON."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps(answer()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks.json"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.mark.requirement("A-03")
async def test_a_thousand_unknown_kids_cost_one_fetch(settings: Settings, clock: Clock) -> None:
    issuer = Issuer()
    served = Served(issuer)
    async with serving(served) as url:
        keys = RemoteKeys(url)
        verifier = TokenVerifier.of(settings, "cradle", keys)
        await verifier.verify(issuer.token(settings))
        assert served.fetches == 1
        clock.now += RETRY_S + 1
        forged = [issuer.sign(issuer.claims(settings), kid=f"kid-{number}") for number in range(1000)]
        refused = await asyncio.gather(*(verifier.verify(token) for token in forged), return_exceptions=True)
        assert all(isinstance(each, Unauthenticated) for each in refused)
        for number in range(10):  # one after the other, too
            clock.now += RETRY_S / 11
            with pytest.raises(Unauthenticated):
                await verifier.verify(issuer.sign(issuer.claims(settings), kid=f"later-{number}"))
        assert (served.fetches, RETRY_S) == (2, 5)
        await keys.aclose()


@pytest.mark.requirement("A-03")
async def test_the_old_key_verifies_until_it_is_removed_and_not_longer_than_the_cache(
    settings: Settings, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.auth.verifier, "TRUSTED_S", 0.0)
    old, new = Issuer("old"), Issuer("new")
    current = [old]
    async with serving(lambda: {"keys": [each.jwk for each in current]}) as url:
        keys = RemoteKeys(url)
        verifier = TokenVerifier.of(settings, "cradle", keys)
        before, after = old.token(settings), new.token(settings)
        await verifier.verify(before)
        clock.now += RETRY_S + 1
        current.append(new)
        await verifier.verify(after)
        await verifier.verify(before)
        current.remove(old)
        await verifier.verify(before)
        clock.now += FRESH_S + 1
        with pytest.raises(Unauthenticated):
            await verifier.verify(before)
        await verifier.verify(after)
        await keys.aclose()


@pytest.mark.requirement("A-03")
async def test_a_token_passes_for_a_second_without_asking_for_its_key_and_not_longer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer, asked, current = Issuer(), [], [True]

    def document() -> dict[str, Any]:
        asked.append(None)
        return issuer.jwks if current else Issuer().jwks  # another key in the same name

    runs, today = Clock(), time.time()
    told = SimpleNamespace(time=lambda: today, monotonic=runs)
    monkeypatch.setattr(shared.auth.verifier, "time", told)
    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(document))
    token = issuer.token(settings)
    for _ in range(100):
        await verifier.verify(token)
    assert len(asked) == 1
    assert TRUSTED_S <= 1
    current.clear()
    await verifier.verify(token)
    runs.now += TRUSTED_S
    told.time = lambda: today - 86_400  # the clock was set back: that prolongs no trust in a key that is gone
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)


async def test_the_log_says_that_clocks_differ_where_a_signed_token_is_of_the_future(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    issuer, stranger = Issuer(), Issuer()
    verifier, now = TokenVerifier.of(settings, "cradle", GivenKeys(issuer.jwks)), int(time.time())
    for signer, told in ((stranger, []), (issuer, ["token_of_the_future"])):
        with pytest.raises(Unauthenticated, match="not valid here"):
            await verifier.verify(signer.token(settings, iat=now + 90, exp=now + 900))
        assert [record.getMessage() for record in caplog.records] == told


@pytest.mark.requirement("A-01")
async def test_a_token_that_was_verified_before_ends_with_its_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer()
    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(issuer.jwks))
    token = issuer.token(settings, iat=int(time.time()) - 120, exp=int(time.time()) - 60)
    monkeypatch.setattr(shared.auth.verifier, "LEEWAY_S", 300)
    await verifier.verify(token)  # by a clock that is behind
    monkeypatch.setattr(shared.auth.verifier, "LEEWAY_S", 5)
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)


async def test_many_first_calls_share_one_fetch(settings: Settings) -> None:
    issuer = Issuer()
    served = Served(issuer)
    async with serving(served) as url:
        keys = RemoteKeys(url)
        verifier = TokenVerifier.of(settings, "cradle", keys)
        tokens = [issuer.token(settings, jti=f"tok_{number}") for number in range(50)]
        await asyncio.gather(*map(verifier.verify, tokens))
        assert served.fetches == 1
        await keys.aclose()


async def test_known_keys_outlive_an_outage_of_the_marketplace_but_not_for_good(
    settings: Settings, clock: Clock
) -> None:
    issuer = Issuer()
    async with serving(lambda: issuer.jwks) as url:
        keys = RemoteKeys(url)
        verifier = TokenVerifier.of(settings, "cradle", keys)
        await verifier.verify(issuer.token(settings))
    clock.now += FRESH_S + 1
    await verifier.verify(issuer.token(settings, jti="tok_2"))
    clock.now += STALE_S
    with pytest.raises(Unavailable):
        await verifier.verify(issuer.token(settings, jti="tok_3"))
    await keys.aclose()


async def test_without_any_keys_the_answer_says_what_to_start(settings: Settings) -> None:
    keys = RemoteKeys("http://127.0.0.1:9/jwks.json")
    with pytest.raises(Unavailable, match="0711 up"):
        await TokenVerifier.of(settings, "cradle", keys).verify(Issuer().token(settings))
    await keys.aclose()


@pytest.mark.parametrize("answer", [[], {}, {"keys": "x"}, {"keys": [1]}, {"keys": [{"kty": "EC"}]}, "text"])
async def test_a_broken_key_document_is_no_crash(settings: Settings, answer: object) -> None:
    async with serving(lambda: answer) as url:
        keys = RemoteKeys(url)
        with pytest.raises((Unavailable, Unauthenticated)):
            await TokenVerifier.of(settings, "cradle", keys).verify(Issuer().token(settings))
        await keys.aclose()


@pytest.mark.requirement("A-03")
async def test_keys_of_a_file_are_read_again_when_it_changes(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.auth.verifier, "TRUSTED_S", 0.0)
    one, two = Issuer("one"), Issuer("two")
    path = tmp_path / "jwks.json"
    path.write_text(json.dumps(one.jwks))
    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(path))
    token = one.token(settings)
    await verifier.verify(token)
    replacement = tmp_path / "new.json"
    replacement.write_text(json.dumps(two.jwks) + "\n")
    replacement.replace(path)
    await verifier.verify(two.token(settings))
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)
    path.write_text("{")
    with pytest.raises(Unauthenticated):
        await verifier.verify(two.token(settings, jti="tok_2"))


async def test_keys_of_a_function_keep_remembered_tokens_while_nothing_changes(settings: Settings) -> None:
    issuer = Issuer()
    keys = GivenKeys(lambda: issuer.jwks)
    assert await keys.key("one") is await keys.key("one")


def test_inside_a_call_the_caller_is_known_and_outside_it_is_not() -> None:
    caller = Principal("user-1", "service", frozenset({"read"}), None, "key-1", 0)
    with pytest.raises(Unauthenticated):
        principal()
    with acting_as(caller):
        assert principal() is caller
        assert require("read") is caller
        with pytest.raises(Forbidden, match="write"):
            require("write")
        with pytest.raises(Forbidden):
            require_customer()
    with pytest.raises(Unauthenticated):
        principal()
    with acting_as(Unavailable("no identity")), pytest.raises(Unavailable):
        principal()


def test_only_signing_keys_on_the_curve_of_the_tokens_that_have_a_name_are_taken() -> None:
    good, other = Issuer().jwk, ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)
    nameless = {name: value for name, value in good.items() if name != "kid"}
    others = [{**good, "kid": "sealing", "use": "enc"}, {**other, "kid": "curve"}, nameless, {**good, "kid": 7}]
    assert list(read_keys({"keys": [*others, good]})) == [good["kid"]]


async def test_a_token_lives_for_an_hour_at_most(settings: Settings) -> None:
    issuer, now = Issuer(), int(time.time())
    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(issuer.jwks))
    await verifier.verify(issuer.token(settings, iat=now, exp=now + 3600))
    with pytest.raises(Unauthenticated):
        await verifier.verify(issuer.token(settings, iat=now, exp=now + 3601))


async def test_of_many_tokens_the_oldest_is_forgotten_first(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.auth.verifier, "CACHED_TOKENS", 2)
    issuer, asked = Issuer(), []

    def document() -> dict[str, Any]:
        asked.append(None)
        return issuer.jwks

    verifier = TokenVerifier.of(settings, "cradle", GivenKeys(document))
    monkeypatch.setattr(shared.auth.verifier, "TRUSTED_S", HANGS_S)
    tokens = [issuer.token(settings, jti=f"tok_{number}") for number in range(3)]
    for token in (*tokens, tokens[2], tokens[1]):
        await verifier.verify(token)
    assert len(asked) == 3  # the two newest are remembered
    await verifier.verify(tokens[0])
    assert len(asked) == 4
