"""An image given as an MCP resource: its contents, a `data:` URI, or an object of the customer's own bucket.

Nothing else is resolved: no address is fetched, no path is opened, and no other bucket is looked into.
"""

from __future__ import annotations

import base64
import binascii
from urllib.parse import unquote, urlsplit

from shared.contracts.vision import ResourceContents
from shared.errors import InvalidInput

_FIELD = "resource"


def contents_of(resource: str | ResourceContents) -> bytes | None:
    """The bytes that a resource brings along; None where its URI names an object.

    Raises:
        InvalidInput: they are not base64.
    """
    if not isinstance(resource, str) and resource.blob is not None:
        return decoded(resource.blob, _FIELD)
    head, _, body = _uri(resource).partition(",")
    if not head.lower().startswith("data:"):
        return None
    if not head.lower().endswith(";base64"):
        raise InvalidInput("A data: URI of an image is written `data:image/png;base64,…`.", field=_FIELD)
    return decoded(body, _FIELD)


def key_of(resource: str | ResourceContents, bucket: str) -> str:
    """The key of the object that a resource's URI names: `bucket:inbox/scan.png` or `s3://BUCKET/inbox/scan.png`.

    Raises:
        InvalidInput: the URI is of another kind, or names another bucket.
    """
    try:
        parts = urlsplit(_uri(resource))
        scheme, place, key = parts.scheme, parts.netloc, unquote(parts.path).lstrip("/")
        plain = not parts.query and not parts.fragment
    except ValueError:
        scheme, place, key, plain = "", "", "", False
    if not plain or not key or (scheme, place) not in (("bucket", ""), ("s3", bucket)):
        raise InvalidInput(
            "A resource is sent with its blob, or by a URI: `data:image/png;base64,…`, or `bucket:path/to/object` in "
            "the customer's own bucket. Nothing is fetched from elsewhere.",
            field=_FIELD,
        )
    return key


def decoded(text: str, field: str) -> bytes:
    """Base64 as bytes.

    Raises:
        InvalidInput: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        hint = " (no data: prefix, no line breaks)" if field != _FIELD else ""
        raise InvalidInput(f"The image is not valid base64{hint}.", field=field) from None


def _uri(resource: str | ResourceContents) -> str:
    return resource if isinstance(resource, str) else resource.uri
