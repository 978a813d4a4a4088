"""The container engine, through the docker SDK: build, load, start, remove. All of it blocks.

What holds customer content (images, containers) is removed again: the engine keeps nothing after a build or a check.
"""

from __future__ import annotations

import io
import os
import platform
import tarfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import orjson

from servers.cradle.images.assemble import Assembled
from servers.cradle.images.contexts import of_context
from servers.cradle.images.files import maker_lives, new_file, work_name
from servers.cradle.images.layers import Layer, room_or_clean
from servers.cradle.images.render import dockerfile
from servers.cradle.images.sending import files_there, pieces
from servers.cradle.images.spec import SCRATCH, ImageSpec
from servers.cradle.images.streams import Hashing, add_file
from shared.errors import Conflict, StorageFull, Unavailable
from shared.ids import digest

if TYPE_CHECKING:
    import docker

_TIMEOUT_S = 600
_BLOCK = 1 << 20
_USUAL = "/var/run/docker.sock"
OWNER = "com.0711.deployment"  # label of every container that the platform starts: whose it is
CHECK = "com.0711.check"  # label of a container that is started to be looked at: by which process
HOST = "com.0711.host"  # and on which host
OURS = "0711/"  # how the names of built images begin
CLOSED_IN: dict[str, Any] = {
    "read_only": True,
    "tmpfs": {SCRATCH: "size=1g,mode=1777,nosuid,nodev"},
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 512,
}
"""How every container of an image runs."""


def address(docker_host: str | None) -> str | None:
    """The engine's address: the setting, DOCKER_HOST, or the usual socket where there is one."""
    found = docker_host or os.environ.get("DOCKER_HOST")
    if not found and Path(_USUAL).exists():
        found = f"unix://{_USUAL}"
    return found or None


IN_USE = "Another program has this port on the engine's machine. Choose another, or leave the port out."


class PortInUse(Conflict):
    """Another program has the port on the engine's machine."""


def reachable(docker_host: str | None) -> bool:
    """Whether a container engine answers."""
    try:
        Engine.connect(docker_host).close()
    except Unavailable:
        return False
    return True


@dataclass(slots=True)
class Container:
    """A started container with its port on the engine's host; `began` is the monotonic time of its start."""

    engine: Engine
    id: str
    image: str
    host: str
    port: int
    began: float = 0.0

    def exited(self) -> bool:
        """Whether it is no longer running."""
        return not self.engine.inspect(self.id)["State"]["Running"]

    def remove(self) -> None:
        """Stop it; remove it and its image."""
        with suppress(Unavailable), plain():
            self.engine.api.stop(self.id, timeout=25)
        with suppress(Unavailable), plain():
            self.engine.api.remove_container(self.id, v=True, force=True)
        self.engine.drop_image(self.image)


