"""OpenAI's vision models through the Responses API, with `store=False`: the provider is told to keep nothing."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import SecretStr

from servers.cradle.vision.base import PROMPTS
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionTask
from shared.errors import InvalidInput, Overloaded, PlatformError, Unavailable

MAX_OUTPUT_TOKENS = 8192


class OpenAiVision:
    """One pooled client. Content goes to the configured endpoint and nowhere else."""

    name = "openai"
    remote = True
    tasks: frozenset[VisionTask] = frozenset({"ocr", "description", "analysis"})

    def __init__(self, key: SecretStr, model: str, base_url: str | None, deadline_s: float) -> None:
        self._key, self._model, self._base_url, self._deadline = key, model, base_url, deadline_s
        self._client: Any = None

    def parameters(self) -> OcrParameters:
        return OcrParameters(provider=self.name, version=self._model, settings={"max_output_tokens": MAX_OUTPUT_TOKENS})

    async def read(self, png: bytes, page: int, task: VisionTask, words: bool) -> tuple[VisionPage, float | None]:
        import openai

        if words:
            raise InvalidInput(
                "This provider gives no boxes. Use output 'text', or provider 'rapidocr'.", field="output"
            )
        image = "data:image/png;base64," + base64.b64encode(png).decode()
        content = [
            {"type": "input_text", "text": PROMPTS[task]},
            {"type": "input_image", "image_url": image, "detail": "high"},
        ]
        try:
            answer = await self._connected().responses.create(
                model=self._model,
                input=[{"role": "user", "content": content}],
                store=False,
                max_output_tokens=MAX_OUTPUT_TOKENS,
            )
        except (openai.OpenAIError, ValueError) as error:  # ValueError: the answer's JSON was cut
            raise translate(error) from None
        if getattr(answer, "status", None) != "completed":
            raise Unavailable(
                "The vision provider stopped before the page was read. Try again or use another provider."
            )
        return VisionPage(page=page, text=answer.output_text.strip()), None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._key.get_secret_value(), base_url=self._base_url, timeout=self._deadline, max_retries=2
            )
        return self._client


def translate(error: Exception) -> PlatformError:
    """The provider's failure as ours. Its own text is not repeated: it may quote what was sent."""
    import openai

    match error:
        case openai.RateLimitError():
            return Overloaded("The vision provider asks to wait. Try again later.", retry_after=30)
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            return Unavailable("The vision provider refuses the key. Set P0711_OPENAI_API_KEY.")
        case openai.APITimeoutError():
            return Unavailable("The vision provider did not answer in time. Try again or use provider 'rapidocr'.")
        case openai.BadRequestError() | openai.UnprocessableEntityError():
            return InvalidInput("The vision provider cannot use this image.", field="image_base64")
        case openai.NotFoundError():
            return Unavailable("The vision provider does not know the model. Set P0711_OPENAI_VISION_MODEL.")
        case _:
            return Unavailable("The vision provider failed. Try again or use provider 'rapidocr'.")
