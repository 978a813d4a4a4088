"""Signing keys, sealed sessions and addresses."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import jwt
import pytest

from servers.marketplace import tokens
from servers.marketplace.catalogue.address import check_address, ip_allowed
from servers.marketplace.gateway.door import Gateway
from servers.marketplace.gateway.events import Events
from servers.marketplace.gateway.message import ProtocolError, read_message
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.keys import KeyRing
from servers.marketplace.licences.signing import LicenceKeys
from servers.marketplace.services import clock_told
from servers.marketplace.tokens import LIFETIME_S, Grant, Mint
from shared.auth import GivenKeys, TokenVerifier
from shared.auth.verifier import LEEWAY_S
from shared.errors import InvalidInput, NotFound, Unauthenticated, Unavailable

GRANT = Grant("usr_a", "customer_user", "https://x.example/mcp", frozenset({"b", "a"}), "acme", "key_a")


def test_a_folder_gets_one_key_that_stays_and_that_only_its_owner_reads(tmp_path: Path) -> None:
    first = KeyRing(tmp_path / "keys")
    second = KeyRing(tmp_path / "keys")
    assert first.signing.kid == second.signing.kid
    (file,) = (tmp_path / "keys").glob("*.pem")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "d" not in first.jwks()["keys"][0]


@pytest.mark.parametrize(("open_folder", "ending"), [(KeyRing, "pem"), (SessionSeal.of_folder, "key")])
def test_a_damaged_key_is_named_and_not_replaced(
    tmp_path: Path, open_folder: Callable[[Path], object], ending: str
) -> None:
    open_folder(tmp_path)
    (file,) = tmp_path.glob(f"*.{ending}")
    file.write_bytes(b"damaged")
    with pytest.raises(Unavailable, match=f"{re.escape(str(file))} is damaged. Put it back from a backup"):
        open_folder(tmp_path)
    assert [each.read_bytes() for each in tmp_path.glob(f"*.{ending}")] == [b"damaged"]


@pytest.mark.requirement("A-03")
async def test_after_a_rotation_the_new_key_signs_and_the_old_one_verifies_until_it_is_retired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.auth.verifier.TRUSTED_S", 0.0)
    ring, replica = KeyRing(tmp_path), KeyRing(tmp_path)
    verifier = TokenVerifier(GRANT.audience, "https://m.example", GivenKeys(replica.jwks))
    mint = Mint(ring, "https://m.example")
    old_key, old = ring.signing.kid, mint.token(GRANT).access_token
    ring.rotate()
    new = mint.token(GRANT).access_token
    assert replica.signing.kid == ring.signing.kid != old_key
    assert (await verifier.verify(old)).subject == (await verifier.verify(new)).subject == "usr_a"
    ring.retire(old_key)
    with pytest.raises(Unauthenticated):
        await verifier.verify(old)
    assert (await verifier.verify(new)).customer == "acme"
    with pytest.raises(Unavailable):
        ring.retire(ring.signing.kid)


def test_a_rotation_in_the_same_tick_of_the_file_systems_clock_is_seen(tmp_path: Path) -> None:
    ring, replica = KeyRing(tmp_path), KeyRing(tmp_path)
    before = tmp_path.stat().st_mtime_ns
    ring.rotate()
    os.utime(tmp_path, ns=(before, before))
    assert replica.signing.kid == ring.signing.kid


def test_a_new_key_signs_though_the_clock_was_ahead_when_the_one_before_was_made(tmp_path: Path) -> None:
    old = KeyRing(tmp_path).signing.kid
    (made,) = tmp_path.glob("*.pem")
    made.rename(tmp_path / f"{time.time_ns() + 3600 * 10**9:020d}-{old}.pem")
    assert KeyRing(tmp_path).rotate().kid != old
    assert KeyRing(tmp_path).signing.kid != old


def test_keys_in_a_folder_of_a_server_whose_clock_is_ahead_are_read_once(tmp_path: Path) -> None:
    ring = KeyRing(tmp_path)
    ahead = time.time_ns() + 3600 * 10**9
    os.utime(tmp_path, ns=(ahead, ahead))
    assert ring.signing is ring.signing


def test_a_token_names_one_server_and_lives_at_most_fifteen_minutes(tmp_path: Path) -> None:
    token = Mint(KeyRing(tmp_path), "https://m.example").token(GRANT, 10 * LIFETIME_S)
    claims = jwt.decode(token.access_token, options={"verify_signature": False})
    assert claims["aud"] == GRANT.audience
    assert claims["exp"] - claims["iat"] == LIFETIME_S == token.expires_in
    assert (claims["scope"], claims["client_id"], claims["customer"]) == ("a b", "key_a", "acme")


def test_an_upstream_token_is_signed_once_for_a_grant_and_anew_for_another(tmp_path: Path) -> None:
    mint = Mint(KeyRing(tmp_path), "https://m.example")
    other = Grant("usr_a", "customer_user", GRANT.audience, GRANT.scopes, "bolt", "key_a")
    assert mint.upstream(GRANT) == mint.upstream(GRANT) != mint.upstream(other)


@pytest.mark.parametrize("jump", [-3600, 3600])
def test_an_upstream_token_is_signed_anew_when_the_clock_was_set_or_the_machine_slept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    mint = Mint(KeyRing(tmp_path), "https://m.example")
    before, now = mint.upstream(GRANT), time.time() + jump
    monkeypatch.setattr(tokens, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    after = mint.upstream(GRANT)
    assert after != before
    assert after == mint.upstream(GRANT)
    assert jwt.decode(after, options={"verify_signature": False})["iat"] == int(now)


def test_of_many_upstream_tokens_the_one_used_longest_ago_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CACHED_TOKENS", 2)
    mint = Mint(KeyRing(tmp_path), "https://m.example")
    first, second, third = (replace(GRANT, subject=f"usr_{name}") for name in "abc")
    signed = [mint.upstream(grant) for grant in (first, second)]
    assert mint.upstream(first) == signed[0]
    mint.upstream(third)
    assert mint.upstream(first) == signed[0]
    assert mint.upstream(second) != signed[1]


def test_a_licence_is_good_for_its_customer_and_server_until_it_ends(tmp_path: Path) -> None:
    licences, now = LicenceKeys(KeyRing(tmp_path / "keys")), datetime.now(UTC)

    def good(days: int, *given: str, key: str | None = None) -> bool:
        document, key_id, signature = licences.signed("lic_a", "acme", "io.0711/tax", now + timedelta(days=days))
        return licences.good(document, key or key_id, signature, *given)

    assert good(1, "acme", "io.0711/tax")
    assert not good(-1, "acme", "io.0711/tax")
    assert not good(1, "bolt", "io.0711/tax")
    assert not good(1, "acme", "io.0711/other")
    assert not good(1, "acme", "io.0711/tax", key="key-that-is-gone")


def test_a_sealed_session_opens_for_its_caller_only(tmp_path: Path) -> None:
    seal, replica = SessionSeal.of_folder(tmp_path), SessionSeal.of_folder(tmp_path)
    sealed = seal.seal("abc", "usr_a", "acme", "io.0711/x")
    assert replica.open(sealed, "usr_a", "acme", "io.0711/x") == "abc"
    for owner in (("usr_b", "acme", "io.0711/x"), ("usr_a", "bolt", "io.0711/x"), ("usr_a", "acme", "io.0711/y")):
        with pytest.raises(NotFound):
            seal.open(sealed, *owner)
    for forged in ("", "abc", sealed[:-4] + "AAA=", "é"):
        with pytest.raises(NotFound):
            seal.open(forged, "usr_a", "acme", "io.0711/x")


@pytest.mark.requirement("I-12")
@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest", "http://[::ffff:169.254.169.254]/", "http://[fe80::1]/mcp", "http://0.0.0.0/mcp",
        "http://[fd00:ec2::254]/", "http://100.100.100.200/", "http://2852039166/", "http://0xa9fea9fe/",
        "http://169.254.43518/", "http://224.0.0.1/", "ftp://x.example/", "file:///etc/passwd", "http://u:p@x.example/mcp",
        "http://x.example/mcp#a", "http://x.example/mcp?a=b", "http://x.example:0/", "http://x.example:99999/", "http:///mcp",
        "http://x.example/\nmcp", "http://x.exämple/mcp", "//x.example/mcp", "", "http://[::1", "http://a b.example/",
        "http://a..b.example/", f"http://{'a' * 64}.example/",
    ],
)  # fmt: skip
def test_an_address_that_leads_to_a_forbidden_host_or_is_no_plain_one_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        check_address(url, inside=True)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9312/mcp", "https://mcp.example.com/mcp", "http://[::1]:1/mcp"])
def test_an_address_that_an_instance_has_is_taken(url: str) -> None:
    assert check_address(url, inside=True) == url


@pytest.mark.parametrize(
    "address",
    [  # IANA's registries of special addresses, and what it gives to nobody
        "192.0.0.8", "192.0.0.11", "192.0.0.255", "192.0.2.1", "203.0.113.1", "240.0.0.1", "255.255.255.255",
        "64:ff9b:1::808:808", "64:ff9b:1:7f00:0:100:808:808", "100::1", "100:0:0:1::1", "2001::1", "2001:2::1",
        "2001:10::1", "2001:db8::1", "3fff::1", "3fff:fff:ffff::1", "5f00::1", "4000::1", "1::1",
    ],
)  # fmt: skip
def test_what_is_not_to_be_reached_from_everywhere_is_no_strangers(address: str) -> None:
    assert not ip_allowed(address, inside=False)
    assert ip_allowed(address, inside=True)


def test_resolved_addresses_are_checked_too() -> None:
    assert ip_allowed("10.0.0.1", inside=True)
    assert not ip_allowed("169.254.169.254", inside=True)
    assert not ip_allowed("fe80::1%eth0", inside=True)


def test_only_paths_of_a_server_are_the_gateways() -> None:
    assert Gateway.serves("/servers/io.0711/cradle/mcp")
    assert not Gateway.serves("/servers/mcp")
    assert not Gateway.serves("/servers//mcp"[:-4])
    assert not Gateway.serves("/mcp")


def test_a_body_that_is_no_single_message_is_refused() -> None:
    for body in (b"", b"[]", b"[{}]", b"{}", b'{"jsonrpc":"1.0"}', b"\xff", b"NaN"):
        with pytest.raises(InvalidInput):
            read_message(body)
    for message in (b'{"jsonrpc":"2.0","id":true,"method":"ping"}', b'{"jsonrpc":"2.0","id":1.0,"method":"ping"}'):
        with pytest.raises(ProtocolError):
            read_message(message)


def test_only_whole_events_are_passed_on() -> None:
    for data, whole, rest in (
        (b"data: a\n\ndata: b", b"data: a\n\n", b"data: b"),
        (b"data: a\r\n\r\n: c\n\nx", b"data: a\r\n\r\n: c\n\n", b"x"),
        (b"data: a\n\n", b"data: a\n\n", b""),
        (b"data: a", b"", b"data: a"),
    ):
        events = Events()
        assert (events.add(data), events.rest) == (whole, rest)


def test_health_says_how_far_a_clock_is_off_whose_tokens_others_refuse() -> None:
    told = {ahead: clock_told(ahead) for ahead in (0.2, -LEEWAY_S, LEEWAY_S, 90.4, -90.4)}
    assert [told[ahead] for ahead in (0.2, -LEEWAY_S, LEEWAY_S)] == ["healthy"] * 3
    assert (told[90.4], told[-90.4]) == ("90 s ahead of the database's", "90 s behind the database's")