class Engine:
    """A connection to the engine. A context manager."""

    def __init__(self, client: docker.DockerClient, host: str, version: str) -> None:
        self._client = client
        self.api: Any = client.api
        self._host = host
        self.how = f"container engine {version}, read-only, no capabilities"

    @classmethod
    def connect(cls, docker_host: str | None) -> Self:
        """Open a connection.

        Raises:
            Unavailable: no engine answers at the setting, DOCKER_HOST or the usual socket.
        """
        found = address(docker_host)
        if found is None:
            raise Unavailable(
                "There is no container engine here: start one, or name it in P0711_DOCKER_HOST and start the platform"
                " anew. Images and deliveries are made without one."
            )
        import docker
        from docker.errors import DockerException

        found, tls = of_context(found)
        try:
            client = docker.DockerClient(base_url=found, timeout=_TIMEOUT_S, tls=tls)
            version = str(client.version()["Version"])
        except (DockerException, OSError, ValueError):  # the last: DOCKER_HOST is no address
            raise Unavailable(
                "The container engine does not answer. Start it, or look at its address: P0711_DOCKER_HOST, of a"
                " further host P0711_DEPLOYMENT_HOSTS."
            ) from None
        return cls(client, found, version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def inspect(self, container: str) -> dict[str, Any]:
        """What the engine knows of a container."""
        with plain():
            return self.api.inspect_container(container)

    def build(self, spec: ImageSpec, layers: Sequence[Layer], target: Path) -> Assembled:
        """Let the engine build the image of these layers from the Dockerfile, and save it to `target`.

        By the engine's own builder, though buildx be there: BuildKit keeps context and layers, with all content,
        in a cache where one build's share cannot be told from another's.

        Raises:
            Unavailable: the engine refuses or breaks off.
            StorageFull: no room.
        """
        image = self._build(spec, layers)
        try:
            with plain():
                image_id = str(self.api.inspect_image(image)["Id"])
            return self._save(spec, image_id, target)
        finally:
            with suppress(Unavailable, self._missing()), plain():  # another build of it may have removed it
                self.api.remove_image(image, force=True)

    def _build(self, spec: ImageSpec, layers: Sequence[Layer]) -> str:
        names = [f"{number:02}-{layer.kind}.tar.gz" for number, layer in enumerate(layers)]
        text = dockerfile(spec, names).encode()
        with _context(text, list(zip(names, layers, strict=True))) as context, plain():
            answer = self.api.build(
                fileobj=context,
                custom_context=True,
                tag=spec.reference,
                nocache=True,
                rm=True,
                forcerm=True,
                decode=True,
            )
            for line in answer:
                if "error" in line:
                    raise _engine_error(str(line["error"]))
        return spec.reference

    def _save(self, spec: ImageSpec, image_id: str, target: Path) -> Assembled:
        with room_or_clean(target), new_file(target) as raw:
            whole = Hashing(raw)
            with plain():
                for block in self.api.get_image(spec.reference, chunk_size=_BLOCK):
                    whole.write(block)
        with tarfile.open(target, "r:") as tar:
            name = "index.json" if "index.json" in tar.getnames() else "manifest.json"
            file = tar.extractfile(name)
            data = file.read() if file is not None else b""
        found = orjson.loads(data)
        manifest = found["manifests"][0]["digest"] if name == "index.json" else digest(data)
        return Assembled(image_id, manifest, whole.digest, whole.size)

    def start(
        self, image: Path, image_id: str, port: int, environment: dict[str, str], owner: str | None = None
    ) -> Container:
        """Load an image and start it closed in: read-only, no capabilities, no new privileges, a tmpfs for its scratch.

        Args:
            owner: whose it is (`owner_of`), so that an erasure finds it although the process that started it died. What
                such processes started of the same owner's goes.

        Raises:
            Unavailable: the engine refuses; the image is removed from it again.
        """
        self._sweep(owner)
        loaded = self.load(image, image_id)
        container = None
        try:
            with plain():
                limits = self.api.create_host_config(**CLOSED_IN, port_bindings={port: ("127.0.0.1", None)}, init=False)
                made = self.api.create_container(
                    loaded, environment=environment, host_config=limits, ports=[port],
                    labels={CHECK: work_name("check"), HOST: platform.node()} | ({OWNER: owner} if owner else {}),
                )  # fmt: skip
                container = made["Id"]
                began = time.monotonic()
                self.api.start(container)
                published = self.api.port(container, port)
            return Container(self, container, loaded, self.reach, int(published[0]["HostPort"]), began)
        except BaseException:
            Container(self, container or "", loaded, "", 0).remove()
            raise

    def _sweep(self, owner: str | None) -> None:
        with plain():
            mine = [CHECK, f"{OWNER}={owner}", f"{HOST}={platform.node()}"]  # elsewhere are other processes
            found = self.api.containers(all=True, filters={"label": mine})
        for each in found:
            if not maker_lives(each["Labels"][CHECK]):
                Container(self, each["Id"], each["ImageID"], "", 0).remove()

    def load(self, image: Path, image_id: str) -> str:
        """Load an image, where the engine does not have it yet: ids are digests. What the engine names it by.

        It is sent without the layers that the engine has; should it miss one after all, whole.
        """
        with plain(), suppress(self._missing()):
            return str(self.api.inspect_image(image_id)["Id"])
        known = self._files_there(image)
        if known:
            with suppress(Unavailable):
                return self._loaded(pieces(image, known), image, image_id)
        with image.open("rb") as file:
            return self._loaded(file, image, image_id)

    def _loaded(self, content: Iterable[bytes], image: Path, image_id: str) -> str:
        with plain():
            for line in self.api.load_image(content):
                if "error" in line:
                    raise _engine_error(str(line["error"]))
            try:
                return str(self.api.inspect_image(image_id)["Id"])
            except self._missing():  # engines with containerd's store name an image by its manifest
                return self._reference_in(image)

    def _files_there(self, image: Path) -> set[str]:
        """Which layers' files of an image need not be sent."""
        layers: list[list[str]] = []
        with plain():
            if "io.containerd.snapshotter" in str(self.api.info().get("DriverStatus")):
                return set()
            for each in self.api.images(quiet=True):
                with suppress(self._missing()):  # one that is removed meanwhile
                    layers.append(self.api.inspect_image(each)["RootFS"].get("Layers") or [])
        return files_there(image, layers)

    def drop_image(self, image: str) -> None:
        """Remove an image that no container uses any more; one that is used, or that others named too, stays."""
        names: list[str] = []
        with suppress(Unavailable, self._missing()), plain():
            names = self.api.inspect_image(image)["RepoTags"] or [image]
        for name in names:
            if name.startswith(OURS) or name == image:
                with suppress(Unavailable, self._missing()), plain():
                    self.api.remove_image(name)

    @staticmethod
    def _missing() -> type[Exception]:
        from docker.errors import ImageNotFound

        return ImageNotFound

    @staticmethod
    def _reference_in(image: Path) -> str:
        with tarfile.open(image, "r:") as tar:
            file = tar.extractfile("manifest.json")
            return str(orjson.loads(file.read() if file is not None else b"[]")[0]["RepoTags"][0])

    @property
    def reach(self) -> str:
        """The host under which ports of this engine's machine are reached."""
        parts = urlsplit(self._host)
        return parts.hostname if parts.scheme in ("tcp", "http", "https") and parts.hostname else "127.0.0.1"


@contextmanager
def _context(text: bytes, layers: list[tuple[str, Layer]]) -> Iterator[io.BufferedReader]:
    """The build context as a stream: written while the engine reads it, so that no copy of a layer touches a disk."""
    reader, writer = os.pipe()

    def write() -> None:
        with (
            suppress(OSError),
            os.fdopen(writer, "wb") as out,
            tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            add_file(tar, "Dockerfile", io.BytesIO(text), len(text))
            for name, layer in layers:
                with layer.path.open("rb") as file:
                    add_file(tar, name, file, layer.size)

    thread = threading.Thread(target=write, name="build-context", daemon=True)
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        yield stream
    thread.join(timeout=30)


@contextmanager
def plain() -> Iterator[None]:
    """Turn the SDK's errors into ours; their texts can hold names of files and are left out."""
    from docker.errors import DockerException, ImageNotFound
    from requests import RequestException

    try:
        yield
    except ImageNotFound:
        raise
    except (DockerException, RequestException) as error:
        raise _engine_error(str(error)) from None


def _engine_error(text: str) -> Unavailable | StorageFull | PortInUse:
    if "no space left" in text.lower():
        return StorageFull("The container engine's disk is full. Free some space and call again.")
    if "port is already allocated" in text or "address already in use" in text:
        return PortInUse(IN_USE, field="port")
    return Unavailable("The container engine refused or broke off. Look at its log and call again.")
