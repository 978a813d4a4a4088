"""Read an image's tar back: check every digest, and unpack it where no engine is at hand."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import orjson

from servers.cradle.images.compression import decompressed, kind_of
from servers.cradle.images.layers import OPAQUE, WHITEOUT, checked_name, room_or_clean
from servers.cradle.images.streams import BLOCK, Ahead, Hash
from shared.contracts.image import Architecture
from shared.errors import Conflict, InvalidInput, NotFound
from shared.stopping import stop_if_told

_AHEAD = 1 << 16
_KEPT = 32
_MANIFEST_LIMIT = 4 * 2**20
_DATASET_MANIFEST = "data/manifest.json"


@dataclass(slots=True)
class Contents:
    """What an image says about itself, and what of it was checked.

    `config` is the image's configuration; `blobs` counts layers whose digests were found right; `dataset_manifest` is
    the manifest of the dataset inside, as bytes, where there is one; `layer_sizes` are of the layers' tars, unpacked;
    `manifest_digest` is of what the layout names; `variants` are the image ids by architecture, where it is an index.
    """

    config: dict[str, Any]
    image_id: str
    blobs: int = 0
    files: int = 0
    dataset_manifest: bytes | None = None
    layer_names: list[str] = field(default_factory=list)
    layer_sizes: list[int] = field(default_factory=list)
    manifest_digest: str | None = None
    variants: dict[str, str] = field(default_factory=dict)


def read_image(
    image: Path, target: Path | None = None, below: tuple[str, ...] = ("",), architecture: Architecture | None = None
) -> Contents:
    """Check the digests of an image's configuration and layers, and unpack them into `target`; blocking.

    Args:
        below: unpack only what lies in these folders, such as `data/`.
        architecture: which variant, where the file has it; else the one that the docker archive names.

    Reads what `assemble` writes and what `docker save` writes.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not an image, or it holds names that leave it.
        Conflict: a layer or the configuration is not what the image's manifest says.
        StorageFull: no room to unpack; what was unpacked is removed.
    """
    if not image.is_file():
        raise NotFound("There is no image file. Build the image first.", field="tag")
    try:
        with _cleaned(image, target), tarfile.open(image, "r:") as tar:
            return _read(tar, target, below, architecture)
    except (tarfile.TarError, LookupError, TypeError, AttributeError, ValueError, EOFError):
        raise InvalidInput("The file is not an image, or it is damaged. Build it again.") from None


@contextmanager
def layer_tar(image: Path, number: int) -> Iterator[tarfile.TarFile]:
    """One layer of an image as a tar to read from start to end; digests are not checked.

    Args:
        number: the layer's place, lowest first, from 0.

    Raises:
        InvalidInput: it is not an image, or damaged.
    """
    try:
        with tarfile.open(image, "r:") as tar:
            blob = tar.extractfile(orjson.loads(_small(tar, "manifest.json"))[0]["Layers"][number])
            assert blob is not None  # noqa: S101 - a layer is a file
            raw = decompressed(blob, kind_of(blob))
            with _forward(raw) as layer:
                yield layer
    except (tarfile.TarError, LookupError, ValueError, EOFError):
        raise InvalidInput("The file is not an image, or it is damaged. Build it again.") from None


@contextmanager
def _cleaned(image: Path, target: Path | None) -> Iterator[None]:
    with room_or_clean(at=target or image):
        try:
            yield
        except BaseException:
            if target is not None:
                shutil.rmtree(target, ignore_errors=True)
            raise


@dataclass(frozen=True, slots=True)
class _Image:
    """Where an image's configuration and layers lie in the tar."""

    config: str
    layers: tuple[str, ...]


def _read(
    tar: tarfile.TarFile, target: Path | None, below: tuple[str, ...], architecture: Architecture | None
) -> Contents:
    docker = orjson.loads(_small(tar, "manifest.json"))[0]
    image = _Image(docker["Config"], tuple(docker["Layers"]))
    named, images = _layout(tar) if "index.json" in tar.getnames() else (None, {"": image})
    if image not in images.values():
        raise Conflict("The image's manifest was altered. Build it again.")
    image = images.get(architecture or "", image)
    config, image_id = _configuration(tar, image)
    contents = Contents(config, image_id, layer_names=list(image.layers), manifest_digest=named)
    for name, each in images.items():
        if name:
            contents.variants[name] = _check_variant(tar, name, each, contents)
    diff_ids = config["rootfs"]["diff_ids"]
    if len(diff_ids) != len(image.layers):
        raise Conflict("The image has layers that its configuration does not name. Build it again.")
    for name, diff_id in zip(image.layers, diff_ids, strict=True):
        _read_layer(tar, name, diff_id, contents, target, below)
        contents.blobs += 1
    return contents


