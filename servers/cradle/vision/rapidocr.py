"""RapidOCR: local OCR whose models are in its wheel; runs on OpenVINO, needs no network and no GPU.

A page that was scanned on its side or upside down is turned and read again: as it lies, its letters are others'.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import threading
from typing import Any

from servers.cradle.processing.page_image import turned
from servers.cradle.vision.base import Answer, Ask
from servers.cradle.vision.layout import LAYOUT, formed
from servers.cradle.vision.lines import Piece, reads_better, rows, wrong_way
from servers.cradle.vision.western import western
from shared.contracts.installation import OcrParameters
from shared.contracts.vision import VisionPage, VisionTask, Word

# Measured in FACTS: the direction classifier turns good German lines upside down, and a longer side reads no better.
SETTINGS: dict[str, str | int | float | bool] = {
    "Global.use_cls": False,
    "Global.max_side_len": 2000,
    "Global.text_score": 0.3,
}
UNSURE = 0.8
"""Mean confidence, at most 1: of good German scans 0.97 and more, of one upside down 0.65."""


class RapidOcr:
    """One engine per process, loaded on first use; one page at a time (OpenVINO uses all cores for it)."""

    name = "rapidocr"
    remote = False
    boxes = True
    schemas = False
    tasks: frozenset[VisionTask] = frozenset({"ocr"})

    def __init__(self) -> None:
        self._engine: Any = None
        self._lock = threading.Lock()

    def parameters(self) -> OcrParameters:
        return OcrParameters(
            provider=self.name,
            version=importlib.metadata.version("rapidocr"),
            settings=SETTINGS | {"turns": True, "signs": "western", "layout": LAYOUT},
        )

    async def read(self, png: bytes, page: int, ask: Ask) -> Answer:
        pieces = await asyncio.to_thread(self._recognise, png)
        words = [_word(each.piece) for row in rows(pieces) for each in row] if ask.output == "words" else None
        return Answer(VisionPage(page=page, text=formed(pieces, ask.output), words=words))

    async def close(self) -> None:
        self._engine = None

    def _recognise(self, png: bytes) -> list[Piece]:
        with self._lock:
            if self._engine is None:
                self._engine = _load()
            try:
                return western(self._upright(png))
            finally:
                _let_go(self._engine)

    def _upright(self, png: bytes) -> list[Piece]:
        pieces = _pieces(self._engine(png))
        if not (quarters := wrong_way(pieces, UNSURE)):
            return pieces
        _let_go(self._engine)
        other = _pieces(self._engine(turned(png, quarters)))
        return other if reads_better(other, pieces) else pieces


def _load() -> Any:
    from rapidocr import EngineType, RapidOCR

    logging.getLogger("RapidOCR").setLevel(logging.ERROR)
    return RapidOCR(
        params={
            **SETTINGS,
            "Global.log_level": "error",
            "Det.engine_type": EngineType.OPENVINO,
            "Rec.engine_type": EngineType.OPENVINO,
        }
    )


def _pieces(result: Any) -> list[Piece]:
    if result.txts is None or result.boxes is None:
        return []
    return [
        Piece(line, float(score), tuple((float(x), float(y)) for x, y in box))
        for line, score, box in zip(result.txts, result.scores, result.boxes, strict=True)
    ]


def _let_go(engine: Any) -> None:
    """OpenVINO keeps what a page took in between for the next one: 800 MB of a full page at 200 dpi."""
    for part in (engine.text_det, engine.text_rec):
        part.session.session.get_compiled_model().release_memory()


def _word(piece: Piece) -> Word:
    xs = [corner[0] for corner in piece.corners]
    ys = [corner[1] for corner in piece.corners]
    return Word(text=piece.text, confidence=min(1.0, piece.confidence), box=(min(xs), min(ys), max(xs), max(ys)))
