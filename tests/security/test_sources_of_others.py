"""A folder of the processing machine may hold any customer's files: only the operator names one as a source."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from servers.cradle import onboarding
from servers.cradle.onboarding import SOURCES, record_sources
from servers.cradle.services import Services
from servers.orchestrator.orders import Order, Orders, Request
from servers.orchestrator.store import JobStore
from servers.orchestrator.upstreams import Upstreams
from shared.auth import Principal, acting_as
from shared.errors import Forbidden, InvalidInput, NotFound, Unavailable
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.orchestrator_rig import ADMIN, put_onboarded, settings_in

PARTNER = replace(ADMIN, subject="usr_partner", role="partner_admin")
SPELLINGS = [
    "file:///srv/customers/mueller",
    "FILE:///srv/customers/mueller",
    "/srv/customers/mueller",
    " file:///srv/customers/mueller",
    "\x01file:///srv/customers/mueller",
    "fi\tle:///srv/customers/mueller",
    "file://localhost/srv/customers/mueller",
]


@pytest.fixture
async def orders(database, tmp_path: Path):
    upstreams = Upstreams.of(settings_in(tmp_path))
    yield Orders(JobStore((await database("servers.orchestrator")).db), upstreams)
    await upstreams.close()


@pytest.mark.parametrize("source", SPELLINGS)
@pytest.mark.requirement("T-01", "I-09")
async def test_a_partner_names_no_folder_however_it_is_spelt(orders: Orders, source: str) -> None:
    customer = await put_onboarded(orders._store, "teilwerk", partner=PARTNER.subject)
    with acting_as(PARTNER):
        with pytest.raises(Forbidden, match="bucket:prefix"):
            await orders.onboard(Request("Berg GmbH", "info@example.com", ["bucket:inbox", source]))
        with pytest.raises(Forbidden, match="bucket:prefix"):
            await orders.start(customer, Order("update", ["bucket:inbox", source]))
    async with orders._store.session("teilwerk") as session:
        assert [job.kind for job in await session.jobs("teilwerk", 10)] == ["onboarding"]


async def test_a_partners_place_in_the_bucket_and_an_administrators_folder_go_on_to_cradle(orders: Orders) -> None:
    customer = await put_onboarded(orders._store, "teilwerk", partner=PARTNER.subject)
    for caller, source in ((PARTNER, "bucket:inbox"), (PARTNER, "s3://customer-teilwerk/in"), (ADMIN, SPELLINGS[0])):
        with acting_as(caller), pytest.raises(Unavailable):  # cradle is away here
            await orders.start(customer, Order("update", [source]))


@pytest.fixture
async def cradle(tmp_path: Path) -> Services:
    (tmp_path / "customers" / "mueller").mkdir(parents=True)
    (tmp_path / "customers" / "mueller" / "blatt.txt").write_text("Klemme")
    unused: Any = None
    settings = Settings(home=tmp_path / "home", source_roots=[tmp_path / "customers"])
    await (await CustomerStore.open(settings, "berg", create=True)).put("inbox/blatt.txt", b"Klemme")
    return Services(settings, unused, unused, unused, unused, unused)


def folder(held: Services) -> str:
    return (held.settings.source_roots[0] / "mueller").as_uri()


async def recorded(held: Services) -> list[str] | None:
    try:
        return orjson.loads(await (await CustomerStore.open(held.settings, "berg")).get(SOURCES))
    except NotFound:
        return None


@pytest.mark.parametrize(
    ("role", "subject"),
    [
        ("partner_admin", "usr_partner"),
        ("partner_admin", "orchestrator"),
        ("customer_admin", "usr_c"),
        ("service", "y"),
    ],
)
@pytest.mark.requirement("T-01", "I-09")
async def test_cradle_records_no_folder_for_another_caller(cradle: Services, role: str, subject: str) -> None:
    caller = Principal(subject, role, frozenset({"process"}), "berg", "key", 0.0)
    with acting_as(caller):
        with pytest.raises(Forbidden, match="bucket:prefix"):
            await record_sources(cradle, "berg", [folder(cradle)])
        assert await recorded(cradle) is None
        await record_sources(cradle, "berg", ["bucket:inbox"])
    assert await recorded(cradle) == ["bucket:inbox"]


async def test_what_is_added_keeps_the_recorded_sources_which_a_new_list_replaces(
    cradle: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator = Principal("usr_admin", "platform_admin", frozenset({"process"}), "berg", "key", 0.0)
    with acting_as(operator):
        with pytest.raises(NotFound, match="initialize_customer"):
            await record_sources(cradle, "berg", [folder(cradle)], add=True)
        await record_sources(cradle, "berg", [folder(cradle)])
    with acting_as(Principal("usr_partner", "partner_admin", frozenset({"process"}), "berg", "key", 0.0)):
        for _ in range(2):  # the same again adds nothing
            kept = await record_sources(cradle, "berg", ["bucket:inbox"], add=True)
            assert kept.uris == await recorded(cradle) == [folder(cradle), "bucket:inbox"]
        await record_sources(cradle, "berg", ["bucket:inbox"])
        assert await recorded(cradle) == ["bucket:inbox"]
        monkeypatch.setattr(onboarding, "MAX_SOURCES", 1)
        with pytest.raises(InvalidInput, match="With the known ones"):
            await record_sources(cradle, "berg", ["s3://customer-berg/inbox"], add=True)
    assert await recorded(cradle) == ["bucket:inbox"]


@pytest.mark.parametrize(("role", "subject"), [("platform_admin", "usr_admin"), ("service", "orchestrator")])
async def test_cradle_records_a_folder_for_the_operator_and_the_orchestrator(
    cradle: Services, role: str, subject: str
) -> None:
    with acting_as(Principal(subject, role, frozenset({"process"}), "berg", "key", 0.0)):
        await record_sources(cradle, "berg", [folder(cradle)])
    assert await recorded(cradle) == [folder(cradle)]