def _layout(tar: tarfile.TarFile) -> tuple[str, dict[str, _Image]]:
    """The digest that the layout names, and its image; or, where that is an index, its images by architecture."""
    (named,) = orjson.loads(_small(tar, "index.json"))["manifests"]
    document = _document(tar, named["digest"])
    if "manifests" not in document:
        return named["digest"], {"": _image(document)}
    described = [(each["platform"]["architecture"], each["digest"]) for each in document["manifests"]]
    if len(dict(described)) != len(described):
        raise Conflict("The image's index names an architecture twice. Build it again.")
    return named["digest"], {architecture: _image(_document(tar, digest)) for architecture, digest in described}


def _image(manifest: dict[str, Any]) -> _Image:
    return _Image(_place(manifest["config"]["digest"]), tuple(_place(layer["digest"]) for layer in manifest["layers"]))


def _configuration(tar: tarfile.TarFile, image: _Image) -> tuple[dict[str, Any], str]:
    """An image's configuration, checked against its name, and its id."""
    raw = _small(tar, image.config)
    found = hashlib.sha256(raw).hexdigest()
    if Path(image.config).name.removesuffix(".json") != found:
        raise Conflict("The image's configuration was altered. Build it again.")
    return orjson.loads(raw), "sha256:" + found


def _check_variant(tar: tarfile.TarFile, architecture: str, image: _Image, contents: Contents) -> str:
    """Check an image of the index: the layers that are not read anyway, by their digests; its id."""
    config, image_id = _configuration(tar, image)
    if config["architecture"] != architecture or len(config["rootfs"]["diff_ids"]) != len(image.layers):
        raise Conflict("An image is not what its index says of it. Build it again.")
    for name in image.layers:
        if name in contents.layer_names:
            continue
        blob = tar.extractfile(name)
        if blob is None or hashlib.file_digest(blob, "sha256").hexdigest() != Path(name).name:  # pyright: ignore[reportArgumentType]
            raise Conflict("A layer of the image was altered or damaged. Build it again.")
        contents.blobs += 1
    return image_id


def _document(tar: tarfile.TarFile, digest: str) -> dict[str, Any]:
    """A document of the layout, checked against its digest."""
    raw = _small(tar, _place(digest))
    if "sha256:" + hashlib.sha256(raw).hexdigest() != digest:
        raise Conflict("The image's manifest was altered. Build it again.")
    return orjson.loads(raw)


def _place(digest: str) -> str:
    return "blobs/sha256/" + digest.removeprefix("sha256:")


