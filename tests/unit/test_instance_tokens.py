"""An instance takes its access key, and the marketplace's tokens that name it and its customer, asking nobody."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from servers.instance.app import Place, Platform, build, verifier_of
from servers.marketplace.keys import KeyRing
from servers.marketplace.tokens import Grant, Mint
from shared.contracts.instance import InstanceConfig
from shared.errors import InvalidInput, PlatformError, Unauthenticated
from shared.ids import digest
from shared.settings import Settings

ISSUER, RESOURCE = "http://127.0.0.1:4090", "http://127.0.0.1:9400/mcp"
CONFIG = InstanceConfig(
    customer_id="acme", company_name="Müller KG", tag="p1", fingerprint=digest(b"p"), dataset_digest=digest(b"d"),
    parameter_version=1,
)  # fmt: skip


def grant(customer: str | None, resource: str = RESOURCE) -> Grant:
    return Grant("usr_a", "customer_user", resource, frozenset({"dataset:read"}), customer, "key_a")


async def test_a_token_for_this_instance_and_customer_is_taken_with_the_keys_given_at_the_start(tmp_path: Path) -> None:
    ring, stranger = KeyRing(tmp_path / "keys"), KeyRing(tmp_path / "stranger")
    verifier = verifier_of(CONFIG, "k" * 24, Platform(ISSUER, RESOURCE, orjson.dumps(ring.jwks()).decode()))
    mint = Mint(ring, ISSUER)
    caller = await verifier.verify(mint.token(grant("acme")).access_token)
    assert (caller.customer, caller.scopes) == ("acme", frozenset({"dataset:read"}))
    assert (await verifier.verify("k" * 24)).customer == "acme"
    refused = [
        mint.token(grant("other")).access_token,
        mint.token(grant("acme", "http://127.0.0.1:9401/mcp")).access_token,
        Mint(ring, "http://other").token(grant("acme")).access_token,
        Mint(stranger, ISSUER).token(grant("acme")).access_token,
        "x" * 24,
    ]
    for token in refused:
        with pytest.raises(PlatformError) as error:
            await verifier.verify(token)
        assert isinstance(error.value, Unauthenticated)


def test_keys_that_are_none_are_refused_at_the_start() -> None:
    with pytest.raises(InvalidInput, match="INSTANCE_KEYS"):
        verifier_of(CONFIG, "k" * 24, Platform(ISSUER, RESOURCE, "[broken"))


@pytest.mark.parametrize(("seconds", "longest"), [(10.0, 60.0), (300.0, 1800.0)])
def test_a_call_may_take_as_long_as_its_queries(tmp_path: Path, seconds: float, longest: float) -> None:
    (tmp_path / "instance.json").write_text(CONFIG.model_dump_json())
    place = Place(tmp_path, tmp_path, tmp_path / "instance.json")
    server = build(Settings(home=tmp_path), place, "k" * 24, query_deadline_s=seconds)
    assert server.mcp.specs["query_table"].deadline_s == longest
