"""Layers: sorted tars with fixed times and owners, compressed and hashed in one pass. Same files, same bytes.

Formats: POSIX pax archives; whiteouts of the OCI image layer specification; extended attributes as `SCHILY.xattr.…`,
which container engines and GNU tar read.
"""

from __future__ import annotations

import io
import os
import re
import stat
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

from servers.cradle.images.compression import compressor, decompressed, kind_of
from servers.cradle.images.elf import is_elf, slim
from servers.cradle.images.files import work_name
from servers.cradle.images.spec import SOURCE_EPOCH
from servers.cradle.images.streams import BLOCK, Hashing, tar_onto
from shared.contracts.image import Compression, ImageLayer
from shared.errors import InvalidInput, StorageFull
from shared.room import says_full

WHITEOUT, OPAQUE = ".wh.", ".wh..wh..opq"
MAX_ATTRIBUTES, MAX_ATTRIBUTE_BYTES = 16, 64 * 1024
_ATTRIBUTE = re.compile(r"security\.capability|user\.[A-Za-z0-9_.-]{1,200}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a layer: a file (path or bytes), a link, or a directory (neither).

    Args:
        link: where a symbolic link leads.
        same_as: the name of a file of this layer, of which this is another name (a hard link).
        removes: `name`: what lower layers have under this name is gone; `content`: what they have in this folder is.
        attributes: extended attributes of a file or directory: `security.capability`, or a name in `user.`.
    """

    name: str
    source: Path | bytes | None = None
    mode: int = 0o644
    link: str | None = None
    slim: bool = False
    same_as: str | None = None
    removes: Literal["name", "content"] | None = None
    attributes: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer on disk.

    `digest` and `size` are of the compressed blob, `diff_id` and `content_size` of the tar in it.
    """

    kind: str
    digest: str
    diff_id: str
    size: int
    content_size: int
    path: Path = field(compare=False)
    compression: Compression = "gzip"

    def contract(self) -> ImageLayer:
        """What the outside learns of it."""
        return ImageLayer(kind=self.kind, digest=self.digest, size_bytes=self.size)


def write_layer(
    kind: str, entries: Iterable[Entry], folder: Path, *, small: bool = False, compression: Compression = "gzip"
) -> Layer:
    """Write a layer's blob into `folder`, named by its digest's hex digits.

    Args:
        kind: base, runtime, model, vectors, tables, graph or config.
        small: it is written once and shipped often: take more time.

    Raises:
        InvalidInput: a name leaves the image, or comes twice.
        StorageFull: no room; what was written is removed.
    """
    names = ordered(entries)
    with _blob(kind, folder, small, compression) as blob, tar_onto(blob.content) as tar:
        for entry in sorted(names, key=lambda each: each.same_as is not None):  # a hard link comes after its file
            _add(tar, entry)
    return blob.layer()


def import_tar(
    kind: str, source: Path, folder: Path, *, small: bool = False, compression: Compression = "gzip"
) -> Layer:
    """A root file system tar as a layer, byte for byte.

    Raises:
        InvalidInput: there is no such file, or it is not a plain tar.
        StorageFull: no room; what was written is removed.
    """
    if not source.is_file() or not tarfile.is_tarfile(source):
        raise InvalidInput("The base image is not a readable tar. Check P0711_BASE_IMAGE.", field="base_image")
    with _blob(kind, folder, small, compression) as blob, tarfile_bytes(source) as tar:
        while block := tar.read(BLOCK):
            blob.content.write(block)
    return blob.layer()


class _Blob:
    """A layer's blob while it is written: `content` takes the tar."""

    def __init__(self, kind: str, path: Path, raw: BinaryIO, small: bool, compression: Compression) -> None:
        self._kind, self.path = kind, path
        self._compression: Compression = compression
        self._compressed = Hashing(raw)
        self._compressor = compressor(compression, self._compressed, small=small)
        self.content = Hashing(self._compressor)

    def close(self) -> None:
        self._compressor.close()

    def layer(self) -> Layer:
        """The finished layer, under the name of its digest."""
        compressed, content = self._compressed, self.content
        blob = self.path.with_name(compressed.digest.removeprefix("sha256:"))
        self.path.replace(blob)
        digests, sizes = (compressed.digest, content.digest), (compressed.size, content.size)
        return Layer(self._kind, *digests, *sizes, path=blob, compression=self._compression)


@contextmanager
def _blob(kind: str, folder: Path, small: bool, compression: Compression) -> Iterator[_Blob]:
    partial = folder / work_name(f".partial-{kind}")
    with room_or_clean(partial), partial.open("xb", buffering=BLOCK) as raw:
        blob = _Blob(kind, partial, raw, small, compression)
        yield blob
        blob.close()


@contextmanager
def tarfile_bytes(source: Path) -> Iterator[BinaryIO]:
    """The tar's uncompressed bytes, whether or not it is compressed."""
    with source.open("rb") as file:
        yield decompressed(file, kind_of(file))


@contextmanager
def room_or_clean(*partial: Path, at: Path | None = None) -> Iterator[None]:
    """Remove partial files on any failure, and say plainly when the reason is that a disk has no room, and which.

    Args:
        at: the folder that is written to, where no partial file says so.
    """
    try:
        yield
    except BaseException as error:
        for path in partial:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if isinstance(error, OSError) and says_full(error):
            disk = _disk_of(at or partial[0])
            raise StorageFull(
                f"The disk at {disk} is full. Free some space and call again; nothing was left behind."
            ) from None
        raise


def _disk_of(place: Path) -> Path:
    place = place.absolute()
    return next(each for each in (place, *place.parents) if each.is_mount())


def ordered(entries: Iterable[Entry]) -> list[Entry]:
    """The entries sorted by name, with a directory for every parent that is not among them.

    Raises:
        InvalidInput: a name is not relative, has `..`, NUL or a line break in it, comes twice or would remove another;
            a hard link leads to no file of the layer; an attribute is not allowed.
    """
    named: dict[str, Entry] = {}
    for entry in map(_written, entries):
        name = checked_name(entry.name)
        if name in named:
            raise InvalidInput("Two files of an image have the same name.")
        named[name] = entry
    for name, entry in named.items():
        if entry.same_as is None:
            continue
        original = named.get(entry.same_as)
        if original is None or original.source is None:
            raise InvalidInput("A hard link of an image leads to no file of its layer.")
        # engines set owner and mode of the one file once more for its second name, and its capability is gone with that
        named[name] = replace(entry, mode=original.mode, attributes=original.attributes)
    for name in list(named):
        parts = name.split("/")[:-1]
        for depth in range(len(parts)):
            parent = "/".join(parts[: depth + 1])
            directory = named.setdefault(parent, Entry(parent, mode=0o755))
            if directory.source is not None or directory.link is not None or directory.same_as is not None:
                raise InvalidInput("A file of an image has the name of a folder.")
    return [named[name] for name in sorted(named, key=lambda name: name.split("/"))]


def _written(entry: Entry) -> Entry:
    """The entry under the name that it has in the tar."""
    folder, _, last = entry.name.rpartition("/")
    if last.startswith(WHITEOUT):
        raise InvalidInput("The name of a file is one that removes others from an image. Give it another.")
    sizes = [len(value) for value in entry.attributes.values()]
    if len(sizes) > MAX_ATTRIBUTES or any(size > MAX_ATTRIBUTE_BYTES for size in sizes):
        raise InvalidInput(f"A file of an image has at most {MAX_ATTRIBUTES} attributes of 64 KiB.")
    if not all(_ATTRIBUTE.fullmatch(name) for name in entry.attributes):
        raise InvalidInput("An attribute of a file is security.capability, or has a name in user.")
    if entry.removes is None:
        return entry
    checked_name(entry.name)
    place = f"{entry.name}/{OPAQUE}" if entry.removes == "content" else f"{folder}/{WHITEOUT}{last}".lstrip("/")
    return Entry(place, b"")


def checked_name(name: str) -> str:
    """The name, if it is relative, normal and on one line."""
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or any(ord(char) < 32 or char == "\x7f" for char in name):
        raise InvalidInput("The name of a file is not allowed in an image.")
    return name


def _add(tar: tarfile.TarFile, entry: Entry) -> None:
    info = tarfile.TarInfo(entry.name)
    info.mtime = SOURCE_EPOCH
    info.mode = entry.mode
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in sorted(entry.attributes.items())
    }
    if entry.same_as is not None:
        info.type, info.linkname = tarfile.LNKTYPE, entry.same_as
        tar.addfile(info)
    elif entry.link is not None:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.link, 0o777
        tar.addfile(info)
    elif entry.source is None:
        info.type = tarfile.DIRTYPE
        tar.addfile(info)
    elif isinstance(entry.source, bytes):
        info.size = len(entry.source)
        tar.addfile(info, io.BytesIO(entry.source))
    elif entry.slim and is_elf(entry.source):
        data = slim(entry.source)
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    else:
        _add_file(tar, info, entry.source)


def _add_file(tar: tarfile.TarFile, info: tarfile.TarInfo, path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidInput("An image holds plain files only.")
        info.size = status.st_size
        tar.addfile(info, file)
