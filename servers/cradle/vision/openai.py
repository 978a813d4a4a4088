"""OpenAI's vision models through the Responses API, with `store=False`: the provider is told to keep nothing."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from servers.cradle.vision.costs import MAX_OUTPUT_TOKENS
from servers.cradle.vision.hosted import HostedModel, Said, Sdk, counted, storable


class OpenAiVision(HostedModel):
    """Reads pages with a model of OpenAI's."""

    name = "openai"

    @cached_property
    def _sdk(self) -> Sdk:
        import openai

        return Sdk(openai, openai.AsyncOpenAI, openai.OpenAIError)

    async def _answer(self, png: str, wanted: str, schema: dict[str, Any] | None) -> Said:
        content = [
            {"type": "input_text", "text": wanted},
            {"type": "input_image", "image_url": f"data:image/png;base64,{png}", "detail": "high"},
        ]
        answer = await self._client.responses.create(
            model=self._model,
            input=[{"role": "user", "content": content}],
            store=False,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            **_format(schema),
        )
        parts = [part for each in answer.output if each.type == "message" for part in each.content]
        refused = any(part.type == "refusal" for part in parts)  # of a "completed" answer without a text
        return Said(
            storable(answer.output_text),
            counted(answer.usage, "input_tokens"),
            counted(answer.usage, "output_tokens"),
            finished=answer.status == "completed" and not refused,
        )


def _format(schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {}
    return {"text": {"format": {"type": "json_schema", "name": "answer", "schema": schema, "strict": False}}}
