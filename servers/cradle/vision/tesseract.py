"""Tesseract (deu+eng) as a child process: local OCR with Debian's packages tesseract-ocr and tesseract-ocr-deu.

A page that was scanned on its side or upside down is turned and read again. Where columns and tables are is not
Tesseract's to say: it reads the columns of many a table one after the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import math
import os
import shutil
import statistics
import subprocess
from functools import cached_property
from itertools import groupby

from servers.cradle.processing.page_image import turned
from servers.cradle.vision.base import Answer, Ask
from servers.cradle.vision.layout import CELL_GAP, LAYOUT, formed, of_words
from servers.cradle.vision.lines import Piece, reads_better, wrong_way
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionTask, Word
from shared.errors import Unavailable

SETTINGS: dict[str, str | int | float | bool] = {"languages": "deu+eng", "psm": 3, "dpi": 200}
UNSURE = 0.6
"""Mean confidence, at most 1: of good German scans 0.93 and more, of one upside down 0.32."""
TILTED_WORDS = 4
LINE = 1.7
"""A line's height in those of its words, whose boxes are what is drawn."""
_RULES = frozenset("|¦_—")
"""What a table's rules are read as."""
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
        return OcrParameters(
            provider=self.name, version=self._version, settings=SETTINGS | {"turns": True, "layout": LAYOUT}
        )

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        lines = await self._upright(png)
        words = [word for line in lines for word in line] if ask.output == "words" else None
        return Answer(VisionPage(page=page, text=formed(_pieces(lines), ask.output), words=words))

    async def close(self) -> None:
        """Nothing is held between pages."""

    @cached_property
    def _version(self) -> str:
        told = subprocess.run([self._program, "--version"], capture_output=True, text=True, timeout=20, check=False)
        return told.stdout.split("\n", 1)[0].removeprefix("tesseract ").strip()

    async def _upright(self, png: bytes) -> list[list[Word]]:
        lines = await self._recognise(png)
        if not (quarters := wrong_way(seen := _each(lines), UNSURE)):
            return lines
        other = await self._recognise(await asyncio.to_thread(turned, png, quarters))
        return other if reads_better(_each(other), seen) else lines

    async def _recognise(self, png: bytes) -> list[list[Word]]:
        """The words of each line."""
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
        words = (row for row in rows if row["level"] == "5" and (row["text"] or "").strip())
        of_line = groupby(words, lambda row: (row["block_num"], row["par_num"], row["line_num"]))
        return [[_word(row) for row in line] for _, line in of_line]


def _each(lines: list[list[Word]]) -> list[Piece]:
    return of_words([word for line in lines for word in line])


def _pieces(lines: list[list[Word]]) -> list[Piece]:
    """The lines' words, joined where no cell ends between them, without a table's rules."""
    lines = [[word for word in line if not _RULES.issuperset(word.text)] for line in lines]
    heights = [_height(word) for line in lines for word in line]
    if not heights:
        return []
    usual, tilt = LINE * statistics.median(heights), _tilt(lines)
    return [_piece(run, usual, tilt) for line in lines for run in _runs(line, usual)]


def _runs(line: list[Word], usual: float) -> list[list[Word]]:
    runs: list[list[Word]] = []
    for word in line:
        if runs and word.box[0] - runs[-1][-1].box[2] < CELL_GAP * max(usual, LINE * _height(word)):
            runs[-1].append(word)
        else:
            runs.append([word])
    return runs


def _tilt(lines: list[list[Word]]) -> float:
    """The page's angle in radians: the median of its lines', long ones only where there are any."""
    tilted = [(line[0], line[-1]) for line in lines if len(line) >= TILTED_WORDS and line[-1].box[0] > line[0].box[0]]
    least = max((last.box[0] - first.box[0] for first, last in tilted), default=0.0) / 3
    tilts = [
        math.atan2(_middle(last)[1] - _middle(first)[1], _middle(last)[0] - _middle(first)[0])
        for first, last in tilted
        if last.box[0] - first.box[0] >= least
    ]
    return statistics.median(tilts) if tilts else 0.0


def _middle(word: Word) -> tuple[float, float]:
    left, top, right, bottom = word.box
    return (left + right) / 2, (top + bottom) / 2


def _height(word: Word) -> float:
    return word.box[3] - word.box[1]


def _piece(run: list[Word], usual: float, tilt: float) -> Piece:
    """Words side by side as one piece on the tilted page, as high as a line of theirs, `usual` at least."""
    cos, sin = math.cos(tilt), math.sin(tilt)
    x, y = ((first + last) / 2 for first, last in zip(_middle(run[0]), _middle(run[-1]), strict=True))
    across = (run[-1].box[2] - run[0].box[0]) / 2
    down = max(usual, LINE * statistics.median(map(_height, run))) / 2
    corners = tuple(
        (x + right * across * cos - below * down * sin, y + right * across * sin + below * down * cos)
        for right, below in ((-1, -1), (1, -1), (1, 1), (-1, 1))
    )
    text = " ".join(word.text for word in run)
    return Piece(text, statistics.fmean(word.confidence for word in run), corners)


def _word(row: dict[str, str]) -> Word:
    left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
    confidence = min(1.0, max(0.0, float(row["conf"]) / 100))
    return Word(text=row["text"].strip(), confidence=confidence, box=(left, top, left + width, top + height))
