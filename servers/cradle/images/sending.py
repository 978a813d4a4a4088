"""What an engine gets of an image's file: not the layers that it has already, which are most of it.

An engine that keeps a layer by what lies in and below it, as Docker's own store does, reads the file of a layer only
where it has no such layer. One with containerd's store wants every file.
"""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import orjson

from servers.cradle.images.streams import BLOCK

_END = bytes(2 * tarfile.BLOCKSIZE)


def pieces(image: Path, left_out: Collection[str]) -> Iterator[bytes]:
    """The image's file as a tar in pieces, without the files of these names."""
    with tarfile.open(image, "r:") as tar, image.open("rb") as file:
        for member in tar:
            if member.name in left_out:
                continue
            file.seek(member.offset)
            left = member.offset_data - member.offset + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            while left and (block := file.read(min(left, BLOCK))):
                left -= len(block)
                yield block
    yield _END


def files_there(image: Path, there: Iterable[Sequence[str]]) -> set[str]:
    """The names of the files, in an image's file, of the lowest layers that an engine has.

    Args:
        there: the layers of each image that the engine has: digests of their tars, lowest first.
    """
    with tarfile.open(image, "r:") as tar:
        named = _document(tar, "manifest.json")[0]
        digests, files = _document(tar, named["Config"])["rootfs"]["diff_ids"], named["Layers"]
    known = max((_common(digests, layers) for layers in there), default=0)
    return set(files[:known]) - set(files[known:])


def _common(ours: Sequence[str], theirs: Sequence[str]) -> int:
    """How many layers two images share, from the lowest: what is above another layer is another layer."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(ours, theirs, strict=False)))


def _document(tar: tarfile.TarFile, name: str) -> Any:
    file = tar.extractfile(name)
    return orjson.loads(file.read() if file is not None else b"")
