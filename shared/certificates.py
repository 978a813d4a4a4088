"""What is wrong with the TLS certificate of a server that a connection failed with: told, for time heals none of it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

# what OpenSSL (X509_V_ERR_…, as the text of its message) and rustls (the name in `InvalidCertificate`) call it
_KINDS = (
    (("has expired", "ExpiredContext", "InvalidCertificate(Expired"), "has expired: renew it"),
    (
        ("not yet valid", "NotValidYet"),
        "is not valid yet: compare this machine's clock with the server's",
    ),
    (
        ("mismatch, certificate is not valid for", "NotValidForName"),
        "is for another name: ask the server under the name in its certificate, or renew that",
    ),
    (
        ("self-signed", "self signed", "unable to get local issuer", "UnknownIssuer", "CaUsedAsEndEntity"),
        "is of an authority that this machine does not trust: add the authority to the machine's, or name a file of all"
        " that it shall trust in SSL_CERT_FILE",
    ),
)


def fault(error: BaseException) -> str | None:
    """How a sentence that begins with "The TLS certificate of …" goes on, without a full stop; None: it is not that."""
    for each in _causes(error):
        text = str(each)
        if isinstance(each, ssl.SSLCertVerificationError) or "InvalidCertificate(" in text:
            why = getattr(each, "verify_message", None)  # "Missing Authority Key Identifier", from Python 3.13 on
            other = f"is refused ({why}): renew it" if why else "is refused: renew it"
            return next((told for signs, told in _KINDS if any(sign in text for sign in signs)), other)
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it came of, as Python, aiohttp (`certificate_error`) and urllib3 (`reason`) tell it."""
    for _ in range(10):
        if error is None:
            return
        yield error
        inner = getattr(error, "certificate_error", None) or getattr(error, "reason", None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
