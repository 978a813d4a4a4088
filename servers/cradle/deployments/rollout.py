"""One change of what serves a customer on a host: kept only where the instance passes its gate, else taken back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from servers.cradle.deployments.access import Access
from servers.cradle.deployments.gate import require_answers
from servers.cradle.deployments.store import DeploymentStore, Row
from servers.cradle.images.containers import Containers, Standing
from servers.cradle.images.engine import PortInUse
from servers.cradle.images.running import wait_until_healthy
from servers.cradle.images.signed import SignedImage
from shared.client import Upstream
from shared.contracts.deployment import How, Question
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import DatasetVersion, DatasetVersions
from shared.errors import Conflict, PlatformError, Unavailable
from shared.telemetry import event

PORTS_TRIED = 20
CHANGED = (
    "The version that is served holds approved changes, which this image lacks. Go back with rollback_customer, deploy,"
    " and make the changes again."
)
UNKNOWN = (
    "What serves does not answer, so whether it holds approved changes is not known. Look at its log, or stop it with"
    " stop_deployment and deploy again: then changes go on only with the image that they were made on."
)
NOT_TAKEN_BACK = (
    "What served before may not serve now: it could not be started again. list_deployments shows whether it does; "
    "deploy_customer tries again."
)
NOT_GONE_BACK = (
    "It did not go back to the version before either: it serves the one that did not pass, or does not answer. Once it "
    "answers, rollback_customer goes back; deploy_customer starts it again."
)


class Rollout:
    """Made for one change, while nobody else changes this deployment.

    Args:
        row: the deployment as stored.
        ports: of these a first deployment takes a later one where another program has its own.
        planted: questions with known answers, which the gate asks.
    """

    def __init__(
        self, store: DeploymentStore, access: Access, containers: Containers, customer: str, row: Row, ports: range,
        planted: Sequence[Question],
    ) -> None:  # fmt: skip
        self._store = store
        self._access = access
        self._containers = containers
        self._customer = customer
        self._row = row
        self._ports = ports
        self._planted = planted

    async def trusts(self, standing: Standing) -> bool:
        """Whether the container was made with the present access key and token keys: it takes no others."""
        environment = await self._access.environment(self._customer, self._containers.host, self._row.port)
        return {f"{name}={value}" for name, value in environment.items()} <= standing.environment

    async def keep(self, standing: Standing, image: SignedImage) -> tuple[How, int]:
        """The same image is there: it runs, or is started again. An update that it took is set aside; approved changes
        go on being served.

        Returns:
            How, and the number of checks that it passed.
        """
        await self._started(standing)
        async with self._instance() as instance:
            served, switched = await _serve_own(instance, image.built.dataset_digest)
            checks = await require_answers(instance, served, self._planted)
        await self._store.serving(self._customer, self._row.host, _noted(image.built, self._row, served))
        return "version switched" if switched else "unchanged", checks

    async def require_no_changes(self, standing: Standing) -> None:
        """What serves, started again where it was stopped, holds nothing that another image would lose."""
        try:
            await self._started(standing)
            async with self._instance() as instance:
                current = await _current(instance)
        except PlatformError:
            raise Conflict(UNKNOWN) from None
        if current.origin == "change":
            raise Conflict(CHANGED)

    async def exchange(self, image: SignedImage, gone: asyncio.Event) -> int:
        """Try the image beside what serves, and let it take over; how many checks it passed.

        Args:
            gone: set where the caller goes; what has not taken over by then does not.

        Raises:
            Conflict: it did not pass its gate, or the caller has gone; what served before serves.
            Unavailable: the engine breaks off; it also says where what served before may not serve.
        """
        containers = self._containers
        loaded = await asyncio.to_thread(containers.load, image.tar, image.built)
        try:
            checks = await self._try_candidate(loaded, image.built)
            if gone.is_set():
                raise Conflict("The deployment was cancelled. What served before serves.")
            await self._cut_over(loaded, image.built)
            await self._confirm(image.built)
        except BaseException as why:
            try:
                await asyncio.to_thread(containers.settle)
                await asyncio.to_thread(containers.drop_image, loaded)
            except PlatformError as error:  # an engine that is gone, a port that is taken: the next call tries again
                event("exchange_not_taken_back", level=logging.ERROR, error=error)
                if isinstance(why, PlatformError):
                    raise Unavailable(f"{why.message} {NOT_TAKEN_BACK}") from None
            raise
        event("deployment_exchanged")
        return checks

    async def in_place(self, built: ImageBuilt, change: Callable[[Upstream], Awaitable[object]]) -> tuple[bool, int]:
        """Let the instance change its own dataset to that of `built`; back to the one before where it fails its gate.

        Returns:
            Whether it was changed now, and the number of checks that it passed.

        Raises:
            Conflict: it did not pass its gate; it serves the version before.
            Unavailable: it does not answer; it also says where the version before may not serve.
        """
        async with self._instance() as instance:
            served = (await _current(instance)).dataset_digest
            there = served == built.dataset_digest  # an earlier call may have died before its gate
            before = self._row.dataset_digest if there else served
            try:
                if not there:
                    await change(instance)
                checks = await require_answers(instance, built.dataset_digest, self._planted)
            except PlatformError as why:
                try:
                    if before is not None:
                        await instance.call("use_version", {"dataset_digest": before}, DatasetVersions)
                except PlatformError as error:  # the next call asks the gate again, and goes back
                    event("version_not_gone_back", level=logging.ERROR, error=error)
                    raise Unavailable(f"{why.message} {NOT_GONE_BACK}") from None
                raise
        image = built.model_copy(update={"manifest_digest": self._row.image_digest or built.manifest_digest})
        await self._store.serving(self._customer, self._row.host, image)
        event("deployment_version_changed")
        return not there, checks

    async def _started(self, standing: Standing) -> None:
        containers = self._containers
        if not standing.running:
            await asyncio.to_thread(containers.start)
        await wait_until_healthy(containers.host, self._row.port, lambda: not containers.running())

    async def _try_candidate(self, loaded: str, built: ImageBuilt) -> int:
        """How many checks a container of the image passes, beside what serves."""
        containers = self._containers
        environment = await self._access.environment(self._customer, containers.host, self._row.port)
        port = await asyncio.to_thread(containers.start_candidate, loaded, built, environment)
        try:
            await wait_until_healthy(containers.host, port, containers.candidate_ended)
            async with self._access.instance(self._customer, containers.host, port) as candidate:
                return await require_answers(candidate, built.dataset_digest, self._planted)
        finally:
            await asyncio.to_thread(containers.drop_candidate)

    async def _cut_over(self, loaded: str, built: ImageBuilt) -> None:
        """Exchange at the deployment's port. A first deployment whose port another program has gets another one."""
        containers, host = self._containers, self._row.host
        for _ in range(PORTS_TRIED):
            environment = await self._access.environment(self._customer, containers.host, self._row.port)
            try:
                await _to_end(containers.exchange, loaded, built, environment, self._row.port)
                return
            except PortInUse:
                await _to_end(containers.roll_back)
                if self._row.state != "reserved":
                    raise
                await asyncio.to_thread(containers.remove_volume)  # without a row nobody knows of it
                await self._store.release(self._customer, host)
                if not (further := range(self._row.port + 1, self._ports.stop)):
                    raise
                self._row = await self._store.reserve(self._customer, host, further)
        await self._store.release(self._customer, host)
        raise Conflict("No free port was found for the deployment. Set P0711_DEPLOYMENT_PORTS to others.", field="port")

    async def _confirm(self, built: ImageBuilt) -> None:
        """What was exchanged is healthy at its address and serves the image's dataset; then what served before goes."""
        containers = self._containers
        await wait_until_healthy(containers.host, self._row.port, containers.exchanged_ended)
        async with self._instance() as instance:
            served, _ = await _serve_own(instance, built.dataset_digest)
        await _to_end(containers.confirm)
        await self._store.serving(self._customer, self._row.host, _noted(built, self._row, served))

    @asynccontextmanager
    async def _instance(self) -> AsyncIterator[Upstream]:
        async with self._access.instance(self._customer, self._containers.host, self._row.port) as instance:
            yield instance


async def _current(instance: Upstream) -> DatasetVersion:
    """The version of its dataset that an instance serves.

    Raises:
        Unavailable: it does not answer.
    """
    found = await instance.call("list_versions", {}, DatasetVersions, deadline_s=30)
    return next(each for each in found.versions if each.current)


async def _serve_own(instance: Upstream, dataset_digest: str) -> tuple[str, bool]:
    """Let the image's own dataset be served in place of an update, never in place of approved changes.

    Returns:
        What is served now, and whether it was switched to.
    """
    current = await _current(instance)
    if current.origin == "change" or current.dataset_digest == dataset_digest:
        return current.dataset_digest, False
    await instance.call("use_version", {"dataset_digest": dataset_digest}, DatasetVersions)
    return dataset_digest, True


def _noted(built: ImageBuilt, row: Row, served: str) -> ImageBuilt:
    """What the row says of an image that serves; the tag is the one that approved changes were made on."""
    if served == built.dataset_digest:
        return built
    return built.model_copy(update={"tag": row.tag or built.tag, "dataset_digest": served})


async def _to_end(work: Callable[..., object], *arguments: object) -> None:
    """Run blocking work in a thread, and wait for its end even where this task is cancelled meanwhile."""
    thread = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        raise
