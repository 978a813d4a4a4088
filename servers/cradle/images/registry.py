"""A public image by digest as the base, straight over a registry's API, without an engine.

Protocol: OCI distribution 1.1 (https://github.com/opencontainers/distribution-spec), token authentication as registries
have it (https://distribution.github.io/distribution/spec/auth/token/), anonymous. Everything that arrives is checked
against its digest, from the pinned one down; layers are kept as they are.
"""

from __future__ import annotations

import io
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import urljoin, urlsplit

import orjson
from pydantic import ValidationError

from servers.cradle.images.compression import MEDIA_TYPES
from servers.cradle.images.files import work_name
from servers.cradle.images.layers import Layer, room_or_clean, tarfile_bytes
from servers.cradle.images.streams import BLOCK, Hash, Hashing
from shared.certificates import fault
from shared.contracts.image import PINNED, Compression
from shared.contracts.model import Contract
from shared.errors import Conflict, InvalidInput, NotFound, Unavailable
from shared.ids import Digest, digest, digest_file

if TYPE_CHECKING:
    import requests

SCHEME = "docker://"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_SMALL, _LARGEST = 4 * 2**20, 2 * 2**30
_MAX_LAYERS = 64
_TIMEOUT_S = (10, 60)
_LOOPBACK = ("127.0.0.1", "localhost")


class _Pulled(Contract):
    """What is known of a layer that lies in the cache."""

    digest: Digest
    diff_id: Digest
    size: int
    content_size: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """An image in a registry, named by the digest of its manifest or of an index of several architectures."""

    host: str
    name: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> Pinned:
        """From `docker://host/name@sha256:…`.

        Raises:
            InvalidInput: it is written differently; a tag alone is not enough, since what it names changes.
        """
        found = re.fullmatch(PINNED, text)
        if found is None:
            raise InvalidInput(
                "A base image in a registry is named docker://HOST/NAME@sha256:DIGEST. Check P0711_BASE_IMAGE.",
                field="base_image",
            )
        return cls(found["host"], found["name"], found["digest"])


def chosen(setting: str | None) -> Path | Pinned | None:
    """The base that P0711_BASE_IMAGE names."""
    if setting is None:
        return None
    return Pinned.parse(setting) if setting.startswith(SCHEME) else Path(setting)


def pull(pinned: Pinned, architecture: str, cache: Path) -> list[Layer]:
    """The image's layers, lowest first, in `cache`; blocking. What is there already is not fetched again.

    Args:
        architecture: which one of an index.

    Raises:
        NotFound: the registry has no such image, or not for this architecture.
        Conflict: what arrived is not what its digest says.
        InvalidInput: an image of a kind that is no base: a layer is no tar in gzip or zstd, or it is too large.
        Unavailable: the registry does not answer.
        StorageFull: no room; nothing half is left behind.
    """
    registry = _Registry(pinned)
    try:
        manifest = registry.manifest(pinned.digest)
        if manifest.get("mediaType") in _INDEXES or "manifests" in manifest:
            manifest = registry.manifest(_of_architecture(manifest, architecture))
        config = orjson.loads(registry.small(_listed(manifest["config"])))
        diff_ids = config["rootfs"]["diff_ids"]
        described = [(each["mediaType"], _listed(each), int(each["size"])) for each in manifest["layers"]]
        if config.get("architecture") != architecture or config.get("os") != "linux":
            raise NotFound(f"The base image is not for linux/{architecture}. Pin one that is.", field="base_image")
        if len(diff_ids) != len(described) or len(described) > _MAX_LAYERS:
            raise Conflict("The base image's manifest and configuration do not fit each other. Pin another one.")
        layers = []
        for (kind, blob, size), diff_id in zip(described, diff_ids, strict=True):
            if kind not in MEDIA_TYPES or size > _LARGEST:
                raise InvalidInput("A layer of the base image is no tar in gzip or zstd. Pin another image.")
            layers.append(_kept(registry, blob, size, diff_id, cache, MEDIA_TYPES[kind]))
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Conflict("The registry's answer is not an image's manifest. Check P0711_BASE_IMAGE.") from None
    return layers


def _listed(descriptor: dict[str, Any]) -> str:
    found = str(descriptor["digest"])
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", found):
        raise ValueError("not a digest")
    return found


def _of_architecture(index: dict[str, Any], architecture: str) -> str:
    for entry in index["manifests"]:
        platform = entry.get("platform") or {}  # provenance beside the images may have none
        if (platform.get("os"), platform.get("architecture")) == ("linux", architecture):
            return _listed(entry)
    raise NotFound(f"The base image has no linux/{architecture}. Pin one that has.", field="base_image")


