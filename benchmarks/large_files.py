"""One large file through the pipeline, at a quarter and at full size: products counted, memory compared.

    python benchmarks/large_files.py xlsx 100000      12 columns
    python benchmarks/large_files.py wide 104699      75 columns
    python benchmarks/large_files.py bmecat 200000    about 2.4 kB a product
    python benchmarks/large_files.py jsonl 100000

Embedding is a no-op. The ratio at the end tells whether memory grows with the file. The reader holds a sheet (calamine
reads it whole), the platform does not.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from corpus import bmecat
from processing import processed

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


KINDS = {
    "xlsx": ("preise.xlsx", sheet),
    "wide": ("preise.xlsx", partial(sheet, columns=WIDE)),
    "bmecat": ("katalog.xml", bmecat),
    "jsonl": ("preise.jsonl", lines),
}


def main() -> None:
    """Prints a line for a quarter and one for the whole, then the ratio."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "xlsx"
    products = int(sys.argv[2]) if len(sys.argv) > 2 else PRODUCTS
    name, write = KINDS[kind]
    runs = []
    with tempfile.TemporaryDirectory() as base:
        for size in (products // 4, products):
            home = Path(base) / str(size)
            run = asyncio.run(processed(home, lambda folder, size=size: write(folder / name, size), workers=1))
            counts = run.report.counts
            assert (counts.products, counts.failed) == (size, 0), (counts, run.report.failures_by_code)
            stages = " ".join(f"{stage} {spent:.0f} s" for stage, spent in run.report.seconds_by_stage.items())
            megabytes = (home / "files" / name).stat().st_size / 1e6
            print(
                f"{kind}: {size} products, {megabytes:.0f} MB, {counts.chunks} passages: "
                f"{run.seconds:.0f} s, {size / run.seconds:.0f} products/s; platform {run.memory.own:.0f} MiB, "
                f"reader {run.memory.children:.0f} MiB; {stages}",
                flush=True,
            )
            runs.append(run)
    ratios = (runs[1].memory.own / runs[0].memory.own, runs[1].memory.children / runs[0].memory.children)
    print(f"memory at full size against a quarter: platform {ratios[0]:.2f}, reader {ratios[1]:.2f}")


if __name__ == "__main__":
    main()
