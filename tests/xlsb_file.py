"""Writes XLSB workbooks for tests (MS-XLSB), as no library of the project does. calamine and SheetJS read them."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.office_rig import KIND

FIRST_FORMAT = 164
_RELS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'


class Formula(NamedTuple):
    """A cell of a formula with its result."""

    value: float | str


class Rich(NamedTuple):
    """A cell whose text has runs of fonts, each from a place on: font 1 stands above the line. It is written in the
    cell, or `shared`, in the table of texts."""

    text: str
    runs: Sequence[tuple[int, int]] = ((0, 0),)
    shared: bool = False

    def content(self) -> bytes:
        runs = b"".join(struct.pack("<HH", *each) for each in self.runs)
        return b"\x01" + wide(self.text) + struct.pack("<I", len(self.runs)) + runs


Value = str | int | float | bool | None | Formula | Rich
Cell = Value | tuple[Value, str | int]
"""A value, or one with its format: a code, or the number of one that the file does not write."""


class Sheet(NamedTuple):
    """A sheet; `merges` hold first and last row and first and last column, `notes` row and column."""

    rows: Sequence[Sequence[Cell]]
    merges: Sequence[tuple[int, int, int, int]] = ()
    notes: Mapping[tuple[int, int], str] = {}


def record(kind: int, content: bytes = b"") -> bytes:
    head, size = bytes((kind,)) if kind < 128 else bytes((kind % 128 + 128, kind // 128)), len(content)
    while size >= 128:
        head, size = head + bytes((size % 128 + 128,)), size // 128
    return head + bytes((size,)) + content


def wide(text: str) -> bytes:
    raw = text.encode("utf-16-le")
    return struct.pack("<I", len(raw) // 2) + raw


def binary(*rows: Sequence[Cell], short: bool = False, written: Mapping[int, str] = {}, **more: Sheet) -> bytes:
    """A workbook of the sheet `Blatt` with these rows, or of the sheets in `more`.

    Args:
        short: leaves out the column of cells that are right of another one, as SheetJS does.
        written: codes that the file writes for formats by their number.
    """
    return workbook(more or {"Blatt": Sheet(rows)}, short=short, written=written)


def workbook(sheets: Mapping[str, Sheet], *, short: bool = False, written: Mapping[int, str] = {}) -> bytes:
    styles = _Styles(written)
    parts: dict[str, bytes] = {}
    for number, sheet in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{number}.bin"] = sheet_part(sheet, styles, short=short)
        if sheet.notes:
            parts[f"xl/comments{number}.bin"] = notes_part(sheet.notes)
            parts[f"xl/worksheets/_rels/sheet{number}.bin.rels"] = _relations(
                {"rId1": ("comments", f"../comments{number}.bin")}
            )
    names = {f"rId{number}": name for number, name in enumerate(sheets, 1)}
    bundle = b"".join(
        record(156, struct.pack("<II", 0, at) + wide(relation) + wide(name))
        for at, (relation, name) in enumerate(names.items(), 1)
    )
    parts["xl/workbook.bin"] = record(131) + record(143) + bundle + record(144) + record(132)
    parts["xl/styles.bin"] = styles.part()
    targets = {relation: ("worksheet", f"worksheets/sheet{relation[3:]}.bin") for relation in names}
    targets["rIdS"] = ("styles", "styles.bin")
    if styles.shared:
        count, items = struct.pack("<II", len(styles.shared), len(styles.shared)), map(Rich.content, styles.shared)
        parts["xl/sharedStrings.bin"] = record(159, count) + b"".join(record(19, each) for each in items) + record(160)
        targets["rIdT"] = ("sharedStrings", "sharedStrings.bin")
    parts["xl/_rels/workbook.bin.rels"] = _relations(targets)
    parts["_rels/.rels"] = _relations({"rId1": ("officeDocument", "xl/workbook.bin")})
    parts["[Content_Types].xml"] = _types(parts)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return out.getvalue()


def sheet_part(sheet: Sheet, styles: _Styles, *, short: bool = False) -> bytes:
    width = max(map(len, sheet.rows), default=1)
    out = [record(129), record(148, struct.pack("<4I", 0, max(len(sheet.rows) - 1, 0), 0, width - 1)), record(145)]
    for number, row in enumerate(sheet.rows):
        out.append(record(0, struct.pack("<IIHBBBI", number, 0, 300, 0, 0, 0, 1) + struct.pack("<II", 0, width - 1)))
        last = -2
        for column, cell in enumerate(row):
            value, code = _parted(cell)
            if value is not None:
                if isinstance(value, Rich) and value.shared:
                    styles.shared.append(value)
                    place = struct.pack("<III", column, styles.number(code), len(styles.shared) - 1)
                    out.append(record(7, place))
                else:
                    out.append(_cell(column, styles.number(code), value, short=short and last == column - 1))
                last = column
    out.append(record(146))
    if sheet.merges:
        ranges = (record(176, struct.pack("<4I", *each)) for each in sheet.merges)
        out += [record(177, struct.pack("<I", len(sheet.merges))), *ranges, record(178)]
    return b"".join([*out, record(130)])


def notes_part(notes: Mapping[tuple[int, int], str]) -> bytes:
    said = b"".join(
        record(635, struct.pack("<5I16x", 0, row, row, column, column)) + record(637, b"\0" + wide(text)) + record(636)
        for (row, column), text in notes.items()
    )
    authors = record(630) + record(632, wide("Ich")) + record(631)
    return record(628) + authors + record(633) + said + record(634) + record(629)


class _Styles:
    """Cell styles by the code or the number of their format, and the texts that sheets share."""

    def __init__(self, written: Mapping[int, str]) -> None:
        self.shared: list[Rich] = []
        self._codes = dict(written)
        self._styles: list[int] = [0]

    def number(self, code: str | int) -> int:
        number = code if isinstance(code, int) else self._of(code)
        if number not in self._styles:
            self._styles.append(number)
        return self._styles.index(number)

    def _of(self, code: str) -> int:
        known = next((number for number, each in self._codes.items() if each == code), None)
        number = known or max([FIRST_FORMAT - 1, *self._codes]) + 1
        self._codes[number] = code
        return number

    def part(self) -> bytes:
        codes = b"".join(record(44, struct.pack("<H", number) + wide(code)) for number, code in self._codes.items())
        cells = b"".join(_style(number, parent=0) for number in self._styles)
        formats = record(615, struct.pack("<I", len(self._codes))) + codes + record(616)
        kinds = b"".join(record(43, struct.pack("<HHHH13x", 220, 0, 400, above) + wide("Arial")) for above in (0, 1))
        fonts = record(611, struct.pack("<I", 2)) + kinds + record(612)
        parents = record(626, struct.pack("<I", 1)) + _style(0, parent=0xFFFF) + record(627)
        styles = record(617, struct.pack("<I", len(self._styles))) + cells + record(618)
        return record(278) + formats + fonts + parents + styles + record(279)


def _style(number: int, parent: int) -> bytes:
    return record(47, struct.pack("<HHHHHBBHH", parent, number, 0, 0, 0, 0, 0, 0, 0))


def _parted(cell: Any) -> tuple[Value, str | int]:
    return cell if type(cell) is tuple else (cell, 0)


def _cell(column: int, style: int, value: Value, *, short: bool) -> bytes:
    kind, content = _content(value)
    place = struct.pack("<I", style | 1 << 24)  # three bytes, and one of flags
    if short and kind < 8:
        return record(kind + 11, place + content)
    return record(kind, struct.pack("<I", column) + place + content)


def _content(value: Value) -> tuple[int, bytes]:
    """Kind and content of a cell behind its place and style."""
    if isinstance(value, Formula):
        kind, content = (8, wide(value.value)) if isinstance(value.value, str) else (9, struct.pack("<d", value.value))
        return kind, content + struct.pack("<HI", 0, 3) + b"\x1e\x01\x00" + bytes(4)
    if isinstance(value, Rich):
        return 62, value.content()
    if isinstance(value, bool):
        return 4, bytes((value,))
    if isinstance(value, int):
        return 2, struct.pack("<i", value << 2 | 2)
    if isinstance(value, float):
        return 5, struct.pack("<d", value)
    return (6, wide(value)) if value else (1, b"")


def _relations(targets: Mapping[str, tuple[str, str]]) -> bytes:
    lines = (f'<Relationship Id="{i}" Type="{KIND}{kind}" Target="{to}"/>' for i, (kind, to) in targets.items())
    return _RELS.format("".join(lines)).encode()


def _types(names: Iterable[str]) -> bytes:
    kinds = {
        "workbook": "sheet.binary.macroEnabled.main",
        "sheet": "worksheet",
        "styles": "styles",
        "sharedStrings": "sharedStrings",
        "comments": "comments",
    }
    lines = [
        f'<Override PartName="/{name}" ContentType="application/vnd.ms-excel.{kind}"/>'
        for name in names
        for word, kind in kinds.items()
        if name.rpartition("/")[2].startswith(word) and name.endswith(".bin")
    ]
    types = "http://schemas.openxmlformats.org/package/2006/content-types"
    rels = '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    xml = '<Default Extension="xml" ContentType="application/xml"/>'
    return f'<Types xmlns="{types}">{rels}{xml}{"".join(lines)}</Types>'.encode()
