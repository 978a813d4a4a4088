"""What a legacy deployment's folder holds: original files, and tables that say what its dataset held.

Nothing is known of a legacy schema beforehand, so tables and columns are recognised by the names that such systems use;
what was not recognised is said in the reconciliation. A graph dump is copied and not read.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.dataset.foreign import ForeignTable
from shared.errors import InvalidInput

DOCUMENTS = frozenset({"documents", "document", "files", "docs", "dokumente"})
PRODUCTS = frozenset({"products", "product", "produkte", "articles", "artikel"})
PATH = ("path", "file_path", "filepath", "source_file", "file_name", "filename", "file", "source", "document_name")
TEXT = ("text", "content", "chunk_text", "page_content", "chunk", "body")
ARTICLE = ("article_number", "supplier_pid", "supplier_aid", "sku", "artikelnummer", "part_number", "article_no")
SAMPLES = 20
SHORTEST = 40


@dataclass(frozen=True, slots=True)
class Layout:
    """The folder, sorted: files of the customer, and folders that are tables. `links` were not followed."""

    root: Path
    files: list[Path]
    tables: list[Path]
    links: int


@dataclass(frozen=True, slots=True)
class Sample:
    """A passage of the legacy dataset; the new one has to find it. `name` is its file's, '' where that is not known."""

    text: str
    name: str


@dataclass(slots=True)
class Export:
    """What the legacy dataset held; None where no table says so. Content: stays in memory."""

    names: set[str] | None = None
    documents: int | None = None
    articles: set[str] | None = None
    samples: list[Sample] = field(default_factory=list)
    recognised: list[str] = field(default_factory=list)


def layout(root: Path) -> Layout:
    """Look through a legacy folder; blocking.

    Raises:
        InvalidInput: it holds no file of the customer.
    """
    files, tables, links = [], [], 0
    for folder, folders, names in os.walk(root):
        place = Path(folder)
        found = {name for name in folders if name.endswith(".lance") or (place / name / "_delta_log").is_dir()}
        tables += [place / name for name in sorted(found)]
        linked = {name for name in folders if (place / name).is_symlink()}
        folders[:] = sorted(set(folders) - found - linked)
        plain = [place / name for name in sorted(names)]
        files += [path for path in plain if path.is_file() and not path.is_symlink()]
        links += len(linked) + sum(path.is_symlink() for path in plain)
    if not files:
        raise InvalidInput(
            "The legacy deployment holds no original files. Add the customer's files to its folder: a dataset is not "
            "made anew from tables alone.",
            field="legacy",
        )
    return Layout(root, files, tables, links)


def read_export(tables: list[Path]) -> Export:
    """What the tables say; blocking.

    Raises:
        InvalidInput: a table cannot be read.
    """
    export = Export()
    for table in map(ForeignTable, tables):
        path, article = _column(table, PATH), _column(table, ARTICLE)
        if table.name in DOCUMENTS:
            export.documents = table.count()
            if path is not None:
                export.names = {plain_name(each) for each in _texts(table, path)}
            export.recognised.append(f"documents ({path or 'no path'})")
        elif table.name in PRODUCTS and article is not None:
            export.articles = {each.strip() for each in _texts(table, article)} - {""}
            export.recognised.append(f"products ({article})")
        elif table.is_lance and (text := _column(table, TEXT)) is not None:
            export.samples += list(_samples(table, text, path))
            if path is not None and export.names is None:
                export.names = {plain_name(each) for each in _texts(table, path)}
            export.recognised.append(f"passages ({text})")
    if export.documents is None and export.names is not None:
        export.documents = len(export.names)
    return export


def plain_name(path: str) -> str:
    """A file's name without folders, as two systems would both write it."""
    return unicodedata.normalize("NFC", path.replace("\\", "/").rsplit("/", 1)[-1]).casefold()


def _column(table: ForeignTable, names: tuple[str, ...]) -> str | None:
    by_name = {column.casefold(): column for column in table.columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _texts(table: ForeignTable, column: str) -> Iterator[str]:
    return (str(value) for value in table.read([column])[column].to_pylist() if value is not None)


def _samples(table: ForeignTable, text: str, path: str | None) -> Iterator[Sample]:
    """Passages from all over the table, long enough to mean something."""
    columns = [text] if path is None else [text, path]
    rows = [row for row in table.read(columns).to_pylist() if len(str(row[text] or "").strip()) >= SHORTEST]
    step = max(1, len(rows) // SAMPLES)
    for row in rows[::step][:SAMPLES]:
        yield Sample(str(row[text]).strip(), plain_name(str(row[path])) if path is not None and row[path] else "")
