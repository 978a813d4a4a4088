"""Deploying an image, updating what runs, going back: each is kept only when the instance passes its gate."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from servers.cradle.deployments.access_keys import access_key, key_file
from servers.cradle.deployments.gate import require_answers
from servers.cradle.deployments.store import DeploymentStore, Row
from servers.cradle.images.containers import Containers, Standing
from servers.cradle.images.engine import Engine, PortInUse, address
from servers.cradle.images.running import answers_healthy, wait_until_healthy
from servers.cradle.images.signed import SignedImage
from shared.client import Upstream
from shared.contracts.deployment import Deployment, DeploymentMade, Question
from shared.contracts.image import ImageBuilt
from shared.contracts.instance import DatasetVersion, DatasetVersions
from shared.errors import Conflict, InvalidInput, NotFound, PlatformError, Unavailable
from shared.postgres.database import Database
from shared.postgres.lease import Lease
from shared.settings import Settings
from shared.signatures import Verifier
from shared.telemetry import event

LOCAL = "local"
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
        self._token_keys = token_keys
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

        return await self._to_its_end(lambda _: self._in_place(customer, row, built, planted, "version switched", use))

    async def update(
        self, customer: str, row: Row, built: ImageBuilt, push: Callable[[Upstream], Awaitable[object]],
        planted: Sequence[Question],
    ) -> DeploymentMade:  # fmt: skip
        """Let `push` bring the instance to the dataset of `built`; back to the one before where it fails its gate."""
        return await self._to_its_end(lambda _: self._in_place(customer, row, built, planted, "updated in place", push))

    async def engine_of(self, host: str) -> str:
        """The container engine of a host, in words.

        Raises:
            InvalidInput: the host is not known.
            Unavailable: its engine does not answer.
        """
        engine = await asyncio.to_thread(Engine.connect, self._address(host))
        await asyncio.to_thread(engine.close)
        return engine.how

    async def versions(self, customer: str, row: Row) -> DatasetVersions:
        """The versions of the dataset that an instance has.

        Raises:
            Unavailable: it does not answer.
        """
        async with self._engine(customer, row.host) as containers, self._instance(customer, row, containers.host) as it:
            return await it.call("list_versions", {}, DatasetVersions, deadline_s=30)

    async def serving(self, customer: str, host: str | None = None) -> list[Row]:
        """The customer's deployments that serve, of one host or of all."""
        rows = await self._store.all(customer)
        return [row for row in rows if row.state == "serving" and host in (None, row.host)]

    async def listed(self, customer: str) -> list[Deployment]:
        """The customer's deployments, each asked whether it is healthy now."""
        return [await self._looked_at(customer, row) for row in await self._store.all(customer)]

    async def stop(self, customer: str, host: str, *, release: bool) -> bool:
        """Stop the instance. Its port and volume stay, or with `release` go too. False where none ran.

        Raises:
            NotFound: nothing was deployed there.
        """
        if await self._store.on(customer, host) is None:
            raise NotFound(NOTHING_THERE, field="host")
        async with self._turn(customer, host), self._engine(customer, host) as containers:
            ran = await asyncio.to_thread(containers.stop)
            if release:
                await asyncio.to_thread(containers.erase)
            await (self._store.release if release else self._store.stopped)(customer, host)
        event("deployment_stopped")
        return ran

    async def erase(self, customer: str) -> int:
        """Remove every container, image and volume of the customer, its ports and its access key: on the hosts where it
        has a port, and on the platform's own engine, which may hold what a check left that died.

        Raises:
            Unavailable: a host's engine does not answer; call again when it does.
        """
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

    async def close(self) -> None:
        """Wait until every exchange that goes on without its caller has come to its safe end."""
        while self._exchanges:
            await asyncio.wait(self._exchanges)

    async def _deploy(
        self, customer: str, image: SignedImage, host: str, port: int | None, planted: Sequence[Question],
        aside: bool, gone: asyncio.Event,
    ) -> DeploymentMade:  # fmt: skip
        async with self._turn(customer, host), self._engine(customer, host) as containers:
            standing = await asyncio.to_thread(containers.settle)
            row = await self._store.reserve(customer, host, self._ports(port))
            if port is not None and row.port != port:
                raise Conflict(
                    f"This deployment has port {row.port}. Leave the port out, or use stop_deployment with release.",
                    field="port",
                )
            if standing is not None and standing.image == image.built.manifest_digest:
                return await self._kept(customer, row, containers, standing, image, planted)
            if standing is not None and row.state != "reserved" and not aside:
                await self._require_no_changes(customer, row, containers, standing)
            return await self._exchange(customer, row, containers, image, port is None, planted, gone)

    async def _kept(
        self, customer: str, row: Row, containers: Containers, standing: Standing, image: SignedImage,
        planted: Sequence[Question],
    ) -> DeploymentMade:  # fmt: skip
        """The same image is there: it runs, or is started again. An update that it took is set aside; approved changes
        go on being served."""
        await self._started(row, containers, standing)
        async with self._instance(customer, row, containers.host) as instance:
            served, switched = await _serve_own(instance, image.built.dataset_digest)
            checks = await require_answers(instance, served, planted)
        await self._store.serving(customer, row.host, _noted(image.built, row, served))
        how = "version switched" if switched else "unchanged"
        return await self._made(customer, row.host, containers.host, how, checks)

    async def _require_no_changes(self, customer: str, row: Row, containers: Containers, standing: Standing) -> None:
        """What serves, started again where it was stopped, holds nothing that another image would lose."""
        try:
            await self._started(row, containers, standing)
            async with self._instance(customer, row, containers.host) as instance:
                current = await _current(instance)
        except PlatformError:
            raise Conflict(UNKNOWN) from None
        if current.origin == "change":
            raise Conflict(CHANGED)

    async def _started(self, row: Row, containers: Containers, standing: Standing) -> None:
        if not standing.running:
            await asyncio.to_thread(containers.start)
        await wait_until_healthy(containers.host, row.port, lambda: not containers.running())

    async def _exchange(
        self, customer: str, row: Row, containers: Containers, image: SignedImage, may_move: bool,
        planted: Sequence[Question], gone: asyncio.Event,
    ) -> DeploymentMade:  # fmt: skip
        loaded = await asyncio.to_thread(containers.load, image.tar, image.built)
        try:
            checks = await self._try_candidate(customer, row, containers, loaded, image.built, planted)
            if gone.is_set():
                raise Conflict("The deployment was cancelled. What served before serves.")
            row = await self._cut_over(customer, row, containers, loaded, image.built, may_move)
            await self._confirm(customer, row, containers, image.built)
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
        return await self._made(customer, row.host, containers.host, "deployed", checks)

    async def _try_candidate(
        self,
        customer: str,
        row: Row,
        containers: Containers,
        loaded: str,
        built: ImageBuilt,
        planted: Sequence[Question],
    ) -> int:
        """How many checks a container of the image passes, beside what serves."""
        environment = await self._environment(customer, containers.host, row.port)
        port = await asyncio.to_thread(containers.start_candidate, loaded, built, environment)
        try:
            await wait_until_healthy(containers.host, port, containers.candidate_ended)
            async with Upstream(f"http://{containers.host}:{port}/mcp", key=environment["INSTANCE_ACCESS_KEY"]) as it:
                return await require_answers(it, built.dataset_digest, planted)
        finally:
            await asyncio.to_thread(containers.drop_candidate)

    async def _cut_over(
        self, customer: str, row: Row, containers: Containers, loaded: str, built: ImageBuilt, may_move: bool
    ) -> Row:
        """Exchange at the deployment's port. A first deployment whose port another program has gets another one."""
        last = self._settings.deployment_ports[1]
        for _ in range(PORTS_TRIED):
            environment = await self._environment(customer, containers.host, row.port)
            try:
                await _to_end(containers.exchange, loaded, built, environment, row.port)
                return row
            except PortInUse:
                await _to_end(containers.roll_back)
                if row.state != "reserved":
                    raise
                await asyncio.to_thread(containers.remove_volume)  # without a row nobody knows of it
                await self._store.release(customer, row.host)
                if not may_move:
                    raise
                row = await self._store.reserve(customer, row.host, range(row.port + 1, last + 1))
        await self._store.release(customer, row.host)
        raise Conflict("No free port was found for the deployment. Set P0711_DEPLOYMENT_PORTS to others.", field="port")

    async def _confirm(self, customer: str, row: Row, containers: Containers, built: ImageBuilt) -> None:
        """What was exchanged is healthy at its address and serves the image's dataset; then what served before goes."""
        await wait_until_healthy(containers.host, row.port, containers.exchanged_ended)
        async with self._instance(customer, row, containers.host) as instance:
            served, _ = await _serve_own(instance, built.dataset_digest)
        await _to_end(containers.confirm)
        await self._store.serving(customer, row.host, _noted(built, row, served))

    async def _in_place(
        self, customer: str, row: Row, built: ImageBuilt, planted: Sequence[Question], how: Any,
        change: Callable[[Upstream], Awaitable[object]],
    ) -> DeploymentMade:  # fmt: skip
        async with (
            self._turn(customer, row.host),
            self._engine(customer, row.host) as containers,
            self._instance(customer, row, containers.host) as instance,
        ):
            served = (await _current(instance)).dataset_digest
            there = served == built.dataset_digest  # an earlier call may have died before its gate
            before = row.dataset_digest if there else served
            try:
                if not there:
                    await change(instance)
                checks = await require_answers(instance, built.dataset_digest, planted)
            except PlatformError:
                if before is not None:
                    with suppress(PlatformError):  # the reason why counts, and the next call asks again
                        await instance.call("use_version", {"dataset_digest": before}, DatasetVersions)
                raise
            image = built.model_copy(update={"manifest_digest": row.image_digest or built.manifest_digest})
            await self._store.serving(customer, row.host, image)
            event("deployment_version_changed")
            return await self._made(customer, row.host, containers.host, "unchanged" if there else how, checks)

    async def _to_its_end(self, work: Callable[[asyncio.Event], Coroutine[Any, Any, DeploymentMade]]) -> DeploymentMade:
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

    async def _made(self, customer: str, host: str, address: str, how: Any, checks: int) -> DeploymentMade:
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
    async def _turn(self, customer: str, host: str):
        """One change of a deployment at a time, those that go on without their caller included.

        Raises:
            Unavailable: another process changes it.
        """
        async with self._turns.setdefault((customer, host), asyncio.Lock()):
            lease = Lease(self._database.url, f"deployment {customer} {host}")
            try:
                if not await lease.hold():
                    raise Unavailable("Another process changes this deployment. Call again when it has ended.")
                yield
            finally:
                await lease.close()

    @asynccontextmanager
    async def _engine(self, customer: str, host: str):
        engine = await asyncio.to_thread(Engine.connect, self._address(host))
        try:
            yield Containers(engine, self._verifier, customer)
        finally:
            await asyncio.to_thread(engine.close)

    @asynccontextmanager
    async def _instance(self, customer: str, row: Row, address: str):
        key = await asyncio.to_thread(access_key, self._settings.home, customer)
        async with Upstream(f"http://{address}:{row.port}/mcp", key=key, name="instance") as upstream:
            yield upstream

    def _address(self, host: str) -> str | None:
        if host == LOCAL:
            return self._settings.docker_host
        if host not in self._settings.deployment_hosts:
            raise InvalidInput("This host is not known. P0711_DEPLOYMENT_HOSTS names the ones there are.", field="host")
        return self._settings.deployment_hosts[host]

    def _ports(self, port: int | None) -> range:
        first, last = self._settings.deployment_ports
        return range(first, last + 1) if port is None else range(port, port + 1)

    async def _environment(self, customer: str, address: str, port: int) -> dict[str, str]:
        key = await asyncio.to_thread(access_key, self._settings.home, customer)
        found = {"INSTANCE_ACCESS_KEY": key, "INSTANCE_SIGNER": self._verifier.text}
        if self._token_keys is not None:
            found["INSTANCE_ISSUER"] = self._settings.url("marketplace")
            found["INSTANCE_RESOURCE"] = f"http://{address}:{port}/mcp"
            found["INSTANCE_KEYS"] = await self._token_keys()
        return found


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


async def _current(instance: Upstream) -> DatasetVersion:
    found = await instance.call("list_versions", {}, DatasetVersions, deadline_s=30)
    return next(each for each in found.versions if each.current)


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


def _seen(task: asyncio.Task[DeploymentMade]) -> None:
    """The outcome of work whose caller has gone."""
    error = None if task.cancelled() else task.exception()
    event("deployment_ended_alone", error=error) if error is not None else event("deployment_ended_alone")
