"""Character error rates of the local OCR providers on rendered pages: clean, skewed, table, noise; German, English.

    python benchmarks/ocr.py [--pages 2] [--providers rapidocr,tesseract]

Each error is a character to insert, delete or replace (Levenshtein), over the characters that are printed; white space
counts as one space, and between cells of a table not at all. Goals: 0.5 % on clean pages, 1 % on pages skewed by 2°.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from corpus import paragraph, title
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from servers.cradle.vision.base import Ask
from servers.cradle.vision.providers import configured
from shared.settings import Settings

INCHES = (8.27, 11.69)
POINTS = 11
FONTS = ("dejavu/DejaVuSans.ttf", "liberation/LiberationSans-Regular.ttf", "liberation2/LiberationSans-Regular.ttf")
GOALS = {"clean": 0.005, "skewed": 0.01}
CONDITIONS = ("clean", "skewed", "table", "noise")


def font(dpi: int) -> ImageFont.FreeTypeFont:
    """A font with umlauts that is on the machine, else the one in Pillow."""
    size = round(POINTS * dpi / 72)
    for name in FONTS:
        if (path := Path("/usr/share/fonts/truetype") / name).exists():
            return ImageFont.truetype(str(path), size)
    built_in = ImageFont.load_default(size)
    assert isinstance(built_in, ImageFont.FreeTypeFont)
    return built_in


def printed(draw: random.Random, language: str, condition: str) -> list[list[str]]:
    """The page's lines, each in its cells."""
    words = (draw, language)
    if condition == "table":
        value = "Wert" if language == "de" else "Value"
        rows = [[title(words), f"{draw.randrange(100, 9999)},{draw.randrange(10)}0", "IP66", "grau"] for _ in range(24)]
        return [["Artikel" if language == "de" else "Article", value, "IP", "RAL"], *rows]
    lines = [[title(words)]]
    for _ in range(6):
        held: list[str] = []
        for word in paragraph(words, 3).split():
            held.append(word)
            if len(" ".join(held)) > 68:
                lines.append([" ".join(held)])
                held = []
        lines += [[" ".join(held)]] if held else []
    return lines


def page(lines: Sequence[Sequence[str]], dpi: int, condition: str, seed: int) -> bytes:
    """The page as a PNG in grey."""
    width, height = (round(inches * dpi) for inches in INCHES)
    image = Image.new("L", (width, height), 255)
    pen, letters = ImageDraw.Draw(image), font(dpi)
    step = round(POINTS * 1.6 * dpi / 72)
    for at, cells in enumerate(lines):
        y = dpi + at * step
        for column, cell in enumerate(cells):
            x = dpi * 0.8 + column * (width - 1.6 * dpi) / len(cells)
            pen.text((x, y), cell, fill=20, font=letters)
        if condition == "table":
            pen.line((dpi * 0.7, y + step - 3, width - dpi * 0.7, y + step - 3), fill=80, width=max(1, dpi // 150))
    if condition == "skewed":
        image = image.rotate(2, Image.Resampling.BICUBIC, fillcolor=255)
    if condition == "noise":
        image = image.filter(ImageFilter.GaussianBlur(dpi / 300))
        grain = np.random.default_rng(seed).normal(0, 14, (height, width))
        image = Image.fromarray(np.clip(np.asarray(image, np.float32) + grain, 0, 255).astype(np.uint8))
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return out.getvalue()


def distance(wanted: str, read: str) -> int:
    """Levenshtein's distance, a row at a time."""
    row = np.arange(len(read) + 1)
    letters = np.array([ord(each) for each in read])
    places = np.arange(len(read) + 1)
    for at, each in enumerate(wanted, 1):
        changed = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(each)))
        # An insertion builds on the value to its left: a running minimum of each value less its place.
        row = np.minimum.accumulate(np.concatenate(([at], changed)) - places) + places
    return int(row[-1])


async def main() -> None:
    """Prints a line for each provider, condition and resolution."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--pages", type=int, default=2, help="pages a language, condition and resolution")
    options.add_argument("--providers", default="rapidocr,tesseract")
    options.add_argument("--seed", type=int, default=711)
    asked = options.parse_args()
    known = configured(Settings())
    for name in asked.providers.split(","):
        if name not in known:
            print(f"{name}: not installed here")
            continue
        for condition in CONDITIONS:
            for dpi in (150, 300):
                errors = letters = 0
                started = time.process_time()
                for language in ("de", "en"):
                    for n in range(asked.pages):
                        seed = f"{asked.seed}:{language}:{condition}:{n}"
                        lines = printed(random.Random(seed), language, condition)
                        png = page(lines, dpi, condition, n)
                        found = (await known[name].read(png, 1, Ask())).page.text
                        found = found.replace(" | ", " ")  # between cells
                        joint = "" if condition == "table" else " "
                        wanted = joint.join(joint.join(" ".join(cells).split()) for cells in lines)
                        errors += distance(wanted, joint.join(found.split()))
                        letters += len(wanted)
                pages = 2 * asked.pages
                goal = f" (goal {GOALS[condition]:.1%})" if condition in GOALS else ""
                print(
                    f"{name}, {condition}, {dpi} dpi: {errors / letters:.2%} of {letters} characters{goal}; "
                    f"{(time.process_time() - started) / pages:.1f} s of this process's processor time a page",
                    flush=True,
                )


if __name__ == "__main__":
    asyncio.run(main())
