"""A customer's data, asked and changed through the marketplace: its own instance answers, nothing is kept here.

A change takes three steps: the instance counts what it would change, another person decides within five minutes, and
the one who asked makes it. An approval is bound to tenant, user, tool, the digest of the exact arguments, the tool's
pin and the rules; it is used up in the transaction that records the dispatch. What came of a dispatch that was not
answered is unknown and stays so: it is never tried again.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any, Literal

from pydantic import ValidationError

from servers.marketplace import policy
from servers.marketplace.approvals.store import Approval, ApprovalStore, Bound, State
from servers.marketplace.catalogue.catalogue import Catalogue, resource_of, view_of
from servers.marketplace.catalogue.store import Entry
from servers.marketplace.catalogue.tools import ToolStore
from servers.marketplace.cursors import unknown_cursor
from servers.marketplace.gateway.asking import Place, call_tool
from servers.marketplace.gateway.checks import Checks, checked_route
from servers.marketplace.gateway.outgoing import Outgoing
from servers.marketplace.gateway.route import Route, Routes
from servers.marketplace.rules.conditions import check
from servers.marketplace.users.store import UserStore
from shared.auth import Principal, require_customer
from shared.contracts.instance import ChangeProposed, ChangeShown, DatasetVersions, DocumentList, TableAnswer
from shared.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    Overloaded,
    PlatformError,
    StorageFull,
    Unauthenticated,
    Unavailable,
)
from shared.ids import Digest, canonical_digest, digest, new_handle
from shared.telemetry import event

Language = Literal["sql", "cypher", "documents"]
PROPOSE, SHOW, APPLY = "propose_change", "show_change", "apply_change"
APPLY_S = 900.0
SHOWN_S, SHOWN_AT_ONCE = 3.0, 10
REFUSALS = (Conflict, Forbidden, InvalidInput, NotFound, Overloaded, StorageFull, Unauthenticated)
"""Answers of an instance that say that nothing was changed."""


class CustomerDatabase:
    """Asks and changes the data of the caller's customer."""

    def __init__(
        self, catalogue: Catalogue, tools: ToolStore, routes: Routes, checks: Checks, outgoing: Outgoing,
        store: ApprovalStore, users: UserStore,
    ) -> None:  # fmt: skip
        self._catalogue = catalogue
        self._tools = tools
        self._routes = routes
        self._checks = checks
        self._outgoing = outgoing
        self._store = store
        self._users = users

    async def query(
        self, caller: Principal, server_name: str | None, language: Language, statement: str, limit: int
    ) -> TableAnswer | DocumentList:
        """What the instance answers to one reading statement, or to a prefix of paths."""
        tool, arguments = _reading(language, statement, limit)
        route = await self._route(caller, await self._instance(caller, server_name))
        if tool not in route.tools:
            raise Unavailable("The instance's tool for this is not approved: an administrator has to look at it.")
        answer = await self._call(route, tool, arguments)
        return (DocumentList if language == "documents" else TableAnswer).model_validate(answer)

    async def request(self, caller: Principal, server_name: str | None, statement: str) -> Approval:
        """Have the instance count what a statement would change, and ask for an approval of exactly that.

        Raises:
            InvalidInput: it would change nothing, or is not one that changes rows.
        """
        route, bound = await self._bound(caller, server_name, statement)
        answer = await self._call(_writing(route), PROPOSE, {"statement": statement})
        proposed = ChangeProposed.model_validate(answer)
        if proposed.rows == 0:
            raise InvalidInput("The statement changes no row, so nobody was asked: check its WHERE.", field="statement")
        return await self._store.add(
            require_customer(), new_handle("apr"), caller.subject, bound, proposed.change_id, proposed.rows
        )

    async def make(self, caller: Principal, server_name: str | None, statement: str, approval_id: str) -> Digest:
        """Use an approval up and make the change; the digest of the version that is served then.

        Raises:
            NotFound: the customer has no such approval.
            Conflict: it is not approved for exactly this, over, or used; the account that approved it has ended; or the
                instance refused the change.
            Unavailable: what came of the change is not known. It is not tried again.
        """
        customer = require_customer()
        found = await self._known(customer, approval_id)
        route, bound = await self._bound(caller, server_name or found.bound.server_name, statement)
        decider = await self._users.user(found.decided_by) if found.decided_by is not None else None
        if decider is not None and not decider.active:
            raise Conflict("The account that approved this has ended since: ask for a new approval.")
        if not await self._use_up(customer, approval_id, caller.subject, bound):
            raise Conflict(
                "This is not approved for exactly this statement, by another person, and in time; or it was used: ask "
                "for a new approval by leaving approval_id out."
            )
        state: State = "unknown"
        try:
            arguments = {
                "change_id": found.change_id, "statement_digest": digest(statement.encode()), "rows": found.rows,
            }  # fmt: skip
            answer = await self._call(_writing(route), APPLY, arguments, APPLY_S)
            served = next(each for each in DatasetVersions.model_validate(answer).versions if each.current)
            state = "applied"
        except REFUSALS:
            state = "refused"
            raise
        except (PlatformError, ValidationError, StopIteration):  # no answer, or one that cannot be read
            raise Unavailable(
                "What came of the change is not known, and it is not tried again: look at the data, or at the "
                "instance's list_versions."
            ) from None
        finally:
            await asyncio.shield(self._settle(customer, approval_id, caller.subject, state))
        return served.dataset_digest

    async def open(self, caller: Principal, after: str = "") -> tuple[list[tuple[Approval, str | None]], str | None]:
        """What waits for a decision or to be made, each with its statement, and what reads on as `after`.

        The statement is None where the instance lost it, shows another one, or does not answer in time.

        Raises:
            InvalidInput: the customer has no approval that `after` names.
        """
        await self._check_cursor(after)
        found, following = await self._store.open(require_customer(), after)
        return await self._with_statements(caller, found), following

    async def undecided(
        self, caller: Principal, named: str | None, after: str = ""
    ) -> tuple[list[tuple[Approval, str | None]], str | None]:
        """What waits for a decision, as in `open`, or the one that is named; from the first where none is after."""
        if named is not None:
            one = await self._store.of(require_customer(), named)
            found = [one] if one is not None and one.open and one.state == "waiting" else []
            return await self._with_statements(caller, found), None
        await self._check_cursor(after)
        found, following = await self._store.open(require_customer(), after, ("waiting",))
        if after and not found:
            found, following = await self._store.open(require_customer(), states=("waiting",))
        return await self._with_statements(caller, found), following

    async def _check_cursor(self, after: str) -> None:
        if after and await self._store.of(require_customer(), after) is None:
            raise unknown_cursor()

    async def _with_statements(self, caller: Principal, found: list[Approval]) -> list[tuple[Approval, str | None]]:
        turns = asyncio.Semaphore(SHOWN_AT_ONCE)

        async def statement(approval: Approval) -> str | None:
            async with turns:
                return await self._statement(caller, approval)

        return list(zip(found, await asyncio.gather(*map(statement, found)), strict=True))

    async def decide(self, caller: Principal, approval_id: str, *, approve: bool) -> Approval:
        """Approve or deny a change that another person asked for.

        Raises:
            NotFound: the customer has no such approval.
            Forbidden: the caller asked for it, or may be the same person.
            Conflict: it is decided or over.
        """
        customer = require_customer()
        found = await self._known(customer, approval_id)
        decision = await self.may_decide(caller, found)
        if not decision.allowed:
            raise Forbidden(decision.reason)
        decided = await self._store.decide(customer, approval_id, caller.subject, approve=approve)
        if decided is None:
            raise Conflict("This was decided already, or its five minutes are over: then it has to be asked for again.")
        return decided

    async def may_decide(self, caller: Principal, asked: Approval) -> policy.Decision:
        """Whether the caller is another person than the one who asked, and may decide."""
        one_hand = await self._store.one_hand(require_customer(), asked.requested_by, caller.subject)
        resource = policy.Resource(caller.customer, requester=asked.requested_by, one_hand=one_hand)
        return policy.decide(caller, "approval.decide", resource)

    async def waiting(self, caller: Principal, approval_id: str) -> Approval | None:
        """What the caller asked for, where nobody has decided on it yet.

        Raises:
            NotFound: the customer has no such approval.
        """
        found = await self._known(require_customer(), approval_id)
        return found if (found.state, found.requested_by) == ("waiting", caller.subject) and found.open else None

    async def _use_up(self, customer: str, approval_id: str, subject: str, bound: Bound) -> bool:
        """Whether the approval is used up now. Where the caller leaves amid it, that is settled too."""
        dispatching = asyncio.ensure_future(self._store.dispatch(customer, approval_id, subject, bound))

        async def left() -> None:
            with suppress(PlatformError):  # then nothing is used up, or nobody can know
                if await dispatching:
                    await self._settle(customer, approval_id, subject, "unknown")

        try:
            return await asyncio.shield(dispatching)
        except asyncio.CancelledError:
            await asyncio.shield(left())
            raise

    async def _settle(self, customer: str, approval_id: str, subject: str, state: State) -> None:
        """Record what came of a change. The caller learns it also where that fails: an error that can be tried again
        would say that nothing has happened."""
        try:
            await self._store.settle(customer, approval_id, subject, state)
        except PlatformError as error:
            event("change_unsettled", level=logging.ERROR, code=error.code)

    async def _known(self, customer: str, approval_id: str) -> Approval:
        found = await self._store.of(customer, approval_id)
        if found is None:
            raise NotFound("This approval is not known: list_approvals shows what waits.", field="approval_id")
        return found

    async def _statement(self, caller: Principal, approval: Approval) -> str | None:
        try:
            async with asyncio.timeout(SHOWN_S):
                route = await self._route(caller, await self._instance(caller, approval.bound.server_name))
                answer = await self._call(_writing(route), SHOW, {"change_id": approval.change_id})
            statement = ChangeShown.model_validate(answer).statement
        except (PlatformError, TimeoutError):
            return None
        shown = _arguments(approval.bound.server_name, statement)
        return statement if shown == approval.bound.arguments else None

    async def _bound(self, caller: Principal, server_name: str | None, statement: str) -> tuple[Route, Bound]:
        entry = await self._instance(caller, server_name)
        route = await self._route(caller, entry)
        stored = await self._tools.of(view_of(caller), entry.server_name)
        tool = next((each for each in stored.tools if each.name == APPLY), None)
        pinned = tool is not None and tool.state == "approved"
        decision = policy.decide(caller, "database.change", resource_of(entry, pinned=pinned))
        if tool is None or tool.pin is None or not (decision.allowed or decision.visible):
            raise Unavailable("This instance takes no changes: its tool for them is not there or not approved.")
        if not decision.allowed:
            raise Forbidden(decision.reason)
        arguments = _arguments(entry.server_name, statement)
        return route, Bound(entry.server_name, APPLY, arguments, tool.pin, policy_version())

    async def _instance(self, caller: Principal, server_name: str | None) -> Entry:
        require_customer()
        if server_name is not None:
            entry = await self._catalogue.find(caller, "entry.call", server_name)
            if entry.kind != "instance":
                raise InvalidInput("This server holds no dataset: name an instance.", field="server_name")
            return entry
        found = [each for each in await self._catalogue.installed(caller) if each.kind == "instance"]
        if len(found) != 1:
            raise InvalidInput(
                "There is not exactly one instance: name it; list_installed_mcps shows which there are.",
                field="server_name",
            )
        return found[0]

    async def _route(self, caller: Principal, entry: Entry) -> Route:
        return await checked_route(self._routes, self._checks, caller, entry.server_name)

    async def _call(self, route: Route, tool: str, arguments: dict[str, Any], deadline_s: float = 15.0) -> Any:
        check(route.conditions.get(tool, ()), arguments)
        place = Place(route.url, route.operated, self._routes.upstream_header(route))
        return await call_tool(self._outgoing, place, tool, arguments, deadline_s)


@cache
def policy_version() -> Digest:
    """Digest of the rules: an approval that was asked for under others is refused."""
    return digest((resources.files("servers.marketplace") / "policy.py").read_bytes())


def _arguments(server_name: str, statement: str) -> Digest:
    return canonical_digest({"server_name": server_name, "statement": statement})


def _writing(route: Route) -> Route:
    return replace(route, grant=replace(route.grant, scopes=policy.APPROVED_WRITE))


def _reading(language: Language, statement: str, limit: int) -> tuple[str, dict[str, Any]]:
    if language == "sql":
        return "query_table", {"sql": statement, "limit": limit}
    if language == "cypher":
        return "query_graph", {"cypher": statement, "limit": limit}
    return "list_documents", {"prefix": statement, "limit": min(limit, 100)}
