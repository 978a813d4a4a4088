"""Layers without customer content (base, runtime, app, model), kept between builds in HOME/cache/layers.

A layer is found by a key over what it is made of: names, sizes and times of the files; of another architecture's
packages, their versions; of a model, its files' digests. The key is local; the digest of what it leads to depends on
content alone, so that losing the cache costs time, and changes nothing unless an index has other wheels of the same
versions by then.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path

from pydantic import ValidationError

from servers.cradle.images import base, foreign, pycs, runtime, sbom
from servers.cradle.images.files import sweep
from servers.cradle.images.layers import Entry, Layer, import_tar, room_or_clean, tarfile_bytes, write_layer
from servers.cradle.images.registry import Pinned, pull
from servers.cradle.images.spec import PYTHON
from servers.cradle.images.trim import PACKAGES, TRIMS
from shared.contracts.image import Architecture, Compression
from shared.contracts.model import Contract
from shared.errors import InvalidInput
from shared.ids import Digest

_Base = tuple[list[Layer], str, Callable[[], set[str]]]
_RULES = 3  # raise when the code below would make other layers of the same files


class _Record(Contract):
    kind: str
    digest: Digest
    diff_id: Digest
    size: int
    content_size: int
    compression: Compression


def prepared_layers(
    cache: Path, base_image: Path | Pinned | None, architecture: Architecture, compression: Compression = "gzip"
) -> list[Layer]:
    """The layers base (several where it is pulled), runtime and app, from the cache or made now; blocking.

    Args:
        base_image: a root file system tar, or an image in a registry; None: the running Python.
        architecture: another than this machine's needs a base in a registry that has it, and pip.
        compression: of the layers that are made here.

    Raises:
        Unavailable: this machine cannot give a base or lacks a package; says what to do.
        InvalidInput: the base is not readable, or has not this Python.
        NotFound, Conflict: the registry has no such base, or sent another.
        StorageFull: no room for the cache.
    """
    cache.mkdir(parents=True, exist_ok=True)
    sweep(cache, ".partial-")
    lowest, base_key, libraries = _base(cache, base_image, architecture, compression)
    app = runtime.app_files()
    written = partial(write_layer, "app", folder=cache, compression=compression)
    return [
        *lowest,
        _runtime(cache, architecture, (lowest, base_key, libraries), compression),
        _kept(cache, _key("app", app, compression), "app", lambda: written(pycs.with_byte_code(app))),
    ]


def model_layer(
    cache: Path, files: list[Entry], digests: Mapping[str, str], compression: Compression = "gzip"
) -> Layer:
    """The layer of an encoder's files, from the cache or made now; blocking.

    Args:
        digests: of the files, by their names.

    Raises:
        StorageFull: no room for the cache.
    """
    key = _key("model", [], compression, *(f"{name} {value}" for name, value in sorted(digests.items())))
    return _kept(cache, key, "model", lambda: write_layer("model", files, cache, compression=compression))


def _base(cache: Path, base_image: Path | Pinned | None, architecture: Architecture, compression: Compression) -> _Base:
    """The lowest layers, a key for what they are, and the names of the files in them."""
    if architecture != base.architecture() and not isinstance(base_image, Pinned):
        raise InvalidInput(
            f"An image for {architecture} is built on one in a registry. Set P0711_BASE_IMAGE to docker://HOST/NAME@DIGEST.",
            field="base_image",
        )
    if base_image is None:
        files = base.base_files()
        key = _key("base", files, compression)
        written = partial(write_layer, "base", folder=cache, small=True, compression=compression)
        layer = _kept(cache, key, "base", lambda: written(pycs.with_byte_code(files)))
        return [layer], key, lambda: {Path(entry.name).name for entry in files}
    if isinstance(base_image, Pinned):
        layers = pull(base_image, architecture, cache)
        key = _key("base", [], base_image.digest, architecture)
    else:
        key = _key("base", [Entry("base", base_image)], compression)
        imported = partial(import_tar, "base", base_image, cache, small=True, compression=compression)
        layers = [_kept(cache, key, "base", imported)]
    return layers, key, lambda: _with_python(layers)


def _with_python(layers: list[Layer]) -> set[str]:
    """The names of a given base's files.

    Raises:
        InvalidInput: it has not the Python that the packages and their byte code are for.
    """
    names: set[str] = set()
    for layer in layers:
        with tarfile_bytes(layer.path) as raw, tarfile.open(fileobj=raw, mode="r|") as tar:
            names |= {member.name.removeprefix("./") for member in tar}
    wanted = f"{PYTHON.lstrip('/').removesuffix('3')}{sys.version_info[0]}.{sys.version_info[1]}"
    if wanted not in names:
        raise InvalidInput(
            f"The base image has no /{wanted}. Give one with this version of Python, such as python:slim's.",
            field="base_image",
        )
    return {Path(name).name for name in names}


def _runtime(cache: Path, architecture: Architecture, below: _Base, compression: Compression) -> Layer:
    """The packages: those that are installed here or, for another architecture, the same ones as wheels."""
    lowest, base_key, libraries = below
    written = partial(write_layer, "runtime", folder=cache, small=True, compression=compression)
    if architecture == base.architecture():
        files = runtime.package_files(runtime.distributions())
        key = _key("runtime", files, base_key, compression)
        return _kept(cache, key, "runtime", lambda: written(runtime.complete(files, libraries())))

    def make() -> Layer:
        with foreign.packages_for(architecture, foreign.glibc_of(lowest), cache) as packages:
            found = foreign.checked(runtime.package_files(packages), libraries(), architecture)
            return written(pycs.with_byte_code(found))

    rules = [trim.pattern for trim in TRIMS[PACKAGES]]
    key = _key("runtime", [], base_key, compression, *foreign.versions(architecture), *rules)
    return _kept(cache, key, f"{architecture}-runtime", make)


def _kept(cache: Path, key: str, kind: str, make: Callable[[], Layer]) -> Layer:
    record = cache / f"{kind}-{key}.json"
    layer = _read(record)
    if layer is None:
        layer = make()
        fields = _Record(**{name: getattr(layer, name) for name in _Record.model_fields})
        draft = record.with_name(f".{record.name}-{os.getpid()}")
        with room_or_clean(draft):
            draft.write_text(fields.model_dump_json())
            draft.replace(record)
        _forget_others(cache, kind, record)
    return layer


def _read(record: Path) -> Layer | None:
    try:
        fields = _Record.model_validate_json(record.read_bytes())
    except (OSError, ValidationError):
        return None
    blob = record.parent / fields.digest.removeprefix("sha256:")
    if not blob.is_file() or blob.stat().st_size != fields.size:
        return None
    return Layer(fields.kind, fields.digest, fields.diff_id, fields.size, fields.content_size, blob, fields.compression)


def _forget_others(cache: Path, kind: str, keep: Path) -> None:
    """Keep the two newest layers of a kind: an upgrade does not fill the disk."""
    records = sorted(cache.glob(f"{kind}-*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    kept = {layer.path for record in (keep, *records[:2]) if (layer := _read(record))}
    for record in records[2:]:
        layer = _read(record)
        record.unlink(missing_ok=True)
        if layer is not None and layer.path not in kept:
            layer.path.unlink(missing_ok=True)
            sbom.forget(layer.path)


def _key(kind: str, entries: Iterable[Entry], *more: str) -> str:
    state = hashlib.sha256()
    parts = [kind, str(_RULES), sys.version, metadata.version("isal"), metadata.version("zstandard"), *more]
    for entry in sorted(entries, key=lambda each: each.name):
        if isinstance(entry.source, Path):
            status = entry.source.stat()
            parts.append(f"{entry.name} {entry.mode:o} {status.st_size} {status.st_mtime_ns}")
        else:
            parts.append(f"{entry.name} {entry.mode:o} {entry.link} {entry.source!r}")
    for part in parts:
        state.update(part.encode() + b"\0")
    return state.hexdigest()[:32]
