"""One large file through the pipeline, at a quarter and at full size: products counted, memory compared.

    python benchmarks/large_files.py xlsx 100000      12 columns
    python benchmarks/large_files.py wide 104699      75 columns
    python benchmarks/large_files.py bmecat 200000    about 2.4 kB a product
    python benchmarks/large_files.py jsonl 100000     JSON lines; `json`: one array in an object
    python benchmarks/large_files.py bmecat 209000 read    500 MB, read alone: what the reader in its child process does

Embedding is a no-op. The ratio at the end tells whether memory grows with the file. The reader holds an XLSX
file as it came, but not its sheet.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

from corpus import bmecat
from processing import Memory, children_s, processed

from servers.cradle.processing.children import ExtractionPool
from servers.cradle.processing.extraction import Extraction

PRODUCTS = 20_000
HEADERS = [
    "Artikelnummer", "EAN", "Bezeichnung", "Hersteller", "Warengruppe", "Listenpreis EUR", "Breite [mm]", "Höhe [mm]",
    "Tiefe [mm]", "Farbe", "Schutzart", "Gewicht [kg]",
]  # fmt: skip
WIDE = 75


def rows(products: int, columns: int) -> Iterator[list[str | int | float]]:
    """A price list, the same on every run."""
    for n in range(products):
        named = [f"RK-{n:06d}", 4_099_000_000_000 + n, f"Reihenklemme {n % 97} mm²", "Muster GmbH", f"Gruppe {n % 40}"]
        measured = [n / 100, n % 13 + 0.5, n % 90, n % 45, "grau", "IP20", n % 50 / 100]
        yield [*named, *measured, *(f"Wert {(n + at) % 500}" for at in range(columns - len(HEADERS)))]


def headers(columns: int) -> list[str]:
    return [*HEADERS, *(f"Merkmal {at}" for at in range(columns - len(HEADERS)))]


def sheet(path: Path, products: int, columns: int = len(HEADERS)) -> None:
    import xlsxwriter

    with xlsxwriter.Workbook(str(path), {"constant_memory": True}) as book:
        page = book.add_worksheet("Preise")
        page.write_row(0, 0, headers(columns))
        for n, row in enumerate(rows(products, columns), 1):
            page.write_row(n, 0, row)


def lines(path: Path, products: int) -> None:
    with path.open("w", encoding="utf-8") as out:
        for row in rows(products, len(HEADERS)):
            out.write(json.dumps(dict(zip(HEADERS, row, strict=True)), ensure_ascii=False) + "\n")


def array(path: Path, products: int) -> None:
    with path.open("w", encoding="utf-8") as out:
        out.write('{"stand": "2026", "artikel": [')
        for n, row in enumerate(rows(products, len(HEADERS))):
            out.write(("," if n else "") + json.dumps(dict(zip(HEADERS, row, strict=True)), ensure_ascii=False))
        out.write("]}")


KINDS = {
    "xlsx": ("preise.xlsx", sheet),
    "wide": ("preise.xlsx", partial(sheet, columns=WIDE)),
    "bmecat": ("katalog.xml", bmecat),
    "jsonl": ("preise.jsonl", lines),
    "json": ("preise.json", array),
}


async def read_alone(path: Path, size: int) -> tuple[int, Memory]:
    """Products and memory while a file is read as the pipeline reads it."""
    products = 0
    with Memory() as memory:
        async with ExtractionPool(1) as pool, contextlib.aclosing(pool.read(_blocks(path), path.name, size)) as reading:
            async for part in reading:
                products += len(part.products) if isinstance(part, Extraction) else 0
    return products, memory


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while block := await asyncio.to_thread(file.read, 2**20):
            yield block


def through_the_pipeline(home: Path, kind: str, size: int) -> Memory:
    """One run, told in a line."""
    name, write = KINDS[kind]
    run = asyncio.run(processed(home, lambda folder: write(folder / name, size), workers=1))
    counts = run.report.counts
    assert (counts.products, counts.failed) == (size, 0), (counts, run.report.failures_by_code)
    stages = " ".join(f"{stage} {spent:.0f} s" for stage, spent in run.report.seconds_by_stage.items())
    megabytes = (home / "files" / name).stat().st_size / 1e6
    print(
        f"{kind}: {size} products, {megabytes:.0f} MB, {counts.chunks} passages: "
        f"{run.seconds:.0f} s, {size / run.seconds:.0f} products/s; platform {run.memory.own:.0f} MiB, "
        f"reader {run.memory.children:.0f} MiB; {stages}; load {os.getloadavg()[1]:.1f}",
        flush=True,
    )
    return run.memory


def through_the_reader(home: Path, kind: str, size: int) -> Memory:
    """The same for the reader alone."""
    name, write = KINDS[kind]
    home.mkdir(parents=True)
    write(path := home / name, size)
    length, started, used = path.stat().st_size, time.perf_counter(), children_s()
    products, memory = asyncio.run(read_alone(path, length))
    seconds, used = time.perf_counter() - started, children_s() - used
    assert products == size, (products, size)
    print(
        f"{kind}, read alone: {size} products, {length / 1e6:.0f} MB: {seconds:.0f} s passed, the reader's processor "
        f"time {used:.0f} s: {size / used:.0f} products for each second of it; platform {memory.own:.0f} MiB, "
        f"reader {memory.children:.0f} MiB; load {os.getloadavg()[1]:.1f}",
        flush=True,
    )
    return memory


def main() -> None:
    """Prints a line for a quarter and one for the whole, then the ratio."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "xlsx"
    products = int(sys.argv[2]) if len(sys.argv) > 2 else PRODUCTS
    measure = through_the_reader if sys.argv[3:] == ["read"] else through_the_pipeline
    with tempfile.TemporaryDirectory() as base:
        part, whole = (measure(Path(base) / str(size), kind, size) for size in (products // 4, products))
    ratios = (whole.own / part.own, whole.children / part.children)
    print(f"memory at full size against a quarter: platform {ratios[0]:.2f}, reader {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
