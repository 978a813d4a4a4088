"""Anthropic's vision models through the Messages API, with structured output where a schema is given."""

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


class AnthropicVision:
    """One pooled client. Content goes to the configured endpoint and nowhere else."""

    name = "anthropic"
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
        import anthropic

        source = {"type": "base64", "media_type": "image/png", "data": base64.b64encode(png).decode()}
        content = [{"type": "image", "source": source}, {"type": "text", "text": prompt(ask)}]
        try:
            answer = await self._connected().messages.create(
                model=self._model,
                max_tokens=MAX_OUTPUT_TOKENS,
                messages=[{"role": "user", "content": content}],
                **_format(ask),
            )
            text = storable("".join(block.text for block in answer.content if block.type == "text"))
            tokens = counted(answer.usage, "input_tokens"), counted(answer.usage, "output_tokens")
        except (anthropic.AnthropicError, ValueError, AttributeError, TypeError) as error:  # the last: cut or odd JSON
            raise translated(error, anthropic, "ANTHROPIC") from None
        if answer.stop_reason != "end_turn":
            raise Unavailable(UNFINISHED)
        return Answer(VisionPage(page=page, text=text, data=structured(text, ask.json_schema)), *tokens)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            import anthropic

            self._client = anthropic.AsyncAnthropic(
                api_key=self._key.get_secret_value(), base_url=self._base_url, timeout=self._deadline, max_retries=0
            )
        return self._client


def _format(ask: Ask) -> dict[str, Any]:
    if ask.json_schema is None:
        return {}
    return {"output_config": {"format": {"type": "json_schema", "schema": ask.json_schema}}}
