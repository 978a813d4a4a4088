"""The fingerprint of installation parameters: the digest of their canonical JSON. Pure."""

from __future__ import annotations

from typing import Any

from shared.contracts.installation import InstallationParameters
from shared.ids import Digest, canonical_json, digest


def document(parameters: InstallationParameters) -> dict[str, Any]:
    """The parameters as plain JSON values."""
    return parameters.model_dump(mode="json")


def canonical(parameters: InstallationParameters) -> str:
    """The one text that stands for these parameters: what is stored, and what the fingerprint is taken over."""
    return canonical_json(document(parameters)).decode()


def fingerprint(parameters: InstallationParameters) -> Digest:
    """`sha256:…` over everything that decides a result; equal exactly when the parameters are."""
    return digest(canonical(parameters).encode())
