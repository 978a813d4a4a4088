"""Whose address a provider names: only one that it says is verified, in the claim that the operator has named."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic import SecretStr

from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.providers.issuer import Issuer
from shared.identity_provider import IdentityProvider

ENTRA = "xms_edov"


def email(claims: dict[str, Any], **settings: Any) -> str | None:
    trusted = IdentityProvider(audience="a", domains=["acme.example"], client_secret=SecretStr("s"), **settings)  # pyright: ignore[reportCallIssue]
    unused = cast("Outgoing", None)
    return Issuer("https://login.example/a", trusted, unused).email({"email": "Anna@Acme.example", **claims})


@pytest.mark.parametrize("said", [True, "1", "true"])
def test_a_claim_of_the_operators_choice_says_that_an_address_is_verified(said: Any) -> None:
    assert email({ENTRA: said}, verified_by=ENTRA) == "anna@acme.example"
    assert email({ENTRA: said}) is None
    assert email({"email_verified": True}, verified_by=ENTRA) is None


@pytest.mark.parametrize("said", [False, None, "0", "false", "", 0, 2, [], ["1"], {"a": True}])
def test_whatever_else_it_says_verifies_nothing(said: Any) -> None:
    assert email({ENTRA: said}, verified_by=ENTRA) is None
    assert email({"email_verified": said}) is None


@pytest.mark.parametrize("said", ["1", "true"])
def test_the_standards_own_claim_is_true_and_no_text(said: str) -> None:
    assert email({"email_verified": said}) is None
    assert email({"email_verified": True}) == "anna@acme.example"


def test_without_a_name_the_pages_say_the_host() -> None:
    trusted = IdentityProvider(audience="a", domains=["acme.example"])  # pyright: ignore[reportCallIssue]
    assert Issuer("https://login.example/realms/a", trusted, cast("Outgoing", None)).name == "login.example"
