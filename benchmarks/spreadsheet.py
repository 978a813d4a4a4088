"""A spreadsheet of 100,000 products through the pipeline: products counted, memory at a quarter and at full size.

Embedding is a no-op here, for it would hide everything else; the tokenizer is the model's. The ratio at the end tells
whether memory grows with the file. The reader holds the sheet (calamine reads it whole), the platform does not.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.processing import pipeline
from servers.cradle.processing.parameters import current_parameters
from servers.cradle.processing.sources import SourceList, find_files
from servers.cradle.vision.service import VisionService
from shared.contracts.installation import InstallationVersion, ParameterChoice
from shared.contracts.processing import ProcessingReport
from shared.objects import CustomerStore
from shared.settings import Settings

PRODUCTS = 100_000
HEADERS = [
    "Artikelnummer", "EAN", "Bezeichnung", "Hersteller", "Warengruppe", "Listenpreis EUR", "Breite [mm]", "Höhe [mm]",
    "Tiefe [mm]", "Farbe", "Schutzart", "Gewicht [kg]",
]  # fmt: skip


def sheet(path: Path, products: int) -> None:
    """A price list of so many rows, the same on every run."""
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        page = book.add_worksheet("Preise")
        page.write_row(0, 0, HEADERS)
        for n in range(products):
            row = [
                f"RK-{n:06d}",
                4_099_000_000_000 + n,
                f"Reihenklemme {n % 97} mm²",
                "Muster GmbH",
                f"Gruppe {n % 40}",
            ]
            page.write_row(n + 1, 0, [*row, n / 100, n % 13 + 0.5, n % 90, n % 45, "grau", "IP20", n % 50 / 100])


class NoEmbedding:
    """The model's tokenizer, and a vector that costs nothing."""

    def __init__(self, service: EmbeddingService, dimension: int) -> None:
        self.tokenizer: Any = service.tokenizer
        self._one = np.full(dimension, dimension**-0.5, np.float32)

    async def embed_vectors(self, texts: list[str], *_: object) -> np.ndarray:
        return np.tile(self._one, (len(texts), 1))


class Memory:
    """The largest resident size of this process and of its children, in MiB, while the block runs."""

    def __enter__(self) -> Memory:
        self.own = self.children = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.own = max(self.own, _resident(os.getpid()))
            listed = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
            self.children = max([self.children, *(_resident(int(each)) for each in listed)])


def _resident(pid: int) -> float:
    try:
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except OSError:
        return 0.0
    return int(pages) * os.sysconf("SC_PAGESIZE") / 2**20


async def processed(home: Path, products: int) -> tuple[ProcessingReport, float, Memory]:
    """One run in a home of its own."""
    folder = home / "files"
    folder.mkdir(parents=True)
    sheet(folder / "preise.xlsx", products)
    settings = Settings(home=home / "home", model_cache=home.parent / "models", source_roots=[home])
    service, vision = EmbeddingService(settings), VisionService(settings)
    await service.start()
    parameters: Any = await current_parameters(ParameterChoice(), service, vision)
    version = InstallationVersion.model_validate(
        {
            "customer_id": "bench", "version": 1, "fingerprint": "sha256:" + "0" * 64, "parameters": parameters,
            "probes_digest": "sha256:" + "0" * 64, "created_at": "2026-01-01T00:00:00Z",
        }
    )  # fmt: skip
    store = await CustomerStore.open(settings, "bench", create=True)
    files = await find_files(SourceList.parse([str(folder)], settings), settings, store, store.bucket)
    embedder: Any = NoEmbedding(service, parameters.embedding.dimension)

    async def no_ocr(png: bytes) -> str:
        raise AssertionError("no page of this corpus is a scan")

    async def quiet(done: float, total: float | None = None, note: str = "") -> None:
        """Nobody watches."""

    started = time.perf_counter()
    with Memory() as memory:
        report = await pipeline.process(store, files, version, embedder, no_ocr, quiet, workers=1)
    seconds = time.perf_counter() - started
    await service.close()
    return report, seconds, memory


def main() -> None:
    """Prints a line for a quarter and one for the whole, then the ratio."""
    products = int(sys.argv[1]) if len(sys.argv) > 1 else PRODUCTS
    peaks = []
    with tempfile.TemporaryDirectory() as home:
        for size in (products // 4, products):
            report, seconds, memory = asyncio.run(processed(Path(home) / str(size), size))
            assert report.counts.products == size, report.counts
            stages = " ".join(f"{name} {spent:.0f} s" for name, spent in report.seconds_by_stage.items())
            print(
                f"{size} products, {report.counts.chunks} passages: {seconds:.0f} s, {size / seconds:.0f} products/s; "
                f"platform {memory.own:.0f} MiB, reader {memory.children:.0f} MiB; {stages}",
                flush=True,
            )
            peaks.append(memory.own)
    print(f"platform's memory at full size against a quarter: {peaks[1] / peaks[0]:.2f}")


if __name__ == "__main__":
    main()
