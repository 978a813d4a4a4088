"""Compression of layers: gzip, which every engine reads, or zstd, which makes an image a sixth smaller.

The same content gives the same bytes on every machine with the same isal and zstandard.
"""

from __future__ import annotations

from typing import IO, Any, Protocol

from servers.cradle.images.streams import Writable
from shared.contracts.image import Compression

MEDIA_TYPES: dict[str, Compression] = {
    "application/vnd.oci.image.layer.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
}
"""What a manifest calls a layer; the first of each is what ours says."""
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, unknown system
_MAGIC: dict[bytes, Compression] = {_GZIP_HEADER[:2]: "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


class Compressor(Protocol):
    """Compresses what is written to it into its target."""

    def write(self, data: bytes, /) -> int: ...

    def close(self) -> None:
        """Write what is held back, and the end."""
        ...


class Gzip:
    """A gzip stream with a fixed header.

    Args:
        level: isal's, 0 (fast) to 3 (small).
    """

    def __init__(self, target: Writable, level: int) -> None:
        from isal import isal_zlib

        self._target = target
        self._compressor = isal_zlib.compressobj(level, isal_zlib.DEFLATED, -15)
        self._crc32 = isal_zlib.crc32
        self._crc = 0
        self._size = 0
        target.write(_GZIP_HEADER)

    def write(self, data: bytes) -> int:
        self._crc = self._crc32(data, self._crc)
        self._size += len(data)
        self._target.write(self._compressor.compress(data))
        return len(data)

    def close(self) -> None:
        self._target.write(self._compressor.flush())
        self._target.write(self._crc.to_bytes(4, "little") + (self._size & 0xFFFFFFFF).to_bytes(4, "little"))


class Zstd:
    """One zstd frame.

    Args:
        level: 1 (fast) to 19 (small).
    """

    def __init__(self, target: Writable, level: int) -> None:
        import zstandard

        self._target = target
        self._compressor = zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()

    def write(self, data: bytes) -> int:
        self._target.write(self._compressor.compress(data))
        return len(data)

    def close(self) -> None:
        self._target.write(self._compressor.flush())


def compressor(kind: Compression, target: Writable, *, small: bool) -> Compressor:
    """A compressor onto a target: fast, or small for what is written once and shipped often."""
    if kind == "gzip":
        return Gzip(target, 3 if small else 1)
    return Zstd(target, 9 if small else 3)


class _Unzstd:
    """What is in a zstd frame. One that was cut off ends early: whoever needs all of it compares a digest."""

    def __init__(self, file: Any) -> None:
        import zstandard

        self._stream = zstandard.ZstdDecompressor().stream_reader(file, closefd=False)
        self._damage = zstandard.ZstdError

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except self._damage as error:
            raise ValueError("no zstd, or damaged") from error


def media_type(kind: Compression) -> str:
    """What our manifests call such a layer."""
    return next(name for name, each in MEDIA_TYPES.items() if each == kind)


def kind_of(file: IO[bytes]) -> Compression | None:
    """How a file is compressed, by its first bytes; it is at its start before and after. None: not at all."""
    start = file.read(4)
    file.seek(0)
    return next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)


def decompressed(file: Any, kind: Compression | None) -> Any:
    """What is in a file, to read from start to end. Where it is damaged, it raises OSError, EOFError or ValueError."""
    if kind == "gzip":
        from isal import igzip

        return igzip.IGzipFile(fileobj=file, mode="rb")
    if kind == "zstd":
        return _Unzstd(file)
    return file
