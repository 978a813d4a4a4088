"""What a page costs at a remote provider: at most, before it is sent, and exactly, by the tokens that were counted."""

from __future__ import annotations

import struct

import orjson

from servers.cradle.vision.base import Ask

PROMPT_TOKENS = 200
MAX_OUTPUT_TOKENS = 8192
# Providers count a picture by its size and shrink it first: Anthropic by squares of 28 pixels, as most open models do.
# OpenAI counts a small one as if it were larger, by tiles up to 1,445 tokens (8 of 170, and 85), or by squares of 32
# pixels up to 3,779 (1,536, which its nano models count 2.46 times); gpt-4o-mini alone counts more than this bound.
SQUARE = 28
MAX_SMALL = 3_779
Prices = dict[str, tuple[float, float]]
"""Provider → euros for a million tokens in, and out; set by the operator. A provider without an entry has no cost."""


def most(png: bytes, ask: Ask, price: tuple[float, float]) -> float:
    """Upper bound of a page's cost in euros. A schema goes with each page: its tokens are fewer than its bytes."""
    width, height = struct.unpack(">II", png[16:24])
    image = max(-(-width // SQUARE) * -(-height // SQUARE), MAX_SMALL)
    schema = len(orjson.dumps(ask.json_schema)) if ask.json_schema else 0
    return actual(image + schema + PROMPT_TOKENS, MAX_OUTPUT_TOKENS, price)


def actual(tokens_in: int, tokens_out: int, price: tuple[float, float]) -> float:
    """A page's cost in euros by the provider's own count."""
    return (tokens_in * price[0] + tokens_out * price[1]) / 1_000_000
