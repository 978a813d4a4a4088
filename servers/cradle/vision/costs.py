"""What a page costs at a remote provider: at most, before it is sent, and exactly, by the tokens that were counted."""

from __future__ import annotations

import struct

from servers.cradle.vision.base import Answer

PROMPT_TOKENS = 200
MAX_OUTPUT_TOKENS = 8192
# Providers count a picture by its size and shrink it first. 750 pixels a token is Anthropic's published rule; OpenAI's
# tiles (170 tokens for 512 × 512 pixels, about 1,540 pixels a token) come out lower, so this bounds both.
PIXELS_A_TOKEN = 750
Prices = dict[str, tuple[float, float]]
"""Provider → euros for a million tokens in, and out; set by the operator. A provider without an entry has no cost."""


def most(png: bytes, price: tuple[float, float]) -> float:
    """Upper bound of a page's cost in euros."""
    width, height = struct.unpack(">II", png[16:24])
    return _euros(width * height // PIXELS_A_TOKEN + PROMPT_TOKENS, MAX_OUTPUT_TOKENS, price)


def actual(answer: Answer, price: tuple[float, float]) -> float:
    """A page's cost in euros by the provider's own count."""
    return _euros(answer.tokens_in, answer.tokens_out, price)


def _euros(tokens_in: int, tokens_out: int, price: tuple[float, float]) -> float:
    return (tokens_in * price[0] + tokens_out * price[1]) / 1_000_000
