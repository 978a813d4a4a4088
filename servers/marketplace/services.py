"""What the marketplace's process holds while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from servers.marketplace.access import Access
from servers.marketplace.approvals.database import CustomerDatabase
from servers.marketplace.approvals.page import DOOR as APPROVALS
from servers.marketplace.approvals.page import ApprovalsPage
from servers.marketplace.approvals.store import ApprovalStore
from servers.marketplace.authorization.clients import LOOPBACK, Clients
from servers.marketplace.authorization.consent import DOOR as CONSENT
from servers.marketplace.authorization.consent import Consent
from servers.marketplace.authorization.programs import Programs
from servers.marketplace.authorization.provider import Provider
from servers.marketplace.authorization.store import AuthorizationStore
from servers.marketplace.catalogue.catalogue import Catalogue
from servers.marketplace.catalogue.meaning import Meaning
from servers.marketplace.catalogue.mirror import Mirror
from servers.marketplace.catalogue.store import CatalogueStore
from servers.marketplace.catalogue.tools import ToolStore
from servers.marketplace.changes import Changes
from servers.marketplace.compute import Compute
from servers.marketplace.connections.store import ConnectionStore
from servers.marketplace.gateway.bridge import Bridge
from servers.marketplace.gateway.checks import Checks
from servers.marketplace.gateway.door import Gateway
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.quotas import Quotas, QuotaStore
from servers.marketplace.gateway.quotas_redis import RedisQuotaStore
from servers.marketplace.gateway.relay import Relay
from servers.marketplace.gateway.route import Routes
from servers.marketplace.gateway.sessions import SessionSeal
from servers.marketplace.invitations.invitations import Invitations
from servers.marketplace.invitations.page import DOOR as INVITATION
from servers.marketplace.invitations.page import InvitationPage
from servers.marketplace.invitations.store import InvitationStore
from servers.marketplace.keys import KeyRing
from servers.marketplace.licences.signing import LicenceKeys
from servers.marketplace.licences.store import LicenceStore
from servers.marketplace.metering.store import UsageStore
from servers.marketplace.oauth import OAuthRoutes
from servers.marketplace.providers.page import ProviderPages
from servers.marketplace.providers.sign_in import SignIn
from servers.marketplace.rules.rules import ArgumentRules
from servers.marketplace.rules.store import RuleStore
from servers.marketplace.runners.pool import Runners
from servers.marketplace.tokens import Mint
from servers.marketplace.users.accounts import Accounts
from servers.marketplace.users.api_keys import ApiKeys
from servers.marketplace.users.assertions import Assertions
from servers.marketplace.users.grants import Grants
from servers.marketplace.users.secrets import Passwords
from servers.marketplace.users.standing import Standing
from servers.marketplace.users.store import UserStore
from servers.marketplace.workers.peers import Peers
from servers.marketplace.workers.worker import Worker
from shared.auth import Verifier
from shared.auth.verifier import LEEWAY_S
from shared.metering.meter import Meter
from shared.metering.spool import Spool
from shared.postgres.database import HEALTHY_WITHIN_S, Database
from shared.postgres.urls import DatabaseUrls
from shared.settings import Settings

CONNECTIONS = 8
"""To the database."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that tools, routes and the gateway use."""

    settings: Settings
    database: Database
    changes: Changes
    keys: KeyRing
    accounts: Accounts
    catalogue: Catalogue
    tools: ToolStore
    checks: Checks
    api_keys: ApiKeys
    programs: Programs
    oauth: OAuthRoutes
    consent: Consent
    approvals: ApprovalsPage
    invitations: Invitations
    invitation_page: InvitationPage
    provider_pages: ProviderPages
    argument_rules: ArgumentRules
    standing: Standing
    routes: Routes
    relay: Relay
    bridge: Bridge
    gateway: Gateway
    customer_data: CustomerDatabase
    quotas: Quotas
    access: Access
    meter: Meter
    usage: UsageStore
    licences: LicenceStore
    mirror: Mirror
    compute: Compute
    connections: ConnectionStore
    seal: SessionSeal
    meaning: Meaning
    peers: Peers
    worker: Worker

    async def health(self) -> dict[str, object]:
        """What `GET /health` answers."""
        clock, reachable = "not compared", True
        try:
            async with asyncio.timeout(HEALTHY_WITHIN_S):
                clock = clock_told(time.time() - await self.accounts.store.clock())
        except Exception:  # noqa: BLE001  # whatever is wrong with it, it does not answer
            reachable = False
        told: dict[str, object] = {
            "status": "healthy" if reachable else "unavailable",
            "service": "mcp-central-api",
        }
        dependencies = {
            "user_registry": "healthy" if reachable else "unavailable",
            "clock": clock,
            "signing_keys": "healthy" if self.keys.jwks()["keys"] else "unavailable",
        }
        if not self.worker.alone:
            serving, count = self.worker.serving, self.worker.count
            told["workers"] = {"serving": serving, "wanted": count}
            dependencies["workers"] = "healthy" if serving == count else f"{serving} of {count}"
        return {**told, "dependencies": dependencies}


