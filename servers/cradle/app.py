"""Cradle: what it offers, on three ports. 8001 embeddings and 8002 vision speak REST; 8003 speaks MCP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from servers.cradle import embedding_rest, vision_rest
from servers.cradle.metering import count, metered
from servers.cradle.services import Services, opened
from servers.cradle.tools import deployments, embedding, images, installations, migration, processing, status, vision
from shared.audit import AuditLog
from shared.errors import Unavailable
from shared.metering.meter import Meter
from shared.metering.units import Units
from shared.serving import Server, serve
from shared.settings import Settings

INSTRUCTIONS = """The shared GPU service: embeddings, OCR, documents, installation parameters, customer images.
It keeps nothing of what passes through it. Agents call the orchestrator, which calls this server."""


def build(settings: Settings) -> tuple[Server, Server, Server]:
    """The servers of the ports for MCP, embeddings and vision. The first one opens what all of them use."""
    held: list[tuple[Services, Meter]] = []

    def services() -> Services:
        if not held:
            raise Unavailable("Cradle is still starting. Try again in a moment.", retry_after=1)
        return held[0][0]

    def served(tool: str, units: Units) -> None:
        count(held[0][1], tool, units)

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[Services]:
        async with metered(settings) as meter, opened(settings) as services_:
            held.append((services_, meter))
            try:
                yield services_
            finally:
                held.clear()

    async def health() -> dict[str, Any]:
        return await status.health(services())

    async def embedding_health() -> dict[str, Any]:
        return services().embedding.health()

    async def vision_health() -> dict[str, Any]:
        return services().vision.health()

    control = Server(
        "cradle",
        settings,
        title="0711 cradle",
        instructions=INSTRUCTIONS,
        lifespan=lifespan,
        health=health,
        audit=lambda: AuditLog(services().database),
    )
    for model in (embedding, vision):
        model.register(control, services, served)
    for room in (installations, processing, images, deployments, migration, status):
        room.register(control, services)
    embeddings = Server(
        "cradle",
        settings,
        mcp=False,
        health=embedding_health,
        max_body_bytes=min(settings.max_body_bytes, embedding_rest.MAX_BODY_BYTES),
    )
    embedding_rest.register(embeddings, lambda: services().embedding, served)
    reading = Server("cradle", settings, mcp=False, health=vision_health)
    vision_rest.register(reading, services, served)
    return control, embeddings, reading


async def main(settings: Settings) -> None:
    """Serves all three ports until told to stop."""
    control, embeddings, reading = build(settings)
    ports = (settings.cradle_port, settings.embedding_port, settings.vision_port)
    apps = [(server.asgi(), port) for server, port in zip((control, embeddings, reading), ports, strict=True)]
    await serve(apps, settings, "cradle")
