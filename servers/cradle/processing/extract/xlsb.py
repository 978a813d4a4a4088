"""What calamine leaves out of an XLSB file: cells written in short, merged cells, what numbers show beside them,
superscripts, and notes. Its other parts, such as drawings and charts, are those of XLSX. Records: MS-XLSB 2.4."""

from __future__ import annotations

import io
import posixpath
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property

from servers.cradle.processing.extract import opc
from servers.cradle.processing.extract.archive import label
from servers.cradle.processing.extract.containers import part_blocks, whole_blocks
from servers.cradle.processing.extract.extractor import Damaged, Inner, Unreadable
from servers.cradle.processing.extract.merged import Merge
from servers.cradle.processing.extract.number_formats import BUILT_IN, Cell, Shown, shown_in_rows, shows
from servers.cradle.processing.extract.sheet_notes import notes, place
from servers.cradle.processing.extract.sheet_parts import beside, pictures
from servers.cradle.processing.extract.xlsb_cells import NOTHING, in_full, styled, survey
from servers.cradle.processing.extract.xlsb_records import BROKEN, records, text
from servers.cradle.processing.extract.xlsb_strings import raised_strings, superscript_fonts
from servers.cradle.processing.extraction import Attachment, Item

BLOCK = 2**20
MAX_STYLES = 2**16  # Excel's own limit is 65,490
WORKBOOK = "xl/workbook.bin"
_READ = re.compile(r"\.(bin|xml|rels)$", re.IGNORECASE)  # no picture
_SHEET, _FORMATS, _FORMATS_END, _FORMAT = 156, 615, 616, 44  # BrtBundleSh, BrtBeginFmts, BrtEndFmts, BrtFmt
_STYLES, _STYLES_END, _STYLE = 617, 618, 47  # BrtBeginCellXFs, BrtEndCellXFs, BrtXF
_NOTE, _NOTE_TEXT, _NOTES_END = 635, 637, 629  # BrtBeginComment, BrtCommentText, BrtEndComments


class XlsbSheets:
    """What a file's sheets hold beside what calamine reads.

    Args:
        depth: of the file; `inner` reads files that are embedded in it.
    """

    def __init__(self, archive: zipfile.ZipFile, depth: int, inner: Inner) -> None:
        self._archive, self._depth, self._inner = archive, depth, inner
        self.dated = opc.properties(archive)[1]
        self._parts = _parts(archive)
        self._surveys = {name: survey(whole_blocks(archive, part, BLOCK)) for name, part in self._parts.items()}

    def readable(self, data: bytes) -> bytes:
        """The file as calamine reads all of it: with short cells written in full and superscripts in raised characters,
        without pictures where it has any of either.

        Args:
            data: the file as it came, given back where it has none.

        Raises:
            Unreadable: `damaged` or `encrypted`.
        """
        short = {self._parts[name] for name, found in self._surveys.items() if found.short}
        above = superscript_fonts(whole_blocks(self._archive, self._styled, BLOCK)) if self._styled else frozenset()
        strings = set(opc.of_kind(opc.related(self._archive, WORKBOOK), "sharedStrings")) if above else set()
        if not short and not strings:
            return data
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as written:
            sizes = {each.filename: each.file_size for each in self._archive.infolist() if _READ.search(each.filename)}
            for path, size in sizes.items():
                blocks = part_blocks(self._archive, path, BLOCK)
                shown = in_full(blocks, above) if path in short else blocks
                with written.open(path, "w", force_zip64=size > 2**29) as part:
                    for block in raised_strings(blocks, above) if path in strings else shown:
                        part.write(block)
        return out.getvalue()

    def merges(self, sheet: str) -> list[Merge]:
        """The merged cells of a sheet."""
        return self._surveys.get(sheet, NOTHING).merges

    def marks(self, sheet: str) -> Iterator[Shown] | None:
        """The rows with cells that show more than their number, up to where the sheet breaks."""
        part = self._parts.get(sheet)
        if part is None or not self._formats:
            return None
        blocks = whole_blocks(self._archive, part, BLOCK)
        cells = styled(in_full(blocks) if self._surveys[sheet].short else blocks, self._formats)
        return shown_in_rows(cells, self._formats)

    def items(self, sheet: str, page: int) -> Iterator[Item]:
        """Text boxes, charts, threads, notes and embedded files of a sheet."""
        if part := self._parts.get(sheet):
            yield from beside(self._archive, part, page, self._depth, self._inner, _notes)

    def pictures(self, sheet: str, page: int) -> Iterator[Item]:
        """Scans of the pictures on a sheet."""
        if part := self._parts.get(sheet):
            yield from pictures(self._archive, part, page, self._depth, self._inner)

    @cached_property
    def _styled(self) -> str:
        """The part with fonts and formats, '' where there is none."""
        part = next(iter(opc.of_kind(opc.related(self._archive, WORKBOOK), "styles")), "xl/styles.bin")
        return part if part in self._archive.namelist() else ""

    @cached_property
    def _formats(self) -> dict[int, Cell]:
        """Cell style → what its format shows, for styles whose format shows more than a number."""
        codes, styles = _styles(self._archive, self._styled) if self._styled else ({}, [])
        return shows([codes.get(each, "") for each in styles])