def clock_told(ahead_s: float) -> str:
    """What health says of this machine's clock, which is this many seconds ahead of the database's: further off than a
    token may be of the future, the tokens that it signs are refused by the replicas beside it."""
    if abs(ahead_s) <= LEEWAY_S:
        return "healthy"
    return f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the database's"


def key_ring(settings: Settings) -> KeyRing:
    """The signing keys of this home folder."""
    return KeyRing(settings.home / "keys" / "signing")


@asynccontextmanager
async def opened(settings: Settings, urls: DatabaseUrls, verifier: Verifier, worker: Worker) -> AsyncIterator[Services]:
    """The services. The database need not answer yet."""
    database, passwords = Database(urls.app, size=worker.share(CONNECTIONS)), Passwords()
    keys, seal = key_ring(settings), SessionSeal.of_folder(settings.home / "keys" / "gateway")
    mint = Mint(keys, settings.url("marketplace"))
    licence_keys = LicenceKeys(KeyRing(settings.home / "keys" / "licences"))
    users, entries, tools = UserStore(database), CatalogueStore(database, licence_keys), ToolStore(database)
    changes, outgoing, peers = Changes(urls.app, worker), Outgoing(), Peers(worker)
    accounts = Accounts(users, passwords, settings.without_passwords)
    catalogue, grants = Catalogue(entries, users, changes), Grants(settings, accounts, entries)
    inside = urlsplit(settings.url("marketplace")).hostname in LOOPBACK
    clients, authorizations = Clients(seal, outgoing, inside=inside), AuthorizationStore(database)
    provider = Provider(settings, clients, seal, authorizations, accounts, grants, mint)
    sign_in = SignIn(settings, seal, outgoing)
    oauth = OAuthRoutes(settings, keys, mint, accounts, grants, provider, Assertions(sign_in.issuers))
    consent = Consent(settings, provider, seal, authorizations, accounts, grants, sign_in)
    connections = ConnectionStore(database, SessionSeal.of_folder(settings.home / "keys" / "connections"))
    runners = Runners(settings, entries, connections, worker)
    checks = Checks(settings, outgoing, mint, tools, entries, connections, runners, worker)
    changes.on_change(checks.wake)
    changes.on_change(runners.look)
    rules, usage, standing = RuleStore(database), UsageStore(database), Standing(accounts, changes)
    routes = Routes(settings, catalogue, tools, mint, changes, connections, rules)
    meter = Meter(Spool(settings.home / "metering"), usage)
    relay = Relay(outgoing, seal, settings.max_body_bytes, meter, settings.resource("cradle"), runners)
    redis = RedisQuotaStore(settings.redis_url.get_secret_value()) if settings.redis_url else None
    quotas = Quotas(settings, redis or QuotaStore(database))
    bridge = Bridge(settings, routes, outgoing, seal)
    gateway = Gateway(settings, verifier, routes, checks, seal, relay, quotas, bridge, peers)
    customer_data = CustomerDatabase(catalogue, tools, routes, checks, outgoing, ApprovalStore(database), users)
    approvals = ApprovalsPage(settings, seal, accounts, grants, customer_data, sign_in)
    invitations = Invitations(settings, InvitationStore(database), accounts, passwords)
    invitation_page = InvitationPage(settings, invitations, accounts, seal, sign_in)
    provider_pages = ProviderPages(
        settings, sign_in, {CONSENT: consent, INVITATION: invitation_page, APPROVALS: approvals}
    )
    argument_rules = ArgumentRules(rules, catalogue, tools, users, settings.resource("marketplace"))
    access = Access(settings, accounts, catalogue, entries, tools, routes)
    meaning = Meaning(settings, database, mint, changes)
    await database.open()
    try:
        async with changes.heard(), runners.in_background(), checks.in_background(), meter.in_background():
            yield Services(
                settings, database, changes, keys, accounts, catalogue, tools, checks, ApiKeys(accounts),
                Programs(authorizations), oauth, consent, approvals, invitations,
                invitation_page, provider_pages, argument_rules, standing, routes,
                relay, bridge, gateway, customer_data, quotas, access, meter,
                usage, LicenceStore(database, licence_keys), Mirror(outgoing, entries),
                Compute(settings, outgoing, mint, meter, quotas, routes), connections, seal, meaning, peers,
                worker,
            )  # fmt: skip
    finally:
        await relay.close()
        await peers.close()
        await meaning.close()
        if redis is not None:
            await redis.close()
        outgoing.close()
        await database.close()
        passwords.close()
