"""Any OpenAI-compatible endpoint (vLLM with PaddleOCR-VL, Qwen3-VL, LightOnOCR, …) by chat completions."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import SecretStr

from servers.cradle.vision.costs import MAX_OUTPUT_TOKENS
from servers.cradle.vision.hosted import HostedModel, Said, counted, storable
from servers.cradle.vision.openai import OpenAiVision

NO_KEY = SecretStr("none")
"""Servers without keys want the header all the same."""


class CompatibleVision(HostedModel):
    """Counts as remote wherever the endpoint stands: the platform cannot see behind an address."""

    name = "compatible"
    may_be_silent = True
    settings: ClassVar[dict[str, str | int | float | bool]] = {**HostedModel.settings, "temperature": 0}
    _sdk = OpenAiVision._sdk

    async def _answer(self, png: str, wanted: str, schema: dict[str, Any] | None) -> Said:
        image = {"url": f"data:image/png;base64,{png}"}
        content = [{"type": "image_url", "image_url": image}, {"type": "text", "text": wanted}]
        answer = await self._client.chat.completions.create(
            model=self._model,
            messages=[{"role": "user", "content": content}],
            max_tokens=MAX_OUTPUT_TOKENS,
            temperature=0,
            **_format(schema),
        )
        (choice, *_), usage = answer.choices, answer.usage
        said, thought = _said(choice.message)
        return Said(
            said,
            counted(usage, "prompt_tokens"),
            counted(usage, "completion_tokens"),
            finished=choice.finish_reason == "stop" and not choice.message.refusal and bool(said or not thought),
        )


def _said(message: Any) -> tuple[str, bool]:
    """What a model says, and whether it thought before. vLLM without a reasoning parser leaves the thoughts in front of
    it, with a start only where the model wrote that itself; with one, all may be taken for a thought."""
    _, end, said = storable(message.content or "").rpartition("</think>")
    if not end and said.startswith("<think>"):
        return "", True
    apart = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    return said.strip(), bool(end or apart)


def _format(schema: dict[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {}
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
