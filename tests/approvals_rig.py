"""A marketplace with one customer's real instance, one person who asks for changes and one who decides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dataset_corpus import document, frozen, unpack, written

from servers.instance import app as instance
from servers.marketplace.tools.accounts import UserCreated
from servers.marketplace.tools.database import ApprovalShown, DatabaseAnswer, DatabaseChange
from shared.contracts.instance import InstanceConfig
from shared.settings import Settings
from tests.marketplace_rig import Credential, Market, free_port, listening, running_market

RAISE = "UPDATE prices SET amount = amount * 2 WHERE amount >= 3"
TOTAL = "SELECT sum(amount) AS total FROM prices"


@dataclass
class People:
    """A marketplace with one customer's instance at the address `instance`, who asks, who decides, and a way to break
    the instance's answers."""

    market: Market
    anna: str
    ben: str
    cut: list[bool]
    accounts: dict[str, UserCreated]
    instance: str

    async def total(self) -> Any:
        answer = await self.ask(TOTAL)
        return answer.rows[0][0]

    async def ask(self, statement: str, language: str = "sql") -> DatabaseAnswer:
        return await self.market.call(
            self.anna, "query_customer_database", DatabaseAnswer, language=language, statement=statement
        )

    async def change(self, token: str, statement: str = RAISE, **more: Any) -> DatabaseChange:
        return await self.market.call(token, "change_customer_database", DatabaseChange, statement=statement, **more)

    async def decide(self, token: str, approval_id: str, approve: bool = True) -> ApprovalShown:
        return await self.market.call(token, "decide_approval", ApprovalShown, approval_id=approval_id, approve=approve)

    async def approved(self, statement: str = RAISE) -> str:
        asked = await self.change(self.anna, statement)
        assert (await self.decide(self.ben, asked.approval_id)).state == "approved"
        return asked.approval_id


async def user(market: Market, role: str, name: str) -> str:
    """A token of a new user of the customer."""
    return await token_of(market, await market.add_user(role, "acme", f"{name}@acme.example"))


async def token_of(market: Market, made: UserCreated) -> str:
    """A token of a user's key."""
    return await market.token(Credential(made.client_id, made.client_secret))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("approvals")
    asyncio.run(written(folder / "original", [document(number) for number in range(5)]))
    return unpack(frozen(folder / "original"), folder / "copy")


@pytest.fixture(name="people")
async def people_of_acme(database: Any, tmp_path: Path, dataset: Path, query_model: Path) -> AsyncIterator[People]:
    made = await database("servers.marketplace", "shared")
    async with running_market(tmp_path / "home", made.urls) as market:
        await market.add_customers()
        async with people_at(market, dataset, query_model, tmp_path) as people:
            yield people


@asynccontextmanager
async def people_at(market: Market, dataset: Path, model: Path, folder: Path) -> AsyncIterator[People]:
    """Two people of a customer whose instance runs."""
    async with AsyncExitStack() as stack:
        cut: list[bool] = []
        url = await run_instance(stack, market, dataset, model, folder, cut)
        await market.add_instance("acme", url)
        accounts = {
            name: await market.add_user(role, "acme", f"{name}@acme.example")
            for name, role in {"anna": "customer_user", "ben": "customer_admin"}.items()
        }
        anna, ben = [await token_of(market, made) for made in accounts.values()]
        yield People(market, anna, ben, cut, accounts, url)


async def run_instance(
    stack: AsyncExitStack, market: Market, dataset: Path, model: Path, folder: Path, cut: list[bool]
) -> str:
    from shared.dataset.manifest import visible
    from shared.dataset.places import Place

    manifest = visible(Place(str(dataset)))
    assert manifest is not None
    config = InstanceConfig(
        customer_id="acme", company_name="Acme GmbH", tag="p1", fingerprint=manifest.fingerprint,
        dataset_digest=manifest.dataset_digest, parameter_version=1,
    )  # fmt: skip
    (folder / "instance.json").write_text(config.model_dump_json())
    (folder / "state").mkdir()
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    place = instance.Place(dataset, model, folder / "instance.json", folder / "state")
    platform = instance.Platform(market.settings.url("marketplace"), url)
    settings = Settings(home=folder / "instance", instance_port=port)
    app = instance.build(settings, place, "access-key-of-the-test", platform).asgi()
    await stack.enter_async_context(listening(cutting(app, cut), port, settings))
    return url


def cutting(app: Any, cut: list[bool]) -> Any:
    """The application; while `cut` holds something, a change is made and its answer is lost."""

    class Cutting:
        lifespan = staticmethod(app.lifespan)

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            applies = (b"mcp-name", b"apply_change") in scope.get("headers", [])

            async def losing(event: Any) -> None:
                if not (cut and applies):
                    await send(event)

            await app(scope, receive, losing)

    return Cutting()
