"""What a remote provider's failure means here. The provider's own text is not repeated: it may quote what was sent."""

from __future__ import annotations

from types import ModuleType
from typing import Any

from shared.errors import InvalidInput, Overloaded, PlatformError, Unavailable

UNFINISHED = "The vision provider stopped before the page was read. Try again or use another provider."


def translated(error: Exception, sdk: ModuleType, setting: str) -> PlatformError:
    """The platform's error for one of an SDK's; the openai and anthropic packages name theirs alike.

    Args:
        sdk: the package whose error it is.
        setting: the provider in the names of settings, such as `OPENAI`.
    """
    match error:
        case sdk.RateLimitError():
            return Overloaded("The vision provider asks to wait. Try again later.", retry_after=_waiting(error))
        case sdk.AuthenticationError() | sdk.PermissionDeniedError():
            return Unavailable(f"The vision provider refuses the key. Set P0711_{setting}_API_KEY.")
        case sdk.APITimeoutError():
            return Unavailable("The vision provider did not answer in time. Try again or use provider 'rapidocr'.")
        case sdk.BadRequestError() | sdk.UnprocessableEntityError():
            return InvalidInput("The vision provider cannot use this image.", field="image_base64")
        case sdk.NotFoundError():
            return Unavailable(f"The vision provider does not know the model. Set P0711_{setting}_VISION_MODEL.")
        case _:
            return Unavailable("The vision provider failed. Try again or use provider 'rapidocr'.")


def _waiting(error: Any) -> float:
    """Seconds that the provider asks to wait; 30 where it does not say, at most 600."""
    asked = str(error.response.headers.get("retry-after", ""))
    return min(float(asked), 600.0) if asked.isascii() and asked.isdigit() else 30.0
