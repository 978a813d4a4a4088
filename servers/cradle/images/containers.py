"""A customer's instance in a container engine, exchanged without loss. All of it blocks.

Names tell the state, so the engine alone says where a deployment stands, whatever died in between:

    0711-<platform>-<customer>             serves
    ….candidate                            is tested, on a port of its own
    ….previous                             served until an exchange that is not confirmed yet

A customer's id holds no dot, so none of these names is another customer's. `<platform>` begins the digest of the
signing key: two platforms may share an engine. The volume `…-state` holds the dataset's updates and outlives every
container.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from servers.cradle.images.engine import CLOSED_IN, OURS, OWNER, Engine, plain
from servers.cradle.images.running import ENDED
from servers.cradle.images.spec import INSTANCE_PORT, STATE
from shared.contracts.image import ImageBuilt
from shared.errors import Unavailable
from shared.signatures import Verifier

_STOP_S = 25
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CUSTOMER = "com.0711.customer"
_IMAGE = "com.0711.deployed-image"
_NAMELESS = "<none>:<none>"
_MEMORY = 4 * 2**30
_CPUS = 2.0


@dataclass(frozen=True, slots=True)
class Standing:
    """The container that serves, or would. `image` is the manifest digest of what it was made from, `environment` the
    variables that it was made with, as `NAME=value`."""

    id: str
    running: bool
    image: str
    environment: frozenset[str]


def owner_of(verifier: Verifier, customer_id: str) -> str:
    """The label of a customer's containers: eight digits of the signing key's digest, and the customer."""
    return f"{verifier.key_id.removeprefix('sha256:')[:8]}-{customer_id}"


class Containers:
    """The containers of one customer on one engine.

    Args:
        verifier: the platform's signing key.
    """

    def __init__(self, engine: Engine, verifier: Verifier, customer_id: str) -> None:
        self._engine = engine
        self._api = engine.api
        self._customer = customer_id
        self._owner = owner_of(verifier, customer_id)
        self._name = f"0711-{self._owner}"
        self._candidate, self._previous = f"{self._name}.candidate", f"{self._name}.previous"

    def settle(self) -> Standing | None:
        """Undo what an earlier call that died left half done, and give the container that serves.

        An exchange that was not confirmed is taken back: the container before it serves again.
        """
        self._remove(self._candidate)
        previous = self._inspect(self._previous)
        if previous is not None:
            self.roll_back()
        found = self._inspect(self._name)
        if found is None:
            return None
        made = found["Config"]
        image, environment = made["Labels"].get(_IMAGE, ""), frozenset(made["Env"] or ())
        return Standing(found["Id"], bool(found["State"]["Running"]), image, environment)

    def load(self, tar: Path, built: ImageBuilt) -> str:
        """Load the image into the engine; what the engine names it by."""
        return self._engine.load(tar, built.image_id)

    def start_candidate(self, image: str, built: ImageBuilt, environment: dict[str, str]) -> int:
        """Start the image beside what serves, on a free port, without the volume; returns the port.

        Raises:
            Unavailable: it ended at once, or the engine broke off.
        """
        self._create(self._candidate, image, built, environment, None, volume=False)
        with plain():
            self._api.start(self._candidate)
            bound = self._api.port(self._candidate, INSTANCE_PORT)
        if not bound:
            raise Unavailable(ENDED)
        return int(bound[0]["HostPort"])

    def candidate_ended(self) -> bool:
        """Whether the candidate runs no more."""
        return self._ended(self._candidate)

    def drop_candidate(self) -> None:
        """Remove the candidate."""
        self._remove(self._candidate)

    def exchange(self, image: str, built: ImageBuilt, environment: dict[str, str], port: int) -> None:
        """Stop what serves, set it aside, and start the image with the volume at `port`. Then `confirm` or `roll_back`.

        Raises:
            PortInUse: another program has the port. What served is set aside still.
        """
        if self._inspect(self._name) is not None:
            with plain():
                self._api.stop(self._name, timeout=_STOP_S)
                self._api.rename(self._name, self._previous)
        self._create(self._name, image, built, environment, port, volume=True)
        with plain():
            self._api.start(self._name)

    def confirm(self) -> None:
        """What was exchanged stays; what served before is removed, and its image with it."""
        previous = self._inspect(self._previous)
        self._remove(self._previous)
        if previous is not None:
            self.drop_image(previous["Image"])

    def roll_back(self) -> None:
        """Remove what was started last; what served before serves again, where there was something."""
        previous = self._inspect(self._previous)
        self._remove(self._name)
        if previous is not None:
            with plain():
                self._api.rename(self._previous, self._name)
                self._api.start(self._name)

    def running(self) -> bool:
        """Whether what serves runs."""
        found = self._inspect(self._name)
        return found is not None and bool(found["State"]["Running"])

    def exchanged_ended(self) -> bool:
        """Whether what was exchanged has ended, though the engine starts it again and again."""
        return self._ended(self._name)

    def start(self) -> None:
        """Start the stopped container again."""
        with plain():
            self._api.start(self._name)

    def stop(self) -> bool:
        """Remove what runs, but its volume. False where nothing ran."""
        was = self.settle()
        if was is not None:
            image = self._inspect(self._name)
            self._remove(self._name)
            self.drop_image(image["Image"] if image else "")
        return was is not None and was.running

    def erase(self) -> int:
        """Remove every container of the customer, those of a check that died included, every image of the customer
        and the volume; returns how many containers and volumes there were.

        Images are found by their label, whether a container was made of them or not. One that a container of another
        platform uses stays, and so does one that somebody has given a name of his own.

        Raises:
            Unavailable: the engine does not answer, or an image could not be removed; call again.
        """
        with plain():
            owned = self._api.containers(all=True, filters={"label": f"{OWNER}={self._owner}"})
        for each in owned:
            self._remove(each["Id"])
        images = set(self._images())
        for image in images:
            self.drop_image(image)
        if images.intersection(self._images()):
            raise Unavailable("An image of the customer could not be removed from the container engine. Call again.")
        return len(owned) + self.remove_volume()

    def remove_volume(self) -> bool:
        """Remove the volume, which no container uses any more. False where there was none."""
        volume = self._volume()
        if volume is not None:
            with plain():
                self._api.remove_volume(volume, force=True)
        return volume is not None

    @property
    def host(self) -> str:
        """Where the ports of this engine are reached."""
        return self._engine.reach

    def _create(
        self, name: str, image: str, built: ImageBuilt, environment: dict[str, str], port: int | None, *, volume: bool
    ) -> None:
        """As the delivered compose file has it: read-only, no capabilities, bounded, a volume for all that changes."""
        from docker.errors import ImageNotFound

        self._remove(name)
        with plain():
            limits = self._api.create_host_config(
                **CLOSED_IN,
                port_bindings={INSTANCE_PORT: ("127.0.0.1" if self.host in _LOOPBACK else "0.0.0.0", port)},  # noqa: S104
                binds={f"{self._name}-state": {"bind": STATE, "mode": "rw"}} if volume else None,
                mem_limit=_MEMORY,
                nano_cpus=self._processors(),
                restart_policy={"Name": "unless-stopped"} if volume else None,
                log_config={"type": "json-file", "config": {"max-size": "10m", "max-file": "3"}},
            )
            try:
                self._api.create_container(
                    image, name=name, environment=environment, host_config=limits, ports=[INSTANCE_PORT],
                    labels={OWNER: self._owner, _IMAGE: built.manifest_digest},
                )  # fmt: skip
            except ImageNotFound:  # a check of the same image, which has just ended, took it away
                raise Unavailable("The image was removed from the container engine meanwhile. Call again.") from None

    def _processors(self) -> int | None:
        """The limit in billionths of a processor: no more than the engine has, and none where it may not limit them
        (rootless, often), which it would refuse."""
        about = self._api.info()
        return int(min(_CPUS, float(about["NCPU"])) * 1e9) if about["CpuCfsQuota"] else None

    def _ended(self, name: str) -> bool:
        found = self._inspect(name)
        return found is None or not found["State"]["Running"] or found["RestartCount"] > 0

    def _inspect(self, name: str) -> dict[str, Any] | None:
        from docker.errors import NotFound

        with plain():
            try:
                return self._api.inspect_container(name)
            except NotFound:
                return None

    def _images(self) -> list[str]:
        """The customer's images that no container uses and nobody has named otherwise."""
        with plain():
            used = {each["ImageID"] for each in self._api.containers(all=True)}
            found = self._api.images(filters={"label": f"{_CUSTOMER}={self._customer}"})
        names = {each["Id"]: [name for name in each["RepoTags"] or [] if name != _NAMELESS] for each in found}
        ours = f"{OURS}{self._customer}:"
        return [
            image
            for image, given in names.items()
            if image not in used and (not given or any(name.startswith(ours) for name in given))
        ]

    def _volume(self) -> str | None:
        with plain():
            found = self._api.volumes(filters={"name": f"{self._name}-state"})["Volumes"] or []
        return next((each["Name"] for each in found if each["Name"] == f"{self._name}-state"), None)

    def _remove(self, name: str) -> None:
        if self._inspect(name) is None:
            return
        with plain():
            self._api.stop(name, timeout=_STOP_S)
            self._api.remove_container(name, v=True, force=True)

    def drop_image(self, image: str) -> None:
        """As `Engine.drop_image`."""
        self._engine.drop_image(image)
