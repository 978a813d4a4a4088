"""Office files of a test: made, or changed part by part."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/"


def changed(data: bytes, parts: Mapping[str, bytes], names: Mapping[str, str] = {}) -> bytes:
    """The archive with these parts replaced or added, and others under new names."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in parts:
                new.writestr(names.get(name, name), old.read(name))
        for name, content in parts.items():
            new.writestr(name, content)
    return out.getvalue()


def part(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.read(name)


def related(data: bytes, part_of: str, kind: str, target: str) -> bytes:
    """The archive whose part names one more."""
    folder, _, name = part_of.rpartition("/")
    rels = f"{folder}/_rels/{name}.rels"
    line = f'<Relationship Id="rNew" Type="{KIND}{kind}" Target="{target}"/></Relationships>'.encode()
    return changed(data, {rels: part(data, rels).replace(b"</Relationships>", line)})


def opendocument(
    fill: Callable[[Any], None], name: str = "Liste", also: Callable[[Any], object] = lambda made: None
) -> bytes:
    """An OpenDocument workbook of one sheet, whose rows `fill` adds; `also` adds to the workbook."""
    from odf.opendocument import OpenDocumentSpreadsheet
    from odf.table import Table

    document, table = OpenDocumentSpreadsheet(), Table(name=name)
    fill(table)
    document.spreadsheet.addElement(table)
    also(document)
    out = io.BytesIO()
    document.write(out)
    return out.getvalue()
