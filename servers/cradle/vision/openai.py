"""OpenAI's vision models through the Responses API, with `store=False`: the provider is told to keep nothing."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import SecretStr

from servers.cradle.vision.base import Answer, Ask, counted, prompt, storable
from servers.cradle.vision.costs import MAX_OUTPUT_TOKENS
from servers.cradle.vision.failures import UNFINISHED, translated
from servers.cradle.vision.structured import structured
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionTask
from shared.errors import Unavailable


class OpenAiVision:
    """One pooled client. Content goes to the configured endpoint and nowhere else."""

    name = "openai"
    remote = True
    boxes = False
    schemas = True
    tasks: frozenset[VisionTask] = frozenset({"ocr", "description", "analysis"})

    def __init__(self, key: SecretStr, model: str, base_url: str | None, deadline_s: float) -> None:
        self._key, self._model, self._base_url, self._deadline = key, model, base_url, deadline_s
        self._client: Any = None

    def parameters(self) -> OcrParameters:
        return OcrParameters(provider=self.name, version=self._model, settings={"max_output_tokens": MAX_OUTPUT_TOKENS})

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        import openai

        image = "data:image/png;base64," + base64.b64encode(png).decode()
        content = [
            {"type": "input_text", "text": prompt(ask)},
            {"type": "input_image", "image_url": image, "detail": "high"},
        ]
        try:
            answer = await self._connected().responses.create(
                model=self._model,
                input=[{"role": "user", "content": content}],
                store=False,
                max_output_tokens=MAX_OUTPUT_TOKENS,
                **_format(ask),
            )
            text = storable(answer.output_text)
            tokens = counted(answer.usage, "input_tokens"), counted(answer.usage, "output_tokens")
            parts = [part for each in answer.output if each.type == "message" for part in each.content]
            refused = any(part.type == "refusal" for part in parts)  # of a "completed" answer without a text
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:  # the last ones: cut or odd JSON
            raise translated(error, openai, "OPENAI") from None
        if answer.status != "completed" or refused:
            raise Unavailable(UNFINISHED)
        return Answer(VisionPage(page=page, text=text, data=structured(text, ask.json_schema)), *tokens)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            import openai

            # No retries here: the chain has the other providers, and the caller the time.
            self._client = openai.AsyncOpenAI(
                api_key=self._key.get_secret_value(), base_url=self._base_url, timeout=self._deadline, max_retries=0
            )
        return self._client


def _format(ask: Ask) -> dict[str, Any]:
    if ask.json_schema is None:
        return {}
    return {"text": {"format": {"type": "json_schema", "name": "answer", "schema": ask.json_schema, "strict": False}}}
