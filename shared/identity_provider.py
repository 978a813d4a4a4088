"""What the operator sets of an identity provider."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+$", max_length=253)]


def provider_address(url: str) -> str:
    """An address of an identity provider, whose keys nobody on the way may exchange.

    Raises:
        ValueError: it has no TLS, and is not of this machine.
    """
    parts = urlsplit(url)
    here = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "localhost", "::1"}
    if parts.scheme != "https" and not here:
        raise ValueError("an identity provider has an address with https")
    return url


class IdentityProvider(BaseModel):
    """What is taken from an identity provider (OIDC): tokens for this audience, of people at these domains. With the
    client's secret people sign in through it on the pages too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    audience: str = Field(min_length=1, max_length=200, description="The id of the platform's client there.")
    domains: list[Domain] = Field(min_length=1, max_length=100, description="Of the addresses that it speaks for.")
    client_secret: SecretStr | None = Field(None, min_length=1, max_length=1000, description="Of the client there.")
    name: str = Field("", max_length=60, description="What the pages call it; default: its host.")
    verified_by: str = Field(
        "email_verified", min_length=1, max_length=100, description="The claim that says that the address is verified."
    )
    passwords: bool = Field(True, description="Whether people at these domains may sign in with a password too.")

    @model_validator(mode="after")
    def _a_way_in(self) -> IdentityProvider:
        if not self.passwords and self.client_secret is None:
            raise ValueError("without passwords a client_secret is needed, or nobody there signs in on a page")
        return self
