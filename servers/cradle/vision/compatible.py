"""Any OpenAI-compatible endpoint (vLLM with PaddleOCR-VL, Qwen3-VL, LightOnOCR, …) by chat completions."""

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


class CompatibleVision:
    """One pooled client. Counts as remote wherever the endpoint stands: the platform cannot see behind an address."""

    name = "compatible"
    remote = True
    boxes = False
    schemas = True
    tasks: frozenset[VisionTask] = frozenset({"ocr", "description", "analysis"})

    def __init__(self, base_url: str, model: str, key: SecretStr | None, deadline_s: float) -> None:
        self._base_url, self._model, self._deadline = base_url, model, deadline_s
        self._key = key.get_secret_value() if key else "none"  # servers without keys want the header all the same
        self._client: Any = None

    def parameters(self) -> OcrParameters:
        settings: dict[str, str | int | float | bool] = {"max_output_tokens": MAX_OUTPUT_TOKENS, "temperature": 0}
        return OcrParameters(provider=self.name, version=self._model, settings=settings)

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        import openai

        image = "data:image/png;base64," + base64.b64encode(png).decode()
        content = [{"type": "image_url", "image_url": {"url": image}}, {"type": "text", "text": prompt(ask)}]
        try:
            answer = await self._connected().chat.completions.create(
                model=self._model,
                messages=[{"role": "user", "content": content}],
                max_tokens=MAX_OUTPUT_TOKENS,
                temperature=0,
                **_format(ask),
            )
            (choice, *_), usage = answer.choices, answer.usage
            text = storable(choice.message.content or "")
            tokens = counted(usage, "prompt_tokens"), counted(usage, "completion_tokens")
            finished = choice.finish_reason == "stop" and not choice.message.refusal
        except (openai.OpenAIError, ValueError, AttributeError, TypeError) as error:  # the last ones: cut or odd JSON
            raise translated(error, openai, "COMPATIBLE") from None
        if not finished:
            raise Unavailable(UNFINISHED)
        return Answer(VisionPage(page=page, text=text, data=structured(text, ask.json_schema)), *tokens)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _connected(self) -> Any:
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._key, base_url=self._base_url, timeout=self._deadline, max_retries=0
            )
        return self._client


def _format(ask: Ask) -> dict[str, Any]:
    if ask.json_schema is None:
        return {}
    wanted = {"name": "answer", "schema": ask.json_schema}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}
