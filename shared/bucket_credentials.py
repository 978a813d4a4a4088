"""Credentials that open one customer's bucket and no other: those of a role, for an hour, narrowed by a policy.

A fault that mixes customers up is then refused by the object store itself. Source: the call `AssumeRole` of AWS's
Security Token Service (version 2011-06-15) with a session policy, which Ceph and others have too.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

import orjson

from shared.certificates import fault
from shared.errors import Unavailable
from shared.proxies import pool
from shared.settings import Settings

if TYPE_CHECKING:
    from obstore.store import S3Credential

LASTS_S = 3600
"""An hour: what a role allows where nobody has set more."""
RENEWED_S = 1800
AGAIN_S = 60
"""After a renewal that failed, while the credentials hold."""
TIMEOUT_S = 10
_OBJECTS = ("GetObject", "PutObject", "DeleteObject", "AbortMultipartUpload", "ListMultipartUploadParts")
_BUCKET = ("ListBucket", "ListBucketMultipartUploads", "GetBucketLocation")


@dataclass(frozen=True, slots=True)
class _Session:
    key: str
    secret: str
    token: str
    ends: datetime


class BucketCredentials:
    """Credentials for one bucket, renewed when half of their time is over: who asks for them may have to wait for the
    service then. All methods block, and raise Unavailable where it gives none.

    Args:
        options: those of the object store, as `objects.s3_options` has them.
    """

    def __init__(self, settings: Settings, bucket: str, options: Mapping[str, str]) -> None:
        self._settings = settings
        self._bucket = bucket
        self._options = dict(options)
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._renew_at = datetime.min.replace(tzinfo=UTC)

    def options(self) -> dict[str, str]:
        """The store's options with credentials for the bucket alone."""
        session = self._current()
        return {
            **self._options,
            "aws_disable_bulk_delete": "true",  # Ceph 18 refuses that call to whom a policy narrows
            "aws_access_key_id": session.key,
            "aws_secret_access_key": session.secret,
            "aws_session_token": session.token,
        }

    def for_obstore(self) -> S3Credential:
        """The credentials as obstore takes them; it asks again when they end."""
        session = self._current()
        return {
            "access_key_id": session.key,
            "secret_access_key": session.secret,
            "token": session.token,
            "expires_at": session.ends,
        }

    def _current(self) -> _Session:
        with self._lock:
            now = datetime.now(UTC)
            if self._session is None or now >= min(self._renew_at, self._session.ends):
                try:
                    self._session = _assumed(self._settings, self._bucket)
                    self._renew_at = self._session.ends - timedelta(seconds=RENEWED_S)
                except Unavailable:
                    if self._session is None or self._session.ends <= now:
                        raise
                    self._renew_at = now + timedelta(seconds=AGAIN_S)
            return self._session


def policy_of(bucket: str) -> str:
    """What these credentials may do, as JSON: read and write objects of the bucket, and list them."""
    place = f"arn:aws:s3:::{bucket}"
    statements = [
        {"Effect": "Allow", "Action": [f"s3:{each}" for each in _OBJECTS], "Resource": [f"{place}/*"]},
        {"Effect": "Allow", "Action": [f"s3:{each}" for each in _BUCKET], "Resource": [place]},
    ]
    return orjson.dumps({"Version": "2012-10-17", "Statement": statements}).decode()


def _assumed(settings: Settings, bucket: str) -> _Session:
    body = urlencode(
        {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": settings.s3_role or "",
            "RoleSessionName": bucket,
            "DurationSeconds": str(LASTS_S),
            "Policy": policy_of(bucket),
        }
    )
    try:
        return _session_in(_answer_to(body, settings))
    except Exception as error:  # noqa: BLE001  # a wrong answer too; what it says may hold the credential
        if (wrong := fault(error)) is not None:
            raise Unavailable(f"The TLS certificate of P0711_STS_ENDPOINT {wrong}.") from None
        raise Unavailable(
            "The object store gives no credentials for a customer's bucket. Check P0711_S3_ROLE, P0711_STS_ENDPOINT and"
            " that the platform's credential may assume the role."
        ) from None


def _answer_to(body: str, settings: Settings) -> bytes:
    from minio.credentials.credentials import Credentials
    from minio.helpers import sha256_hash
    from minio.signer import sign_v4_sts
    from minio.time import to_amz_date, utcnow

    address, now = settings.sts_endpoint or settings.s3_endpoint or "", utcnow()
    key, secret = settings.s3_access_key, settings.s3_secret_key
    headers: Any = sign_v4_sts(
        method="POST",
        url=urlsplit(address),
        region=settings.s3_region,
        headers={
            "Content-Type": "application/x-www-form-urlencoded",
            "Host": urlsplit(address).netloc,
            "X-Amz-Date": to_amz_date(now),
        },
        credentials=Credentials(key.get_secret_value() if key else "", secret.get_secret_value() if secret else ""),
        content_sha256=sha256_hash(body),
        date=now,
    )
    with pool(address) as client:
        answer = client.request(
            "POST", address, body=body, headers=headers, timeout=TIMEOUT_S, retries=2, redirect=False
        )
    if answer.status != 200:
        raise ValueError
    return answer.data


def _session_in(answer: bytes) -> _Session:
    from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

    root = etree.fromstring(answer, etree.XMLParser(resolve_entities=False, no_network=True))

    def told(name: str) -> str:
        return root.findtext(f".//{{*}}Credentials/{{*}}{name}") or ""

    second = told("Expiration").partition(".")[0].removesuffix("Z")  # Ceph adds nanoseconds, which 3.11 does not read
    ends = datetime.fromisoformat(f"{second}+00:00")
    session = _Session(told("AccessKeyId"), told("SecretAccessKey"), told("SessionToken"), ends)
    if not (session.key and session.secret and session.token):
        raise ValueError
    return session
