"""Tesseract (deu+eng) as a child process: local OCR with Debian's packages tesseract-ocr and tesseract-ocr-deu."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import os
import shutil
import subprocess
from functools import cached_property
from itertools import groupby

from servers.cradle.vision.base import Answer, Ask
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionTask, Word
from shared.errors import Unavailable

SETTINGS: dict[str, str | int | float | bool] = {"languages": "deu+eng", "psm": 3, "dpi": 200}
INSTALL = "Install the packages tesseract-ocr, tesseract-ocr-deu and tesseract-ocr-eng."


def installed() -> str | None:
    """The program's path, None where it is not there."""
    return shutil.which("tesseract")


class Tesseract:
    """One process for each page, killed when the caller goes. The page goes in and the words come out by pipes."""

    name = "tesseract"
    remote = False
    boxes = True
    schemas = False
    tasks: frozenset[VisionTask] = frozenset({"ocr"})

    def __init__(self, program: str) -> None:
        self._program = program

    def parameters(self) -> OcrParameters:
        return OcrParameters(provider=self.name, version=self._version, settings=SETTINGS)

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        rows = await self._recognise(png)
        words = [_word(row) for row in rows] if ask.words else None
        return Answer(VisionPage(page=page, text=_text(rows), words=words))

    async def close(self) -> None:
        """Nothing is held between pages."""

    @cached_property
    def _version(self) -> str:
        told = subprocess.run([self._program, "--version"], capture_output=True, text=True, timeout=20, check=False)
        return told.stdout.split("\n", 1)[0].removeprefix("tesseract ").strip()

    async def _recognise(self, png: bytes) -> list[dict[str, str]]:
        command = [self._program, "stdin", "stdout", "-l", SETTINGS["languages"], "--psm", SETTINGS["psm"]]
        process = await asyncio.create_subprocess_exec(
            *map(str, [*command, "--dpi", SETTINGS["dpi"], "tsv"]),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,  # it may repeat content
            env={"PATH": os.environ.get("PATH", ""), "OMP_THREAD_LIMIT": "1", "LC_ALL": "C.UTF-8"},
        )
        try:
            table, _ = await process.communicate(png)
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if process.returncode != 0:
            raise Unavailable(f"Tesseract cannot read with its languages deu and eng. {INSTALL}")
        rows = csv.DictReader(io.StringIO(table.decode()), delimiter="\t", quoting=csv.QUOTE_NONE)
        return [row for row in rows if row["level"] == "5" and (row["text"] or "").strip()]


def _text(rows: list[dict[str, str]]) -> str:
    """One printed line a line, an empty one between paragraphs."""
    paragraphs = []
    for _, words in groupby(rows, lambda row: (row["block_num"], row["par_num"])):
        lines = groupby(words, lambda row: row["line_num"])
        paragraphs.append("\n".join(" ".join(word["text"].strip() for word in line) for _, line in lines))
    return "\n\n".join(paragraphs)


def _word(row: dict[str, str]) -> Word:
    left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
    confidence = min(1.0, max(0.0, float(row["conf"]) / 100))
    return Word(text=row["text"].strip(), confidence=confidence, box=(left, top, left + width, top + height))
