"""The instances of customers: deploying an image, updating what runs, going back, stopping, listing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from servers.cradle.deployments.access import Access
from servers.cradle.deployments.access_keys import key_file
from servers.cradle.deployments.rollout import Rollout
from servers.cradle.deployments.store import TAKEN, DeploymentStore, Row
from servers.cradle.images.containers import Containers
from servers.cradle.images.engine import IN_USE, Engine, PortInUse, address
from servers.cradle.images.running import answers_healthy, listens
from servers.cradle.images.signed import SignedImage
from shared.client import Upstream
from shared.contracts.deployment import Deployment, DeploymentMade, How, Question
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import DatasetVersions
from shared.errors import Conflict, InvalidInput, NotFound, PlatformError, Unavailable
from shared.postgres.database import Database
from shared.postgres.lease import Lease
from shared.settings import Settings
from shared.signatures import Verifier
from shared.telemetry import event

T = TypeVar("T")
LOCAL = "local"
CANCELLED = "The call was cancelled before its turn came. Nothing was changed."
NOTHING_THERE = "Nothing is deployed on this host: deploy_customer deploys the newest image."


class Deployments:
    """The instances of customers, on the engines that the operator named.

    Args:
        database: `installation_configs`, opened by the caller.
        verifier: whose images are deployed and whose updates instances take.
        token_keys: gives the marketplace's public keys, a JSON Web Key Set, with which instances check its tokens;
            None: they take their access key alone.
    """

    def __init__(
        self, settings: Settings, database: Database, verifier: Verifier,
        token_keys: Callable[[], Awaitable[str]] | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._database = database
        self._store = DeploymentStore(database)
        self._verifier = verifier
        self._access = Access(settings, verifier, token_keys)
        self._exchanges: set[asyncio.Task[Any]] = set()
        self._turns: dict[tuple[str, str], asyncio.Lock] = {}

    async def deploy(
        self, customer: str, image: SignedImage, host: str, port: int | None, planted: Sequence[Question], *,
        aside: bool = False,
    ) -> DeploymentMade:  # fmt: skip
        """Start the image on a host and let it serve once it passes its gate; what served before serves until then.

        The image that serves already, under the same digest, is left alone. An exchange that has begun is carried to
        its end, or taken back, even where the caller goes.

        Args:
            aside: approved changes that the image lacks are left in the volume, unserved, and not asked for: what
                serves need not answer.

        Raises:
            InvalidInput: the host is not known.
            Unavailable: its engine does not answer, or breaks off: call again.
            Conflict: the gate was not passed, the port is taken, or what serves holds approved changes that the image
                lacks; what served before serves.
        """
        return await self._to_its_end(lambda gone: self._deploy(customer, image, host, port, planted, aside, gone))

    async def switch(self, customer: str, row: Row, built: ImageBuilt, planted: Sequence[Question]) -> DeploymentMade:
        """Let the instance serve another version that it has; back to the one before where the gate is not passed.

        Raises:
            NotFound: it does not have this version.
        """
        wanted = {"dataset_digest": built.dataset_digest}

        async def use(instance: Upstream) -> object:
            return await instance.call("use_version", wanted, DatasetVersions)

        switched: How = "version switched"
        return await self._to_its_end(lambda gone: self._in_place(customer, row, built, planted, switched, use, gone))

    async def update(
        self, customer: str, row: Row, built: ImageBuilt, push: Callable[[Upstream], Awaitable[object]],
        planted: Sequence[Question],
    ) -> DeploymentMade:  # fmt: skip
        """Let `push` bring the instance to the dataset of `built`; back to the one before where it fails its gate."""
        updated: How = "updated in place"
        return await self._to_its_end(lambda gone: self._in_place(customer, row, built, planted, updated, push, gone))

    async def engine_of(self, host: str) -> str:
        """The container engine of a host, in words.

        Raises:
            InvalidInput: the host is not known.
            Unavailable: its engine does not answer.
        """
        engine = await asyncio.to_thread(Engine.connect, self._address(host))
        await asyncio.to_thread(engine.close)
        return engine.how

    async def check(self, customer: str, host: str, port: int | None) -> str:
        """The host's container engine, in words, where a deployment may begin there: at this port, or at any.

        Raises:
            InvalidInput, Unavailable: the host is not known, its engine does not answer.
            Conflict: the deployment has another port, or another deployment or program has this one.
        """
        row = await self._store.on(customer, host)
        if row is not None and port not in (None, row.port):
            raise _has_port(row)
        wanted = port if row is None else None
        if wanted is not None and not await self._store.may_reserve(customer, host, wanted):
            raise Conflict(TAKEN, field="port")
        engine = await asyncio.to_thread(Engine.connect, self._address(host))
        try:
            if wanted is not None and await asyncio.to_thread(listens, engine.reach, wanted):
                raise PortInUse(IN_USE, field="port")
            return engine.how
        finally:
            await asyncio.to_thread(engine.close)

    async def versions(self, customer: str, row: Row) -> DatasetVersions:
        """The versions of the dataset that an instance has.

        Raises:
            Unavailable: it does not answer.
        """
        async with (
            self._engine(customer, row.host) as containers,
            self._access.instance(customer, containers.host, row.port) as instance,
        ):
            return await instance.call("list_versions", {}, DatasetVersions, deadline_s=30)

    async def serving(self, customer: str, host: str | None = None) -> list[Row]:
        """The customer's deployments that serve, of one host or of all."""
        rows = await self._store.all(customer)
        return [row for row in rows if row.state == "serving" and host in (None, row.host)]

    async def listed(self, customer: str) -> list[Deployment]:
        """The customer's deployments, each asked whether it is healthy now."""
        return [await self._looked_at(customer, row) for row in await self._store.all(customer)]

    async def stop(self, customer: str, host: str, *, release: bool) -> bool:
        """Stop the instance. Its port and volume stay, or with `release` go too. False where none ran. What has begun
        is carried to its end even where the caller goes.

        Raises:
            NotFound: nothing was deployed there.
        """
        if await self._store.on(customer, host) is None:
            raise NotFound(NOTHING_THERE, field="host")
        return await self._to_its_end(lambda gone: self._stop(customer, host, release, gone))

    async def erase(self, customer: str) -> int:
        """Remove every container, image and volume of the customer, its ports and its access key: on the hosts where it
        has a port, and on the platform's own engine, which may hold what a check left that died.

        Raises:
            Unavailable: a host's engine does not answer; call again when it does.
        """
        return await self._to_its_end(lambda _: self._erase(customer))

    async def close(self) -> None:
        """Wait until every change that goes on without its caller has come to its safe end."""
        while self._exchanges:
            await asyncio.wait(self._exchanges)

    async def _stop(self, customer: str, host: str, release: bool, gone: asyncio.Event) -> bool:
        async with self._turn(customer, host, gone), self._engine(customer, host) as containers:
            ran = await asyncio.to_thread(containers.stop)
            if release:
                await asyncio.to_thread(containers.erase)
            await (self._store.release if release else self._store.stopped)(customer, host)
        event("deployment_stopped")
        return ran

    async def _erase(self, customer: str) -> int:
        removed = 0
        hosts = {row.host for row in await self._store.all(customer)}
        if address(self._settings.docker_host) is not None:
            hosts.add(LOCAL)
        for host in sorted(hosts):
            async with self._turn(customer, host), self._engine(customer, host) as containers:
                removed += await asyncio.to_thread(containers.erase)
                await self._store.release(customer, host)
        await asyncio.to_thread(key_file(self._settings.home, customer).unlink, True)
        return removed

    async def _deploy(
        self, customer: str, image: SignedImage, host: str, port: int | None, planted: Sequence[Question],
        aside: bool, gone: asyncio.Event,
    ) -> DeploymentMade:  # fmt: skip
        async with self._turn(customer, host, gone), self._engine(customer, host) as containers:
            standing = await asyncio.to_thread(containers.settle)
            ports = self._ports(port)
            row = await self._store.reserve(customer, host, ports)
            if port is not None and row.port != port:
                raise _has_port(row)
            rollout = Rollout(self._store, self._access, containers, customer, row, ports, planted)
            same = standing is not None and standing.image == image.built.manifest_digest
            if standing is not None and same and await rollout.trusts(standing):
                how, checks = await rollout.keep(standing, image)
                return await self._made(customer, host, containers.host, how, checks)
            if standing is not None and not same and row.state != "reserved" and not aside:
                await rollout.require_no_changes(standing)
            checks = await rollout.exchange(image, gone)
            return await self._made(customer, host, containers.host, "deployed", checks)

    async def _in_place(
        self, customer: str, row: Row, built: ImageBuilt, planted: Sequence[Question], how: How,
        change: Callable[[Upstream], Awaitable[object]], gone: asyncio.Event,
    ) -> DeploymentMade:  # fmt: skip
        async with self._turn(customer, row.host, gone), self._engine(customer, row.host) as containers:
            rollout = Rollout(self._store, self._access, containers, customer, row, range(0), planted)
            changed, checks = await rollout.in_place(built, change)
            return await self._made(customer, row.host, containers.host, how if changed else "unchanged", checks)

    async def _to_its_end(self, work: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
        """Await the work. Where the caller is cancelled, the work sees the event and goes on to its own safe end."""
        gone = asyncio.Event()
        task = asyncio.create_task(work(gone), name="deployment")
        self._exchanges.add(task)
        task.add_done_callback(self._exchanges.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            gone.set()
            task.add_done_callback(_seen)
            raise

    async def _made(self, customer: str, host: str, address: str, how: How, checks: int) -> DeploymentMade:
        row = await self._store.on(customer, host)
        assert row is not None  # noqa: S101  it was reserved before
        return DeploymentMade(deployment=self._view(customer, row, address), how=how, checks=checks)

    async def _looked_at(self, customer: str, row: Row) -> Deployment:
        try:
            async with self._engine(customer, row.host) as containers:
                address = containers.host
        except PlatformError:
            return self._view(customer, row, "127.0.0.1", healthy=False)
        healthy = await asyncio.to_thread(answers_healthy, address, row.port)
        return self._view(customer, row, address, healthy=healthy)

    def _view(self, customer: str, row: Row, address: str, *, healthy: bool = True) -> Deployment:
        state: Any = "unhealthy" if row.state == "serving" and not healthy else row.state
        return Deployment(
            customer_id=customer, host=row.host, port=row.port, url=f"http://{address}:{row.port}/mcp", state=state,
            tag=row.tag, image_digest=row.image_digest, dataset_digest=row.dataset_digest,
            access_key_file=str(key_file(self._settings.home, customer)),
        )  # fmt: skip

    @asynccontextmanager
    async def _turn(self, customer: str, host: str, gone: asyncio.Event | None = None) -> AsyncIterator[None]:
        """One change of a deployment at a time, those that go on without their caller included.

        Args:
            gone: set where the caller goes; a change whose turn has not come by then does not begin.

        Raises:
            Unavailable: another process changes it.
            Conflict: the caller has gone.
        """
        async with self._turns.setdefault((customer, host), asyncio.Lock()):
            lease = Lease(self._database.url, f"deployment {customer} {host}")
            try:
                if not await lease.hold():
                    raise Unavailable("Another process changes this deployment. Call again when it has ended.")
                if gone is not None and gone.is_set():
                    raise Conflict(CANCELLED)
                yield
            finally:
                await lease.close()

    @asynccontextmanager
    async def _engine(self, customer: str, host: str) -> AsyncIterator[Containers]:
        engine = await asyncio.to_thread(Engine.connect, self._address(host))
        try:
            yield Containers(engine, self._verifier, customer)
        finally:
            await asyncio.to_thread(engine.close)

    def _address(self, host: str) -> str | None:
        if host == LOCAL:
            return self._settings.docker_host
        if host not in self._settings.deployment_hosts:
            raise InvalidInput("This host is not known. P0711_DEPLOYMENT_HOSTS names the ones there are.", field="host")
        return self._settings.deployment_hosts[host]

    def _ports(self, port: int | None) -> range:
        first, last = self._settings.deployment_ports
        return range(first, last + 1) if port is None else range(port, port + 1)


def _has_port(row: Row) -> Conflict:
    return Conflict(
        f"This deployment has port {row.port}. Leave the port out, or use stop_deployment with release.", field="port"
    )


def _seen(task: asyncio.Task[Any]) -> None:
    """The outcome of work whose caller has gone."""
    error = None if task.cancelled() else task.exception()
    event("deployment_ended_alone", error=error) if error is not None else event("deployment_ended_alone")
