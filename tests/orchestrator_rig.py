"""The orchestrator beside the real marketplace, in one process on free loopback ports, over the run's Postgres.

Cradle is not started here: its address is a port that nobody listens on, so what needs it fails as unavailable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from servers.marketplace.app import build as build_marketplace
from servers.marketplace.bootstrap import bootstrap
from servers.orchestrator.app import build
from servers.orchestrator.services import Services
from servers.orchestrator.store import Customer, Job, JobStore, NewJob
from servers.orchestrator.workflows.plan import STEPS
from shared.auth import Principal
from shared.client.credentials import FileTokens
from shared.contracts.job import JobKind, JobResult
from shared.ids import new_handle
from shared.postgres.urls import DatabaseUrls, write
from shared.settings import Settings
from tests.serving_rig import HANGS_S, answer_of, envelope, free_port, headers_for, listening

DIGEST = "sha256:" + "0" * 64
TASKS = "io.modelcontextprotocol/tasks"
ADMIN = Principal("usr_admin", "platform_admin", frozenset(), None, "key_admin", 0.0)


@dataclass
class Rig:
    """What a test needs of it. `token` is the operator's."""

    settings: Settings
    client: httpx2.AsyncClient
    services: Services
    token: str

    @property
    def store(self) -> JobStore:
        return self.services.store

    async def call(
        self, tool: str, arguments: dict[str, Any] | None = None, token: str | None = None, **meta: Any
    ) -> Any:
        """The result (or protocol error) of a tool call, as 2026-07-28 has it."""
        return await self.request("tools/call", {"name": tool, "arguments": arguments or {}}, tool, token, **meta)

    async def request(
        self, method: str, params: dict[str, Any], name: str | None, token: str | None = None, **capabilities: Any
    ) -> Any:
        """Any request; capabilities such as `extensions={…}` are declared for it."""
        meta = {"io.modelcontextprotocol/clientCapabilities": capabilities}
        body = envelope(method, {**params, "_meta": meta})
        response = await self.client.post(
            self.settings.resource("orchestrator"), json=body, headers=headers_for(token or self.token, method, name)
        )
        return answer_of(response)

    async def tokens(self, **form: str) -> str:
        """A token for the orchestrator from the real marketplace."""
        answer = await self.client.post(
            self.settings.url("marketplace") + "/oauth/token",
            data={"grant_type": "client_credentials", "resource": self.settings.resource("orchestrator"), **form},
        )
        return answer.json()["access_token"]


def settings_in(home: Path) -> Settings:
    """Settings of a home folder with free ports; `cradle_port` stays unused."""
    names = ("orchestrator_port", "marketplace_port", "cradle_port")
    return Settings(home=home, **{name: free_port() for name in names})  # pyright: ignore[reportArgumentType]


async def databases_of(database: Any) -> dict[str, DatabaseUrls]:
    """Empty databases of both servers, of the fixture `database`."""
    return {
        "platform": (await database("shared", "servers.orchestrator")).urls,
        "user_registry": (await database("servers.marketplace", "shared")).urls,
    }


@asynccontextmanager
async def running_rig(settings: Settings, urls: dict[str, DatabaseUrls], *, works: bool = False) -> AsyncIterator[Rig]:
    """Both servers, until the block ends."""
    write(settings.home, urls)
    await bootstrap(settings)
    async with listening(build_marketplace(settings).asgi(), settings.marketplace_port, settings):
        server = build(settings, works=works)
        async with (
            listening(server.asgi(), settings.orchestrator_port, settings),
            httpx2.AsyncClient(timeout=HANGS_S) as client,
        ):
            token = await FileTokens(settings, "operator").token(settings.resource("orchestrator"), None)
            yield Rig(settings, client, server.services, token)


async def put_customer(store: JobStore, customer_id: str, **changes: Any) -> Customer:
    """A customer's row, as an onboarding leaves it before its job runs."""
    given: dict[str, Any] = {
        "company_name": "Muster GmbH", "contact_email": "info@example.com", "deployment_target": "package", "mcps": (),
        "partner": None, "request_digest": DIGEST, "sources_digest": DIGEST, **changes,
    }  # fmt: skip
    async with store.session(customer_id) as session:
        await session.put_customer(Customer(customer_id, **given))
    customer = await store.customer(customer_id)
    assert customer is not None
    return customer


async def put_job(store: JobStore, customer_id: str, kind: JobKind = "onboarding", **changes: Any) -> Job:
    """A queued job's row."""
    given: dict[str, Any] = {"request_digest": DIGEST, "created_by": "usr_other", **changes}
    async with store.session(customer_id) as session:
        return await session.add_job(NewJob(new_handle("job"), customer_id, kind, STEPS[kind], **given))


async def put_onboarded(store: JobStore, customer_id: str, **changes: Any) -> Customer:
    """An active customer whose onboarding made a dataset and an image."""
    await put_customer(store, customer_id, **changes)
    made = JobResult(
        numbers={"parameter_version": 1, "documents": 3},
        digests={"fingerprint": DIGEST, "dataset": DIGEST, "image": DIGEST},
        places={"image": "archive/image.tar"},
    )
    digest = changes.get("request_digest", DIGEST)
    job = await put_job(store, customer_id, result=made, request_digest=digest)
    await store.complete(job)
    customer = await store.customer(customer_id)
    assert customer is not None
    return customer
