"""What a legacy deployment's folder holds: original files, and tables that say what its dataset held.

Nothing is known of a legacy schema beforehand, so tables and columns are recognised by the names that such systems use;
a table that was not recognised is a difference of the reconciliation, and so is one of documents without their names.
A graph's dump, and the files in a folder `neo4j` that are Neo4j's own by their names, are copied and not read. All else
is a file of the customer: what is none that can be read is told when it is processed.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from shared.dataset.foreign import ForeignTable
from shared.dataset.places import Place
from shared.errors import InvalidInput

DOCUMENTS = frozenset({"documents", "document", "files", "docs", "dokumente"})
PRODUCTS = frozenset({"products", "product", "produkte", "articles", "artikel"})
PATH = (
    "path", "file_path", "filepath", "source_file", "file_name", "filename", "file", "source", "document_name",
    "doc_name", "dateipfad", "dateiname", "pfad", "metadata.file_path", "metadata.file_name", "metadata.source",
)  # fmt: skip
"""The last three lie in the one column of all that LangChain and LlamaIndex note of a passage."""
TEXT = ("text", "content", "chunk_text", "page_content", "chunk", "body")
ARTICLE = ("article_number", "supplier_pid", "supplier_aid", "sku", "artikelnummer", "part_number", "article_no")
_DUMPS = frozenset({"neo4j.dump", "system.dump", "graph.dump"})
_NEO4J = re.compile(
    r"(.*/)?("
    r"neostore(\.id)?|(neostore|block)(\.\w+)+\.db(\.\w+)*|checkpoint\.\d+|(store|database)_lock|server_id|auth(\.ini)?|"
    r"[^/]+\.(dump|backup)|profiles/[^/]+\.(cache)?prof|schema/index/[a-z-]+-\d+\.\d+/\d+/.+|"
    r"logs/[\w-]+\.log(\.\w+)*|conf/[\w-]+\.conf|plugins/[^/]+\.jar"
    r")"
)
"""What a server of Neo4j keeps below its folder, of both store formats (record, block)."""
_LANCE = ("_versions/", "_transactions/", "_indices/", "_deletions/", "_refs/", "_mem_wal/", "_latest.manifest")
_DELTA = ("_delta_log/", "_change_data/", "_delta_index/", "_symlink_format_manifest/")
_SPARK = re.compile(r"(.*/)?(_SUCCESS|_metadata|_common_metadata|_(committed|started)_\d+)")
SAMPLES = 20
SHORTEST = 40


@dataclass(slots=True)
class Layout:
    """What lies there, by its path below the root, sorted: files of the customer, folders that are tables, and the
    files that those and graphs' dumps consist of. `links`, wherever they lay, were not followed; devices, sockets and
    pipes, which count with them, were not opened."""

    files: list[str]
    tables: list[str]
    parts: list[str]
    links: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """A passage of the legacy dataset; the new one has to find it. `name` is its file's, '' where that is not known or
    several have it."""

    text: str
    name: str


@dataclass(slots=True)
class Export:
    """What the legacy dataset held; None where no table says so. Several tables of one kind count together. Content:
    stays in memory.

    `names` counts how many documents had a file name, `unrecognised` are tables that nothing was read of.
    """

    names: Counter[str] | None = None
    documents: int | None = None
    articles: set[str] | None = None
    samples: list[Sample] = field(default_factory=list)
    recognised: list[str] = field(default_factory=list)
    unrecognised: list[str] = field(default_factory=list)


def layout(root: Path) -> Layout:
    """Look through a legacy folder; blocking.

    Raises:
        InvalidInput: it holds no file of the customer, or a folder that cannot be opened.
    """
    names, links = list[str](), 0
    for folder, folders, files in os.walk(root, onerror=_closed):
        place = Path(folder)
        linked = {name for name in (*folders, *files) if (place / name).is_symlink()}
        plain = [place / name for name in sorted(set(files) - linked) if (place / name).is_file()]
        links += len(linked) + len(set(files) - linked) - len(plain)
        folders[:] = sorted(set(folders) - linked)
        names += [path.relative_to(root).as_posix() for path in plain]
    return layout_of(names, links)


def layout_of(names: Iterable[str], links: int = 0) -> Layout:
    """The same of the names of all files, as an object store lists them.

    Raises:
        InvalidInput: none is a file of the customer.
    """
    found = sort_names(names)
    found.links = links
    if not found.files:
        raise InvalidInput(
            "The legacy deployment holds no original files. Add the customer's files to its folder: a dataset is not "
            "made anew from tables alone.",
            field="legacy",
        )
    return found


def sort_names(names: Iterable[str]) -> Layout:
    """Names told apart: a folder is a table where it is called `*.lance`, or holds a folder `_delta_log`.

    What a table does not consist of is a file of the customer, in that folder as anywhere.
    """
    listed = sorted(names)
    logged = {name[: name.index("/_delta_log/")] for name in listed if "/_delta_log/" in name}
    found, tables = Layout([], [], []), dict[str, None]()
    for name in listed:
        parts = name.split("/")
        if parts[-1] in _DUMPS or ("neo4j" in parts[:-1] and _NEO4J.fullmatch(name)):
            found.parts.append(name)
            continue
        folders = ("/".join(parts[:depth]) for depth in range(len(parts) - 1, 0, -1))
        table = next((each for each in folders if each.endswith(".lance") or each in logged), None)
        if table is None or not _is_part(name.removeprefix(f"{table}/"), table in logged):
            found.files.append(name)
        else:
            tables[table] = None
            found.parts.append(name)
    found.tables = list(tables)
    return found


def _is_part(name: str, delta: bool) -> bool:
    """Whether a table consists of this file, too: by the folders that Lance and Delta name, and by Delta's Parquet,
    deletion vectors and checksums, in folders that it names after values."""
    if delta:
        return name.startswith(_DELTA) or name.endswith((".parquet", ".crc", ".bin")) or bool(_SPARK.fullmatch(name))
    return name.startswith(("data/", "tree/", *_LANCE))


def _closed(error: OSError) -> None:
    raise InvalidInput(
        "A folder of the legacy deployment cannot be opened. Give the platform's user the right to read it.",
        field="legacy",
    ) from None


def read_export(place: Place, tables: Iterable[str]) -> Export:
    """What the tables below a place say; blocking.

    Raises:
        InvalidInput: a table cannot be read.
    """
    export, named, cited = Export(), Counter[str](), set[str]()
    for table in (ForeignTable(place, path) for path in tables):
        path, article = _column(table, PATH), _column(table, ARTICLE)
        text = _column(table, TEXT) if table.is_lance else None
        if table.name in DOCUMENTS and text is None:
            paths = Counter(_texts(table, path) if path is not None else ())
            export.documents = (export.documents or 0) + table.count() - (paths & named).total()
            named |= paths
            export.recognised.append(f"documents ({path or 'no path'})")
            export.unrecognised += [table.name] if path is None else []
        elif table.name in PRODUCTS and article is not None:
            found = {each.strip() for each in _texts(table, article)} - {""}
            export.articles = (export.articles or set()) | found
            export.recognised.append(f"products ({article})")
        elif text is not None:
            export.samples += _samples(table, text, path)
            cited |= set(_texts(table, path)) if path is not None else set()
            export.recognised.append(f"passages ({text})")
        else:
            export.unrecognised.append(table.name)
    if named or cited:
        export.names = Counter(map(plain_name, named.elements())) | Counter(map(plain_name, cited))
        export.documents = len(cited) if export.documents is None else export.documents
        several = {name for name, count in export.names.items() if count > 1}
        export.samples = [replace(each, name="") if each.name in several else each for each in export.samples]
    return export


def plain_name(path: str) -> str:
    """A file's name without folders, as two systems would both write it."""
    return unicodedata.normalize("NFC", path.replace("\\", "/").rsplit("/", 1)[-1]).casefold()


