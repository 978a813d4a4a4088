"""What cradle's tools and routes call: the services of every room, opened once per process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from servers.cradle.cluster.ray import Cluster
from servers.cradle.cluster.reading import ClusterReaders
from servers.cradle.deployments.service import Deployments
from servers.cradle.deployments.token_keys import token_keys
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.images.signing import Signer
from servers.cradle.installations.service import InstallationService
from servers.cradle.processing import confinement
from servers.cradle.processing.children import ExtractionPool
from servers.cradle.processing.stages import Readers
from servers.cradle.vision.service import VisionService
from servers.cradle.workplace import sweep_work
from shared.postgres.database import Database
from shared.postgres.urls import database_urls
from shared.settings import Settings
from shared.telemetry import event


@dataclass(frozen=True)
class Services:
    """Cradle's services."""

    settings: Settings
    embedding: EmbeddingService
    vision: VisionService
    installations: InstallationService
    database: Database
    deployments: Deployments
    cluster: Cluster | None = None

    def readers(self, here: ExtractionPool) -> AbstractAsyncContextManager[Readers]:
        """Where files are read: by these children, and on the machines of the cluster where there is one."""
        return ClusterReaders(here, self.cluster, self.settings.cluster_readers) if self.cluster else here


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Services]:
    """Opens every service; models load in the background and on first use."""
    database = Database(database_urls(settings, "installation_configs").app)
    cluster = Cluster(settings) if settings.cluster_address else None
    embedding, vision = EmbeddingService(settings, cluster), VisionService(settings)
    if not confinement.whole():
        event("readers_not_confined", level=logging.WARNING)
    await asyncio.to_thread(sweep_work, settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(database.close)
        if cluster is not None:
            stack.push_async_callback(cluster.close)
        stack.push_async_callback(vision.close)
        stack.push_async_callback(embedding.close)
        await database.open()
        await embedding.start()
        signer = await asyncio.to_thread(Signer.open, settings.home / "keys")
        deployments = Deployments(settings, database, signer.verifier, lambda: token_keys(settings))
        stack.push_async_callback(deployments.close)
        installations = InstallationService(database)
        yield Services(settings, embedding, vision, installations, database, deployments, cluster)
