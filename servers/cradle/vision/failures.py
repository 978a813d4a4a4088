"""What a remote provider's failure means here. The provider's own text is not repeated: it may quote what was sent."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import ModuleType
from typing import Any

from shared.certificates import fault
from shared.errors import InvalidInput, Overloaded, PlatformError, TooLarge, Unavailable


class TurnedAway(Unavailable):
    """The provider serves this platform nothing, whatever is sent: key, account or model are the operator's to mend."""


class Wasted(Unavailable):
    """An answer that is of no use, cut off, refused or not in its form. Its tokens are paid all the same."""

    tokens_in = 0
    tokens_out = 0


UNFINISHED = "The vision provider stopped before the page was read. Try again or use another provider."

_ACCOUNT = re.compile(
    r"credit balance is too low|api usage limit|exceeded your current quota|insufficient_quota|billing_\w*limit",
    re.IGNORECASE,
)
"""Anthropic tells with status 400, as of a wrong request, that an account is empty or has reached its limit."""
_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def translated(error: Exception, sdk: ModuleType, setting: str, *, schema: bool = False) -> PlatformError:
    """The platform's error for one of an SDK's; the openai and anthropic packages name theirs alike.

    Args:
        sdk: the package whose error it is.
        setting: the provider in the names of settings, such as `OPENAI`.
        schema: whether the answer was to have the form of one.
    """
    match error:
        case sdk.RateLimitError():
            return Overloaded("The vision provider asks to wait. Try again later.", retry_after=_asked(error, 30.0))
        case sdk.AuthenticationError() | sdk.PermissionDeniedError():
            return TurnedAway(f"The vision provider refuses the key. Set P0711_{setting}_API_KEY.")
        case sdk.APITimeoutError():
            return Unavailable("The vision provider did not answer in time. Try again or use provider 'rapidocr'.")
        case sdk.APIStatusError(status_code=400 | 402 | 413 | 422):
            return _refusal(error, setting, schema=schema)
        case sdk.NotFoundError():
            return TurnedAway(f"The vision provider does not know the model. Set P0711_{setting}_VISION_MODEL.")
        case _:
            wrong = fault(error)
            told = "The vision provider failed. Try again or use provider 'rapidocr'."
            if 300 <= getattr(error, "status_code", 0) < 400:
                told = "The vision provider's address redirects, where no page is sent. Set the one it leads to."
            if wrong is not None:
                told = f"The TLS certificate of the vision provider {wrong}."
            return Unavailable(told, retry_after=_asked(error))


def _refusal(error: Any, setting: str, *, schema: bool) -> PlatformError:
    """The request was refused: because of the image, or because nobody pays for it."""
    if error.status_code == 413:
        return TooLarge("The image is too large for the vision provider. Send a smaller one.", field="image_base64")
    if error.status_code == 402 or _ACCOUNT.search(str(error)):
        return TurnedAway(f"The vision provider's account has no credit. Look after that of P0711_{setting}_API_KEY.")
    what = "this image, or not in the form of this schema" if schema else "this image"
    return InvalidInput(f"The vision provider cannot use {what}.", field="image_base64")


def _asked(error: Any, default: float | None = None) -> float | None:
    """Seconds that the provider asks to wait, at most 600; `default` where it does not say."""
    response = getattr(error, "response", None)
    asked = "" if response is None else str(response.headers.get("retry-after", ""))
    if _SECONDS.fullmatch(asked):
        return min(float(asked), 600.0)
    try:
        until = parsedate_to_datetime(asked)  # RFC 9110, 10.2.3: seconds or a date, which is in UTC
        left = (until if until.tzinfo else until.replace(tzinfo=UTC)).timestamp() - time.time()
    except (ValueError, OverflowError, OSError):
        return default
    return min(max(left, 1.0), 600.0)
