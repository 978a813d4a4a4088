"""What the orchestrator offers, and its process: over HTTP it carries out jobs, over stdio it only takes orders."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from servers.orchestrator.database import PlatformDatabase
from servers.orchestrator.health import Health
from servers.orchestrator.orders import Orders
from servers.orchestrator.services import Services
from servers.orchestrator.store import JobStore
from servers.orchestrator.tools import customers, deployments, jobs, models, parameters, resources, status
from servers.orchestrator.tools.tasks import Tasks
from servers.orchestrator.upstreams import Upstreams
from servers.orchestrator.workflows.engine import Engine
from servers.orchestrator.workflows.runner import Runner
from servers.orchestrator.workflows.worker import LEASE, Worker
from shared.audit import AuditLog
from shared.auth import Principal, Verifier
from shared.client.credentials import FileTokens
from shared.loading import loaded
from shared.metering.meter import Meter
from shared.metering.reports import UsageReports
from shared.metering.spool import Spool
from shared.postgres.lease import Lease
from shared.postgres.urls import database_urls
from shared.serving import Server, serve
from shared.settings import Settings

INSTRUCTIONS = """\
The 0711 platform turns a company's documents into a customer image: one container that answers questions over MCP.

- New customer: initialize_customer, then get_job (wait_s=30) until the job is completed. It returns at once and runs on
  its own; the same request again gives the same job.
- New or changed files: process_new_documents. Find customers with list_customers and get_customer.
- Put a customer into service: deploy_customer; where it runs: list_deployments; an update was wrong: rollback_customer.
- A customer's products, prices and documents are asked for at its instance, not here: at the address of
  list_deployments, or through the marketplace, where the instance is installed.
- Erasing a customer is no tool of this server: the operator of the machine calls `0711 erase`.
- A job failed: its error says what to do; after that start it again, finished work is not repeated.
- Something does not answer: platform_status.
- Answers are short; get_job with detail='detailed' shows what a running job has made so far.
"""


def build(settings: Settings, *, works: bool = True, verifier: Verifier | None = None) -> Server:
    """The server with everything that it offers.

    Args:
        works: carry out jobs in this process; without, it only takes orders.
        verifier: default: tokens of the marketplace.
    """

    def services() -> Services:
        return server.services

    async def health() -> dict[str, Any]:
        return await services().health.own()

    server = Server(
        "orchestrator",
        settings,
        title="0711 orchestrator",
        instructions=INSTRUCTIONS,
        lifespan=lambda: opened(settings, works=works),
        health=health,
        verifier=verifier,
        extensions=[Tasks(services)],
        audit=lambda: services().audit,
    )
    for offers in (customers, jobs, deployments, models, parameters, status, resources):
        offers.register(server, services)
    return server


@asynccontextmanager
async def opened(settings: Settings, *, works: bool) -> AsyncIterator[Services]:
    """The services, and where `works` the worker beside them. Waits for nothing: what is away is reached when needed.

    Raises:
        Unavailable: `works`, and the databases are not set up.
    """
    database, upstreams = PlatformDatabase(settings), Upstreams.of(settings)
    store = JobStore(database)
    worker = _worker(settings, store, upstreams) if works else None
    health = Health(settings, store, (lambda: worker.state) if worker else None)
    meter = Meter(Spool(settings.home / "metering-orchestrator"), UsageReports(upstreams.marketplace))
    orders = Orders(store, upstreams, worker.wake if worker else lambda: None)
    try:
        if worker is not None:
            worker.start()
        async with meter.in_background():
            yield Services(settings, store, upstreams, orders, health, meter, AuditLog(database))
    finally:
        if worker is not None:
            await worker.close()
        await health.close()
        await upstreams.close()
        await database.close()


async def main(settings: Settings) -> None:
    """Serve over HTTP until told to stop; running steps are interrupted then and run again at the next start."""
    await serve([(build(settings).asgi(), settings.port("orchestrator"))], settings, "orchestrator")


async def run_stdio(settings: Settings) -> None:
    """Serve standard input and output, as the operator of this machine. Jobs run in the process of `0711 up`."""
    server = build(settings, works=False)
    tokens = FileTokens(settings, "operator")

    async def operator() -> Principal:
        return await server.verifier.verify(await tokens.token(server.resource_url, None))

    loaded()
    await server.run_stdio(operator)


def _worker(settings: Settings, store: JobStore, upstreams: Upstreams) -> Worker:
    urls = database_urls(settings, "platform")
    runner = Runner(store, upstreams, settings.job_step_deadline_s)
    return Worker(store, runner, Engine(urls.dbos or "", runner), Lease(urls.app, LEASE))
