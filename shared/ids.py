"""Identifiers and digests: how they are made, and the pattern that every input of that kind must match (ASCII)."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import orjson
from pydantic import StringConstraints

CUSTOMER_PATTERN = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
HANDLE_PATTERN = r"^[a-z]{2,8}_[a-z2-7]{26}$"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
EMAIL_PATTERN = r"^[!-?A-~]+@[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
"""In lower case, as addresses are stored; at most 254 characters."""

CustomerId = Annotated[str, StringConstraints(pattern=CUSTOMER_PATTERN, min_length=2, max_length=40)]
Handle = Annotated[str, StringConstraints(pattern=HANDLE_PATTERN)]
JobId = Annotated[str, StringConstraints(pattern=r"^job_[a-z2-7]{26}$")]
Digest = Annotated[str, StringConstraints(pattern=DIGEST_PATTERN)]

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_LEGAL_FORM = re.compile(r"-(gmbh|ag|kg|co|ohg|se|mbh|ug|ltd|inc|llc|e-k|und)+$")


def new_handle(kind: str) -> str:
    """An unguessable handle such as `job_…`: 128 random bits in base32, lower case."""
    return f"{kind}_{base64.b32encode(secrets.token_bytes(16)).decode().rstrip('=').lower()}"


def customer_id(company_name: str) -> str:
    """The customer id that a company's name gives: `Müller Elektro GmbH & Co. KG` → `mueller-elektro`.

    Returns an empty string where no ASCII letter is left; the caller refuses that.
    """
    folded = unicodedata.normalize("NFKD", company_name.lower().translate(_GERMAN))
    ascii_name = folded.encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_name).strip("-")
    while (shorter := _LEGAL_FORM.sub("", slug)) != slug:
        slug = shorter
    return slug.lstrip("0123456789-")[:40].strip("-")


def digest(data: bytes) -> str:
    """`sha256:` and 64 hexadecimal digits of the bytes."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 of a file in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_file(path: Path) -> str:
    """`sha256:` and 64 hexadecimal digits of a file."""
    return f"sha256:{hash_file(path)}"


def canonical_json(value: object) -> bytes:
    """JSON with sorted keys and no white space: the one form that digests are taken over."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def canonical_digest(value: object) -> str:
    """The digest of a value's canonical JSON."""
    return digest(canonical_json(value))


def digest_of_lines(lines: Iterable[bytes]) -> str:
    """The digest over many records in the given order, each closed by a line feed, without holding them together."""
    state = hashlib.sha256()
    for line in lines:
        state.update(line)
        state.update(b"\n")
    return "sha256:" + state.hexdigest()
