"""Numbers of an XLSX file that are shown with leading zeros, such as 471 as `00471`: article numbers and post codes.

calamine gives the number alone. Where a file has such a format, its cells are therefore written anew as the text that
they show, before calamine reads them. Formats and cells: ECMA-376-1, 18.8.30 and 18.3.1.4.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence

from servers.cradle.processing.extract.containers import cut_behind, part_blocks
from servers.cradle.processing.extract.number_formats import padded_of

BLOCK = 2**20
_PART = re.compile(r"\.(xml|rels)$", re.IGNORECASE)  # no picture is read
_CELL = re.compile(rb"<((?:[\w.-]+:)?)c(\s[^<>]*)>((?:<\1f\b[^<>]*(?:/>|>[^<]*</\1f>))?)<\1v>([0-9]+)</\1v></\1c>")
_STYLE = re.compile(rb"""\ss\s*=\s*["']([0-9]+)["']""")
_TYPE = re.compile(rb"""\st\s*=\s*["']([^"']*)["']""")


def as_shown(data: bytes, archive: zipfile.ZipFile, codes: Sequence[str]) -> bytes:
    """The file with such numbers as text; the file as it came where it has none of these formats.

    Args:
        codes: of its cell styles (`number_formats.cell_formats`).

    Raises:
        Unreadable: `damaged`, `encrypted` or `zip_bomb`.
    """
    widths = _widths(codes)
    if not widths:
        return data
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
        parts = {each.filename: each.file_size for each in archive.infolist() if _PART.search(each.filename)}
        for path, size in parts.items():
            with written.open(path, "w", force_zip64=size > 2**30) as part:
                for block in _cells(part_blocks(archive, path, BLOCK), widths):
                    part.write(block)
    return out.getvalue()


def _widths(codes: Sequence[str]) -> dict[bytes, int]:
    """How many digits a cell's style shows at least, where it shows nothing else."""
    return {b"%d" % at: shown.digits for at, code in enumerate(codes) if (shown := padded_of(code))}


def _cells(blocks: Iterator[bytes], widths: Mapping[bytes, int]) -> Iterator[bytes]:
    """The XML of a part, cut behind cells."""

    def cell(found: re.Match[bytes]) -> bytes:
        prefix, attributes, formula, digits = found.groups()
        style, kind = _STYLE.search(attributes), _TYPE.search(attributes)
        width = widths.get(style[1], 0) if style and (kind is None or kind[1] == b"n") else 0
        if len(digits) >= width:
            return found[0]
        attributes = _TYPE.sub(b"", attributes)
        return b'<%bc%b t="str">%b<%bv>%b</%bv></%bc>' % (
            prefix, attributes, formula, prefix, digits.zfill(width), prefix, prefix,
        )  # fmt: skip

    return (_CELL.sub(cell, piece) for piece in cut_behind(blocks, b"</c>", b":c>"))
