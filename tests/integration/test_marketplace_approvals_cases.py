"""Arguments derived from the schemas of the tools behind approvals, sent as the marketplace sends what was approved."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import aiohttp
import pytest

from servers.marketplace import policy
from servers.marketplace.services import key_ring
from servers.marketplace.tokens import Grant, Mint
from shared.ids import digest
from tests.approvals_rig import RAISE, People, dataset, people_of_acme  # noqa: F401  # fixtures
from tests.e2e.test_schema_cases import BY_APPROVAL, CASES, SEED, body_of, faults_of, said, tools_of
from tests.schema_cases import HOSTILE, Case, cases_of
from tests.serving_rig import headers_for

pytestmark = pytest.mark.slow
REAL, EXACT = 40, 4
"""How many cases propose a statement that can be made, and how many name one of these as it was approved."""


def statements() -> Iterator[str]:
    """Statements that may change the dataset, of values that were not meant; others first on each day."""
    for number in count(SEED):
        value = HOSTILE[number % len(HOSTILE)].replace("'", "''")[:4000]
        yield f"UPDATE prices SET currency = '{value}' WHERE amount >= {number % 3}"  # noqa: S608 - what is tested


class Door:
    """The instance as the marketplace calls it once something is approved."""

    def __init__(self, people: People, http: aiohttp.ClientSession) -> None:
        settings, self.url = people.market.settings, people.instance
        self._mint = Mint(key_ring(settings), settings.url("marketplace"))
        self._people = count()
        self._http = http

    @property
    def token(self) -> str:
        """Of a person who has asked for nothing yet."""
        asking = f"usr_{next(self._people)}"
        grant = Grant(asking, "customer_user", self.url, policy.APPROVED_WRITE, "acme", "gateway")
        return self._mint.token(grant).access_token

    async def send(self, tool: str, case: Case) -> tuple[int, Any]:
        headers = headers_for(self.token, "tools/call", tool)
        async with self._http.post(self.url, data=body_of(tool, case), headers=headers) as answer:
            return answer.status, said(await answer.read())

    async def result(self, tool: str, **arguments: Any) -> Case:
        """The result of a call that is certainly taken."""
        status, answer = await self.send(tool, arguments)
        assert (status, answer["result"].get("isError", False)) == (200, False), answer
        return answer["result"]["structuredContent"]


@pytest.mark.requirement("I-01", "I-04", "I-11")
async def test_no_argument_makes_a_tool_behind_an_approval_crash(
    people: People,
    session: aiohttp.ClientSession,
) -> None:
    door, before = Door(people, session), await people.total()
    schemas = {tool["name"]: tool["inputSchema"] for tool in await tools_of(session, door.url, door.token)}
    cases = {tool: cases_of(schemas[tool], CASES, SEED) for tool in BY_APPROVAL}
    makeable = statements()
    cases["propose_change"] += [{"statement": next(makeable)} for _ in range(min(CASES, REAL))]
    made = 0
    waiting = (await door.result("propose_change", statement=RAISE))["change_id"]
    for tool in ("show_change", "apply_change"):
        cases[tool] += [case | {"change_id": waiting} for case in cases[tool]]
    for case in cases_of(schemas["apply_change"], EXACT, SEED):  # mostly another number of rows than was approved
        asked = await door.result("propose_change", statement=RAISE)
        exact = {"change_id": asked["change_id"], "statement_digest": digest(RAISE.encode())}
        cases["apply_change"].append(case | exact)
    for statement in islice(statements(), 2 * EXACT):
        _, answer = await door.send("propose_change", {"statement": statement})
        if not answer["result"].get("isError", False):
            asked = answer["result"]["structuredContent"]
            exact = {"change_id": asked["change_id"], "statement_digest": digest(statement.encode())}
            cases["apply_change"].append({**exact, "rows": asked["rows"]})
            made += 1
    assert made
    faults = {tool: found[:3] for tool in cases if (found := await faults_of(door.send, tool, cases[tool]))}
    assert not faults, faults
    assert await people.total() == before
    assert (await door.result("show_change", change_id=waiting))["statement"] == RAISE
    await door.result("apply_change", change_id=waiting, statement_digest=digest(RAISE.encode()), rows=2)
    assert await people.total() == before + 7.2
