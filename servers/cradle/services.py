"""What cradle's tools and routes call: the services of every room, opened once per process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from servers.cradle.deployments.service import Deployments
from servers.cradle.deployments.token_keys import token_keys
from servers.cradle.embedding.service import EmbeddingService
from servers.cradle.images.signing import Signer
from servers.cradle.installations.service import InstallationService
from servers.cradle.vision.service import VisionService
from servers.cradle.workplace import sweep_work
from shared.postgres.database import Database
from shared.postgres.provision import database_urls
from shared.settings import Settings


@dataclass(frozen=True)
class Services:
    """Cradle's services."""

    settings: Settings
    embedding: EmbeddingService
    vision: VisionService
    installations: InstallationService
    database: Database
    deployments: Deployments


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Services]:
    """Opens every service; models load in the background and on first use."""
    database = Database(database_urls(settings, "installation_configs").app)
    embedding, vision = EmbeddingService(settings), VisionService(settings)
    await asyncio.to_thread(sweep_work, settings)
    await database.open()
    await embedding.start()
    signer = await asyncio.to_thread(Signer.open, settings.home / "keys")
    deployments = Deployments(settings, database, signer.verifier, lambda: token_keys(settings))
    try:
        yield Services(settings, embedding, vision, InstallationService(database), database, deployments)
    finally:
        await deployments.close()
        await embedding.close()
        await vision.close()
        await database.close()
