"""Which document a person means: by its path, its file's name or its title, in any case, without the ending. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import PurePosixPath

from shared.dataset.words import folded

MOST = 10
"""Names that are told where several fit."""
_SIGNS = re.compile(r"[\W_]+")


def meant(name: str, paths: Sequence[str], titles: Sequence[str]) -> tuple[list[int], bool]:
    """The places of the documents that the name fits, and whether it is the whole name of each; if not, it is a part.

    The closest kind of likeness decides: of `HL-240-50.pdf` and `alt/HL-240-50.docx`, `hl-240-50.pdf` is the first and
    `HL 240 50` is either.
    """
    wanted = folded(name).replace("\\", "/").strip().strip("/")
    stem, plain = _stem(wanted), _plain(wanted)
    if not plain:
        return [], False
    folded_paths = [folded(each) for each in paths]

    def fits(of: Callable[[int], bool]) -> list[int]:
        return [place for place in range(len(paths)) if of(place)]

    def kinds() -> Iterator[list[int]]:
        yield fits(lambda at: f"/{folded_paths[at]}".endswith(f"/{wanted}"))
        yield fits(lambda at: f"/{_stem(folded_paths[at])}".endswith(f"/{wanted}"))
        yield fits(lambda at: folded(titles[at]).strip() == wanted)
        yield fits(lambda at: _plain(_file(folded_paths[at])) in (plain, _plain(stem)))
        yield fits(lambda at: _plain(_stem(_file(folded_paths[at]))) == plain)

    found = next(filter(None, kinds()), [])
    return (found, True) if found else (fits(lambda at: plain in _plain(folded_paths[at])), False)


def _file(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    return path.removesuffix(PurePosixPath(path).suffix)


def _plain(text: str) -> str:
    return _SIGNS.sub("", text)