def _parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """Sheet name → its part, for parts that are there; those of a name that stands twice are the first one's."""
    related, held = opc.related(archive, WORKBOOK), set(archive.namelist())
    found: dict[str, str] = {}
    with suppress(*BROKEN):  # calamine judges the file
        for kind, content in records(whole_blocks(archive, WORKBOOK, BLOCK)):
            if kind == _SHEET:
                relation, at = text(content, 8)
                part = related.get(relation, ("", ""))[1]
                if part in held:
                    found.setdefault(text(content, at)[0], part)
    return found


def _styles(archive: zipfile.ZipFile, part: str) -> tuple[dict[str, str], list[str]]:
    """The code of each number format by its number, and each cell style's number."""
    codes, styles, inside = dict(BUILT_IN), list[str](), 0
    with suppress(*BROKEN):
        for kind, content in records(whole_blocks(archive, part, BLOCK)):
            if kind in {_FORMATS, _FORMATS_END, _STYLES, _STYLES_END}:
                inside = kind
            elif kind == _FORMAT and inside == _FORMATS:
                codes[str(struct.unpack_from("<H", content)[0])] = text(content, 2)[0]
            elif kind == _STYLE and inside == _STYLES and len(styles) < MAX_STYLES:
                styles.append(str(struct.unpack_from("<H", content, 2)[0]))
    return codes, styles


def _notes(archive: zipfile.ZipFile, part: str, page: int, threads: set[str]) -> Iterator[Item]:
    """The notes of a part; those of cells with a thread, which say the same, left out. A part that is damaged is said
    too."""
    said: list[tuple[str, str]] = []
    try:
        _read_notes(archive, part, said)
    except (Unreadable, *BROKEN) as error:
        why = error if isinstance(error, Unreadable) else Damaged()
        yield Attachment(label(posixpath.basename(part)), "", 0, why.code, why.reason)
    yield from notes((each for each in said if each[0] not in threads), page)


def _read_notes(archive: zipfile.ZipFile, part: str, said: list[tuple[str, str]]) -> None:
    """Adds the cells and texts of a part's notes to `said`.

    Raises:
        Unreadable: `damaged` or `encrypted`; BROKEN: a record is too short. What came before was added.
    """
    cell, ended = "", False
    for kind, content in records(part_blocks(archive, part, BLOCK)):
        if kind == _NOTE:
            row, _, column = struct.unpack_from("<III", content, 4)
            cell = place(row, column)
        elif kind == _NOTE_TEXT:
            said.append((cell, text(content, 1)[0]))
        ended |= kind == _NOTES_END
    if not ended:
        raise Damaged