def _kept(registry: _Registry, blob: str, size: int, diff_id: str, cache: Path, compression: Compression) -> Layer:
    path = cache / blob.removeprefix("sha256:")
    record = cache / f"pulled-{path.name}.json"
    known = _read(record)
    whole = path.is_file() and path.stat().st_size == size
    if known is None or not whole or known.diff_id != diff_id:
        partial = cache / work_name(".partial-pulled")
        with room_or_clean(partial):
            if not whole or digest_file(path) != blob:
                with partial.open("xb", buffering=BLOCK) as out:
                    registry.blob(blob, size, out)
                partial.replace(path)
            known = _unpacked(path, blob, size, diff_id)
            partial.write_text(known.model_dump_json())
            partial.replace(record)
    return Layer("base", known.digest, known.diff_id, known.size, known.content_size, path, compression)


def _unpacked(path: Path, blob: str, size: int, diff_id: str) -> _Pulled:
    state, length = Hash(), 0
    try:
        with tarfile_bytes(path) as plain:
            while block := plain.read(BLOCK):
                state.update(block)
                length += len(block)
    except (OSError, EOFError, ValueError) as error:
        if getattr(error, "errno", None) is not None:
            raise
        length = -1
    if "sha256:" + state.hexdigest() != diff_id or length < 0:
        raise Conflict("A layer of the base image is not what its configuration says. Pin another image.")
    return _Pulled(digest=blob, diff_id=diff_id, size=size, content_size=length)


def _read(record: Path) -> _Pulled | None:
    try:
        return _Pulled.model_validate_json(record.read_bytes())
    except (OSError, ValidationError):
        return None


class _Registry:
    """One repository of a registry."""

    def __init__(self, pinned: Pinned) -> None:
        import requests

        self._session = requests.Session()
        self._session.trust_env = True  # proxies of the machine
        self._session.verify = os.environ.get("SSL_CERT_FILE") or True
        host = pinned.host.rpartition(":")[0] or pinned.host
        scheme = "http" if host in _LOOPBACK else "https"
        self._base = f"{scheme}://{pinned.host}/v2/{pinned.name}/"
        self._scheme = scheme
        self._name = pinned.name

    def manifest(self, wanted: str) -> dict[str, Any]:
        raw = self._limited(f"manifests/{wanted}", wanted, {"Accept": ", ".join((*_INDEXES, *_MANIFESTS))})
        return orjson.loads(raw)

    def small(self, wanted: str) -> bytes:
        """A small blob."""
        return self._limited(f"blobs/{wanted}", wanted, {})

    def blob(self, wanted: str, size: int, target: BinaryIO) -> None:
        """A large one, into a file."""
        state = Hashing(target)
        with self._get(f"blobs/{wanted}", {}) as answer:
            self._copy(answer, state, size)
        if state.size != size or state.digest != wanted:
            raise Conflict("What the registry sent is not what its digest says. Try again, or another registry.")

    def _limited(self, place: str, wanted: str, headers: dict[str, str]) -> bytes:
        found = io.BytesIO()
        with self._get(place, headers) as answer:
            self._copy(answer, Hashing(found), _SMALL)
        if digest(found.getvalue()) != wanted:
            raise Conflict("What the registry sent is not what its digest says. Try again, or another registry.")
        return found.getvalue()

    def _copy(self, answer: requests.Response, target: Hashing, limit: int) -> None:
        import requests

        try:
            for block in answer.iter_content(BLOCK):
                target.write(block)
                if target.size > limit:
                    raise Conflict("The registry sent more than its manifest says. Try another registry.")
        except requests.RequestException:
            raise Unavailable("The registry broke off. Try again.") from None

    def _get(self, place: str, headers: dict[str, str]) -> requests.Response:
        import requests

        try:
            answer = self._session.get(self._base + place, headers=headers, stream=True, timeout=_TIMEOUT_S)
            if answer.status_code == 401 and "Authorization" not in self._session.headers:
                self._log_in(answer.headers.get("WWW-Authenticate", ""))
                return self._get(place, headers)
        except requests.RequestException as error:
            if (wrong := fault(error)) is not None:
                raise Unavailable(f"The TLS certificate of the base image's registry {wrong}.") from None
            raise Unavailable("The registry of the base image does not answer. Check P0711_BASE_IMAGE.") from None
        if answer.status_code == 404:
            raise NotFound("The registry has no such image. Check P0711_BASE_IMAGE.", field="base_image")
        if answer.status_code != 200:
            raise Unavailable(f"The registry of the base image answered {answer.status_code}. Try again.")
        return answer

    def _log_in(self, challenge: str) -> None:
        """An anonymous token to pull, from the place that the registry names."""
        asked = dict(_CHALLENGE.findall(challenge))
        realm = urljoin(self._base, asked.get("realm", ""))
        if not challenge.lower().startswith("bearer") or urlsplit(realm).scheme not in ("https", self._scheme):
            raise Unavailable("The registry of the base image wants a login. Pin a public image.")
        scope = asked.get("scope") or f"repository:{self._name}:pull"
        parameters = {"scope": scope, **({"service": asked["service"]} if "service" in asked else {})}
        answer = self._session.get(realm, params=parameters, timeout=_TIMEOUT_S)
        try:
            found = orjson.loads(answer.content)
            token = str(found.get("token") or found["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise Unavailable("The registry of the base image gives no token. Pin a public image.") from None
        self._session.headers["Authorization"] = f"Bearer {token}"
