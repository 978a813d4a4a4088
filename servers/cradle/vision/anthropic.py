"""Anthropic's vision models through the Messages API, with structured output where a schema is given."""

from __future__ import annotations

import base64
import struct
from functools import cached_property
from typing import Any

from servers.cradle.processing.page_image import smaller
from servers.cradle.vision.costs import MAX_OUTPUT_TOKENS
from servers.cradle.vision.hosted import HostedModel, Said, Sdk, counted, storable
from shared.errors import InvalidInput

# https://platform.claude.com/docs/en/build-with-claude/vision: 8,000 pixels a side, 5 MB of base64 on the narrowest
# platform; what is longer than 2,576 pixels is shrunk to that before any model sees it.
MAX_SIDE, MAX_BYTES, SEEN_SIDE = 8_000, 3_900_000, 2_576
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n\0").decode()[:11]


class AnthropicVision(HostedModel):
    """Reads pages with a model of Anthropic's."""

    name = "anthropic"

    @cached_property
    def _sdk(self) -> Sdk:
        import anthropic

        spans = {"traces": {"content_mode": "metadata_only"}}  # whatever ANTHROPIC_OPEN_TELEMETRY… say
        return Sdk(anthropic, anthropic.AsyncAnthropic, anthropic.AnthropicError, {"open_telemetry": spans})

    def _fitted(self, png: bytes) -> bytes:
        too_long = max(struct.unpack(">II", png[16:24])) > MAX_SIDE
        return smaller(png, SEEN_SIDE) if too_long or len(png) > MAX_BYTES else png

    async def _answer(self, png: str, wanted: str, schema: dict[str, Any] | None) -> Said:
        kind = "image/png" if png.startswith(PNG) else "image/jpeg"
        source = {"type": "base64", "media_type": kind, "data": png}
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
    import anthropic

    try:
        taken = anthropic.transform_schema(_apart(schema))
    except (ValueError, TypeError, AttributeError, AssertionError):
        raise _unusable() from None
    return {"output_config": {"format": {"type": "json_schema", "schema": taken}}}


def _apart(part: Any) -> Any:
    """The schema with a choice of types as a choice of schemas: the package knows no list of types.

    Raises:
        InvalidInput: an object is open, of which the provider would answer nothing.
    """
    if isinstance(part, list):
        return [_apart(each) for each in part]
    if not isinstance(part, dict):
        return part
    if isinstance(kinds := part.get("type"), list) and "enum" not in part:
        return {"anyOf": [_apart({**part, "type": kind}) for kind in kinds]}
    if part.get("type") == "object" and (
        not part.get("properties") or isinstance(part.get("additionalProperties"), dict)
    ):
        raise _unusable()
    return {name: _apart(value) for name, value in part.items()}


def _unusable() -> InvalidInput:
    return InvalidInput(
        "This provider takes a schema only where each part names its type, and each object its properties. Say so, or "
        "use another provider.",
        field="json_schema",
    )
