"""Florence-2 on this machine (`florence-community/*`, native in transformers): OCR and descriptions, from a folder."""

from __future__ import annotations

import asyncio
import io
import threading
from functools import cached_property
from pathlib import Path
from typing import Any

from servers.cradle.vision.base import Answer, Ask
from servers.cradle.vision.failures import UNFINISHED
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionTask, Word
from shared.errors import Unavailable
from shared.ids import digest_file

WEIGHTS = "model.safetensors"
SETTINGS: dict[str, str | int | float | bool] = {"max_new_tokens": 1024, "num_beams": 3, "do_sample": False}
_PROMPTS: dict[VisionTask, str] = {"ocr": "<OCR>", "description": "<MORE_DETAILED_CAPTION>"}
_WITH_BOXES = "<OCR_WITH_REGION>"


class Florence:
    """One model, loaded on first use; one page at a time. Reads the folder's safetensors, no network and no code of it.

    Florence-2 was trained on English captions; for German scans RapidOCR reads better.
    """

    name = "florence"
    remote = False
    boxes = True
    schemas = False
    tasks: frozenset[VisionTask] = frozenset(_PROMPTS)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._held: tuple[Any, Any] | None = None

    def parameters(self) -> OcrParameters:
        return OcrParameters(provider=self.name, version=self._digest, settings=SETTINGS)

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        task = _WITH_BOXES if ask.words and ask.task == "ocr" else _PROMPTS[ask.task]
        found = await asyncio.to_thread(self._generate, png, task)
        if isinstance(found, str):
            return Answer(VisionPage(page=page, text=found))
        words = [_word(text, corners) for text, corners in zip(found["labels"], found["quad_boxes"], strict=True)]
        return Answer(VisionPage(page=page, text="\n".join(word.text for word in words), words=words))

    async def close(self) -> None:
        self._held = None

    @cached_property
    def _digest(self) -> str:
        return digest_file(self._folder / WEIGHTS)

    def _generate(self, png: bytes, task: str) -> Any:
        import torch
        from PIL import Image

        with self._lock, torch.inference_mode():
            processor, model = self._loaded()
            image = Image.open(io.BytesIO(png)).convert("RGB")
            inputs = processor(text=task, images=image, return_tensors="pt").to(model.device, model.dtype)
            ids = model.generate(**inputs, **SETTINGS)
            if ids.shape[-1] > int(SETTINGS["max_new_tokens"]):  # beside its start: the end was forced
                raise Unavailable(UNFINISHED)
            text = processor.batch_decode(ids, skip_special_tokens=False)[0]
            return processor.post_process_generation(text, task=task, image_size=image.size)[task]

    def _loaded(self) -> tuple[Any, Any]:
        if self._held is None:
            import torch
            from transformers import Florence2ForConditionalGeneration, Florence2Processor

            device = "cuda" if torch.cuda.is_available() else "cpu"
            dtype = torch.bfloat16 if device == "cuda" else torch.float32
            try:
                processor = Florence2Processor.from_pretrained(self._folder, local_files_only=True)
                model: Any = Florence2ForConditionalGeneration.from_pretrained(
                    self._folder, local_files_only=True, use_safetensors=True, dtype=dtype
                )
            except (OSError, ValueError):
                raise Unavailable("The Florence-2 model cannot be loaded. Check P0711_FLORENCE_MODEL.") from None
            self._held = processor, model.to(device).eval()
        return self._held


def _word(text: str, corners: list[float]) -> Word:
    xs, ys = corners[0::2], corners[1::2]
    clean = text.replace("</s>", "").replace("<s>", "").strip()
    return Word(text=clean, confidence=1.0, box=(min(xs), min(ys), max(xs), max(ys)))
