"""Keys and signed statements, without an image: what is read, what is refused, and that each check counts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from servers.cradle.images.signing import Signer
from shared.errors import Conflict, InvalidInput
from shared.signatures import IN_TOTO, Verifier, pre_authenticated

HOLDS_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEzSgYA1Qe7M6M1w78zLOW44kD8pknpKEYbUJxVPYlrr5fRqHpWkc1XjivMg8y50j9FxlOrf/MLJdXJeF"
    "iEqKBJA=="
)
"""A key whose base64 has the letters KEY in it, as one of 3,000 does."""


@pytest.fixture(scope="module")
def signer() -> Signer:
    return Signer(ec.generate_private_key(ec.SECP256R1()))


def test_a_key_is_read_whatever_letters_its_base64_has() -> None:
    verifier = Verifier.of_text(HOLDS_KEY)
    assert verifier.text == HOLDS_KEY
    assert verifier.key_id == "sha256:" + hashlib.sha256(base64.b64decode(HOLDS_KEY)).hexdigest()
    pem = verifier.pem.decode()
    assert max(map(len, pem.splitlines())) == 64
    assert Verifier.of_text(pem) == Verifier.of_text(f"  {pem}\n") == Verifier.of_text(f" {HOLDS_KEY}\n") == verifier


def test_a_key_of_another_curve_or_kind_is_refused_when_it_is_read() -> None:
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    der = other.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    private = f"-----BEGIN PRIVATE KEY-----\n{HOLDS_KEY}\n-----END PRIVATE KEY-----\n"
    for text in (base64.b64encode(der).decode(), private, "", f"{HOLDS_KEY[:-4]}AAA=", f"{HOLDS_KEY}!"):
        with pytest.raises(InvalidInput, match="no P-256 key"):
            Verifier.of_text(text)


def changed(envelope: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    outer = orjson.loads(envelope)
    change(outer)
    return orjson.dumps(outer)


def test_a_signed_statement_is_read_and_one_that_differs_in_any_part_is_not(signer: Signer) -> None:
    statement = {"predicateType": "urn:x", "subject": []}
    envelope = signer.envelope(statement)
    assert signer.verifier.statement(envelope) == statement
    other = Signer(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(Conflict, match="expected key"):
        other.verifier.statement(envelope)
    payload = base64.b64encode(orjson.dumps({**statement, "subject": ["more"]})).decode()
    for change in (
        lambda outer: outer.update(payload=payload),
        lambda outer: outer.update(payloadType="text/plain"),  # it is signed too
        lambda outer: outer["signatures"][0].update(sig=base64.b64encode(b"none").decode()),
    ):
        with pytest.raises(Conflict, match="expected key"):
            signer.verifier.statement(changed(envelope, change))
    for change in (
        lambda outer: outer.pop("payload"),
        lambda outer: outer.pop("payloadType"),
        lambda outer: outer.update(signatures=[]),
        lambda outer: outer.update(signatures=None),
        lambda outer: outer["signatures"][0].update(sig=7),
        lambda outer: outer.update(payload=outer["payload"] + "\n!"),
    ):
        with pytest.raises(Conflict, match="damaged"):
            signer.verifier.statement(changed(envelope, change))
    with pytest.raises(Conflict, match="damaged"):
        signer.verifier.statement(envelope[:-1])


def test_what_is_signed_says_how_long_its_parts_are() -> None:
    """The example of DSSE's own specification."""
    assert pre_authenticated("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert IN_TOTO == "application/vnd.in-toto+json"
