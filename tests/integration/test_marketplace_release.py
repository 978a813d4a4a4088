"""An upgraded platform pins its own servers' tools anew by itself; without one, a change waits for a person."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from servers.marketplace.bootstrap import bootstrap
from servers.marketplace.catalogue import own
from servers.marketplace.tools.catalogue import ServerInstalled
from shared.version import VERSION
from tests.marketplace_rig import Changing, definition, free_port, listening, running_market

CRADLE = "io.0711/cradle"


async def test_an_upgrade_with_the_same_number_keeps_the_platforms_own_tools_callable(
    database: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, port = await database("servers.marketplace", "shared"), free_port()
    cradle = Changing(definition("embed"))
    async with running_market(tmp_path / "home", made.urls, cradle_port=port) as market:
        await market.add_customers()
        token = await market.user_token("acme")
        async with listening(cradle, port, market.settings):
            await market.call(token, "install_mcp", ServerInstalled, server_name=CRADLE)

            async def answers() -> bool:
                await market.call(await market.operator(), "check_mcp", server_name=CRADLE)
                said = (await market.post_call(token, "embed", f"/servers/{CRADLE}/mcp")).json()
                return "result" in said and not said["result"].get("isError")

            assert await answers()
            cradle.tools = [definition("embed", "Another text of the same server.")]
            await bootstrap(market.settings)  # the same platform is started again
            assert not await answers()
            monkeypatch.setattr(own, "release", lambda: f"{VERSION}+{'0' * 12}")
            await bootstrap(market.settings)
            assert await answers()
            cradle.tools = [definition("embed", "And another one, without an upgrade.")]
            assert not await answers()


def test_a_release_names_its_number_and_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    known = own.release()
    assert known.startswith(f"{VERSION}+")
    assert len(known) == len(VERSION) + 13
    own.release.cache_clear()
    assert own.release() == known
    own.release.cache_clear()
    monkeypatch.setattr("servers.marketplace.catalogue.own.metadata.version", lambda _: "99")
    assert own.release() != known
    own.release.cache_clear()
