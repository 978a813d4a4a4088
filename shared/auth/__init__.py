"""Who is calling: verifying tokens and asking, inside a call, on whose behalf it runs.

principal     Principal, and the current call's one
sources       who may name which data sources
keys          where public keys come from: an address, a file or a document
verifier      ES256 JWTs for exactly one server
ended         whose accounts have ended before their tokens
remote        a document of the marketplace
access_key    a fixed key, for an instance that runs without the platform
"""

from shared.auth.access_key import AccessKeyVerifier
from shared.auth.ended import StandingCallers
from shared.auth.keys import GivenKeys, KeySource, RemoteKeys
from shared.auth.principal import (
    CUSTOMER_ROLES,
    ROLES,
    Principal,
    acting_as,
    lacking,
    principal,
    require,
    require_customer,
)
from shared.auth.sources import require_sources
from shared.auth.verifier import TokenVerifier, Verifier

__all__ = [
    "CUSTOMER_ROLES",
    "ROLES",
    "AccessKeyVerifier",
    "GivenKeys",
    "KeySource",
    "Principal",
    "RemoteKeys",
    "StandingCallers",
    "TokenVerifier",
    "Verifier",
    "acting_as",
    "lacking",
    "principal",
    "require",
    "require_customer",
    "require_sources",
]
