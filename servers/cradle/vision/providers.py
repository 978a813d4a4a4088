"""Which providers this installation has, by its settings; and what a provider that it has not would need."""

from __future__ import annotations

from servers.cradle.vision import tesseract
from servers.cradle.vision.anthropic import AnthropicVision
from servers.cradle.vision.base import Provider
from servers.cradle.vision.compatible import NO_KEY, CompatibleVision
from servers.cradle.vision.florence import Florence
from servers.cradle.vision.openai import OpenAiVision
from servers.cradle.vision.rapidocr import RapidOcr
from servers.cradle.vision.tesseract import Tesseract
from shared.settings import Settings

HINTS = {
    "openai": "Set P0711_OPENAI_API_KEY to use it.",
    "anthropic": "Set P0711_ANTHROPIC_API_KEY to use it.",
    "compatible": "Set P0711_COMPATIBLE_VISION_URL and P0711_COMPATIBLE_VISION_MODEL to use it.",
    "florence": "Set P0711_FLORENCE_MODEL to a folder with the model to use it.",
    "tesseract": tesseract.INSTALL,
}


def configured(settings: Settings) -> dict[str, Provider]:
    """Name → provider. Nothing is loaded and nothing connected yet."""
    found: list[Provider] = [RapidOcr()]
    deadline = settings.call_deadline_s
    if program := tesseract.installed():
        found.append(Tesseract(program))
    if settings.florence_model is not None:
        found.append(Florence(settings.florence_model))
    if (key := settings.openai_api_key) is not None:
        found.append(OpenAiVision(key, settings.openai_vision_model, settings.openai_base_url, deadline))
    if (key := settings.anthropic_api_key) is not None:
        found.append(AnthropicVision(key, settings.anthropic_vision_model, settings.anthropic_base_url, deadline))
    url, model = settings.compatible_vision_url, settings.compatible_vision_model
    if url is not None and model is not None:
        found.append(CompatibleVision(settings.compatible_api_key or NO_KEY, model, url, deadline))
    return {provider.name: provider for provider in found}
