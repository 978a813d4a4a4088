"""Price lists of a test: lines of a CSV file, rows of a sheet, and what is read of them."""

from __future__ import annotations

import io

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extraction import Extraction, joined, parts


def extracted(data: bytes, name: str) -> Extraction:
    return joined(parts(read(*identify(data, name))))


def listed(*lines: str) -> Extraction:
    return extracted("\n".join(lines).encode(), "preise.csv")


def sheet(*rows: tuple[object, ...]) -> Extraction:
    import xlsxwriter

    out = io.BytesIO()
    with xlsxwriter.Workbook(out, {"in_memory": True}) as book:
        page = book.add_worksheet("Preise")
        for at, row in enumerate(rows):
            page.write_row(at, 0, row)
    return extracted(out.getvalue(), "preise.xlsx")


def texts(found: Extraction) -> list[str]:
    return [block.text for block in found.blocks]


def features(found: Extraction) -> list[list[tuple[str, str, str]]]:
    return [[(each.name, each.values[0].text, each.unit) for each in product.features] for product in found.products]
