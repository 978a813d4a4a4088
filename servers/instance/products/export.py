"""Exports: a whole file is written once into the instance's own temporary folder and handed out in parts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import orjson

from servers.instance.products import bmecat
from servers.instance.products.articles import Article, Articles
from servers.instance.products.plain_formats import COLUMNS, csv_lines, csv_rows, record
from shared.errors import InvalidInput

Format = Literal["bmecat", "csv", "json"]
MEDIA_TYPES: dict[Format, str] = {"bmecat": "application/xml", "csv": "text/csv", "json": "application/json"}
KEPT = 8


@dataclass(slots=True)
class Export:
    """A written file and what is in it. `left_out`: reason → articles that are not in it."""

    path: Path
    digest: str = ""
    size: int = 0
    articles: int = 0
    merged: int = 0
    adjusted: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def write(articles: Articles, form: Format, head: bmecat.Head, path: Path) -> Export:
    """The export at `path`; blocking. Equal articles and options give equal bytes."""
    export, state = Export(path), hashlib.sha256()
    if articles.unnumbered:
        export.left_out["no article number"] = articles.unnumbered
    if articles.deleted:
        export.left_out["deleted by an update"] = articles.deleted
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        for piece in _PIECES[form](articles, head, export):
            file.write(piece)
            state.update(piece)
            export.size += len(piece)
    draft.replace(path)
    export.digest = "sha256:" + state.hexdigest()
    return export


def part(export: Export, start: int, size: int) -> tuple[str, int | None]:
    """The text from a byte on, `size` bytes at most, and where the next part starts; blocking.

    Raises:
        InvalidInput: no part starts there.
    """
    with export.path.open("rb") as file:
        file.seek(start)
        data = file.read(size)
    for end in range(len(data), max(len(data) - 4, 0), -1):  # a character of UTF-8 is not cut in two
        try:
            text = data[:end].decode()
        except UnicodeDecodeError:
            continue
        following = start + end
        return text, following if following < export.size else None
    raise InvalidInput("No part starts there: use next_start of the part before.", field="start")


def _counted(article: Article, export: Export) -> None:
    export.articles += 1
    export.merged += article.sources > 1


def _bmecat(articles: Articles, head: bmecat.Head, export: Export) -> Iterator[bytes]:
    yield bmecat.start(head)
    for article in articles:
        problem = bmecat.problem_of(article, head)
        if problem is not None:
            export.left_out[problem] += 1
            continue
        _counted(article, export)
        export.adjusted += bmecat.is_adjusted(article, head)
        yield bmecat.product(article, head)
    yield bmecat.END


def _csv(articles: Articles, head: bmecat.Head, export: Export) -> Iterator[bytes]:
    del head
    yield csv_lines([list(COLUMNS)])
    for article in articles:
        _counted(article, export)
        yield csv_lines(csv_rows(article))


def _json(articles: Articles, head: bmecat.Head, export: Export) -> Iterator[bytes]:
    del head
    for article in articles:
        yield (b",\n" if export.articles else b"[\n") + orjson.dumps(record(article).model_dump())
        _counted(article, export)
    yield b"\n]\n" if export.articles else b"[]\n"


_PIECES = {"bmecat": _bmecat, "csv": _csv, "json": _json}