def _column(table: ForeignTable, names: tuple[str, ...]) -> str | None:
    by_name = {column.casefold(): column for column in table.columns}
    return next((by_name[name] for name in names if name in by_name), None)


def _texts(table: ForeignTable, column: str) -> Iterator[str]:
    for batch in table.batches([column]):
        values = (value for value in batch[column].to_pylist() if value is not None)
        yield from (str(int(value) if isinstance(value, float) and value.is_integer() else value) for value in values)


def _samples(table: ForeignTable, text: str, path: str | None) -> list[Sample]:
    """Passages from all over the table, long enough to mean something."""
    columns = [text] if path is None else [text, path]
    rows = (row for batch in table.batches(columns) for row in batch.select(columns).to_pylist())
    found = _spread(row for row in rows if len(str(row[text] or "").strip()) >= SHORTEST)
    return [
        Sample(str(row[text]).strip(), plain_name(str(row[path])) if path is not None and row[path] else "")
        for row in found
    ]


def _spread(rows: Iterable[dict[str, object]]) -> list[dict[str, object]]:
    """At most `SAMPLES` of the rows, evenly spaced; few are held at a time."""
    kept, step = list[dict[str, object]](), 1
    for place, row in enumerate(rows):
        if place % step == 0:
            kept.append(row)
        if len(kept) > 2 * SAMPLES:
            kept, step = kept[::2], step * 2
    count = min(SAMPLES, len(kept))
    return [kept[at * len(kept) // count] for at in range(count)]
