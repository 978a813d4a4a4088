"""Anthropic's vision models through the Messages API, with structured output where a schema is given."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from servers.cradle.vision.costs import MAX_OUTPUT_TOKENS
from servers.cradle.vision.hosted import HostedModel, Said, Sdk, counted, storable


class AnthropicVision(HostedModel):
    """Reads pages with a model of Anthropic's."""

    name = "anthropic"

    @cached_property
    def _sdk(self) -> Sdk:
        import anthropic

        spans = {"traces": {"content_mode": "metadata_only"}}  # whatever ANTHROPIC_OPEN_TELEMETRY… say
        return Sdk(anthropic, anthropic.AsyncAnthropic, anthropic.AnthropicError, {"open_telemetry": spans})

    async def _answer(self, png: str, wanted: str, schema: dict[str, Any] | None) -> Said:
        source = {"type": "base64", "media_type": "image/png", "data": png}
        content = [{"type": "image", "source": source}, {"type": "text", "text": wanted}]
        answer = await self._client.messages.create(
            model=self._model,
            max_tokens=MAX_OUTPUT_TOKENS,
            messages=[{"role": "user", "content": content}],
            **_format(schema),
        )
        return Said(
            storable("".join(block.text for block in answer.content if block.type == "text")),
            counted(answer.usage, "input_tokens"),
            counted(answer.usage, "output_tokens"),
            finished=answer.stop_reason == "end_turn",
        )


def _format(schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {}
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