def _small(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.getmember(name)
    file = tar.extractfile(member)
    if file is None or member.size > _MANIFEST_LIMIT:
        raise InvalidInput("The file is not an image, or it is damaged. Build it again.")
    return file.read()


class _Hashed(io.RawIOBase):
    """A source that is hashed while it is read."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._state = Hash()
        self.size = 0

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self._state.update(data)
        self.size += len(data)
        return data

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def finish(self) -> str:
        """Read to the end; the digest of everything."""
        while self.read(BLOCK):
            pass
        return self._state.hexdigest()


@dataclass(frozen=True, slots=True)
class _Checked:
    """What was found in a layer: how many files, the size of its tar, and the names at its root."""

    files: int
    size: int
    roots: frozenset[str]


_checked: dict[tuple[str, str], _Checked] = {}
"""By the digests of a compressed layer and of the tar in it, of layers that this process has read to their end and
found right. Most of an image is the platform's own, the same in all: a layer of which nothing is unpacked is not
decompressed again to see again what its digest says."""


def _read_layer(
    tar: tarfile.TarFile, name: str, diff_id: str, contents: Contents, target: Path | None, below: tuple[str, ...]
) -> None:
    blob = tar.extractfile(name)
    if blob is None:
        raise InvalidInput("The file is not an image, or it is damaged. Build it again.")
    wanted = {_DATASET_MANIFEST, *(below if target is not None else ())}
    known = _checked.get((Path(name).name, diff_id))
    if known is not None and known.roots.isdisjoint(each.partition("/")[0] for each in wanted) and "" not in wanted:
        if hashlib.file_digest(blob, "sha256").hexdigest() != Path(name).name:  # pyright: ignore[reportArgumentType]
            raise Conflict("A layer of the image was altered or damaged. Build it again.")
        contents.layer_sizes.append(known.size)
        contents.files += known.files
        return
    before, roots = contents.files, set[str]()
    compression = kind_of(blob)
    compressed = _Hashed(blob)
    content = _Hashed(decompressed(compressed, compression))
    try:
        with Ahead(content) as raw, _forward(io.BufferedReader(raw, BLOCK)) as layer:
            for member in layer:
                stop_if_told()
                path = member.name.removeprefix("./")
                roots.add(path.partition("/")[0])
                _take(layer, member, contents, target if path.startswith(below) else None)
        right = "sha256:" + content.finish() == diff_id
        contents.layer_sizes.append(content.size)
    except (OSError, EOFError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        right = False
    if compression and right:
        right = compressed.finish() == Path(name).name
    if not right:
        raise Conflict("A layer of the image was altered or damaged. Build it again.")
    if compression and len(roots) <= _KEPT:
        for key in list(_checked)[: len(_checked) + 1 - _KEPT]:
            _checked.pop(key, None)
        _checked[Path(name).name, diff_id] = _Checked(contents.files - before, content.size, frozenset(roots))


def _forward(content: Any) -> tarfile.TarFile:
    """A tar that is read once, from its start. With each header tarfile copies all that it has read ahead."""
    return tarfile.open(fileobj=content, mode="r|", bufsize=_AHEAD)


def _take(layer: tarfile.TarFile, member: tarfile.TarInfo, contents: Contents, target: Path | None) -> None:
    if member.isdir() and member.name in (".", "./"):
        return  # the root itself, as `tar -C root .` names it
    name = checked_name(member.name.removeprefix("./").rstrip("/"))
    contents.files += member.isreg()
    file: IO[bytes] | None = layer.extractfile(member) if member.isreg() else None
    if file is not None and name == _DATASET_MANIFEST:
        contents.dataset_manifest = file.read()
        file = io.BytesIO(contents.dataset_manifest)
    if target is not None:
        _unpack(member, file, target / name, target)


def _unpack(member: tarfile.TarInfo, file: IO[bytes] | None, path: Path, target: Path) -> None:
    """Put a member at its path below `target`; `file` is the content of a regular one."""
    if path.name.startswith(WHITEOUT):
        _white_out(path)
    elif member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(member.mode & 0o1777)
    elif member.issym():
        _link(target, path, member.linkname)
    elif member.islnk():
        original = target / checked_name(member.linkname.removeprefix("./"))
        if not original.is_file() or original.is_symlink():
            raise InvalidInput("The image holds a link to nothing.")
        _replace(path)
        os.link(original, path)
    elif file is not None:
        _replace(path)
        with path.open("xb") as out:
            shutil.copyfileobj(file, out, BLOCK)
        path.chmod(member.mode & 0o755)
    else:
        raise InvalidInput("The image holds a kind of file that is not unpacked here.")


def _link(target: Path, path: Path, destination: str) -> None:
    """A symbolic link that leads to the same place in the unpacked image as in a container."""
    absolute = destination.startswith("/")
    inside = Path(os.path.normpath(f"{target}{destination}" if absolute else path.parent / destination))
    if not inside.is_relative_to(target):
        raise InvalidInput("The image holds a link that leaves it.")
    _replace(path)
    path.symlink_to(os.path.relpath(inside, path.parent) if absolute else destination)


def _white_out(path: Path) -> None:
    """Remove what lower layers put here: OCI image layer specification, "Whiteouts"."""
    _not_behind_a_link(path)
    if path.name == OPAQUE:
        gone = list(path.parent.iterdir()) if path.parent.is_dir() else []
    else:
        gone = [path.with_name(checked_name(path.name.removeprefix(WHITEOUT)))]
    for each in gone:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)


def _replace(path: Path) -> None:
    """Upper layers replace what lower ones wrote; never through a link."""
    _not_behind_a_link(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink() or path.exists():
        path.unlink()


def _not_behind_a_link(path: Path) -> None:
    for parent in path.parents:
        if parent.is_symlink():
            raise InvalidInput("The image holds a file behind a link.")
        if parent.exists():
            break
