"""The policy: who may do what, without any server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from servers.marketplace import policy
from servers.marketplace.policy import Resource, decide, granted


@dataclass(frozen=True)
class Someone:
    role: str
    customer: str | None = None
    subject: str = "usr_someone"
    scopes: frozenset[str] = policy.ALL


OPERATOR = Someone("platform_admin")
ORCHESTRATOR = Someone("service", subject="orchestrator")
CRADLE = Someone("service", subject="cradle")
PARTNER = Someone("partner_admin", subject="usr_partner")
ADMIN = Someone("customer_admin", "acme")
USER = Someone("customer_user", "acme")


def test_every_role_holds_only_scopes_that_some_server_knows() -> None:
    known = frozenset().union(*policy.SCOPES_OF_SERVER.values())
    for scopes in (*policy.SCOPES_OF_ROLE.values(), *policy.SCOPES_OF_SERVICE.values()):
        assert scopes <= known


def test_a_token_holds_what_was_asked_for_and_the_role_has_and_the_server_knows() -> None:
    assert granted("customer_user", None, "marketplace", None) == {"catalogue:read", "gateway:call", "database:change"}
    assert granted("customer_user", None, "marketplace", ["gateway:call", "registry:write"]) == {"gateway:call"}
    assert granted("customer_user", None, "cradle", ["process"]) == frozenset()
    assert granted("service", "orchestrator", "cradle", None) == policy.CRADLE
    assert granted("service", "unknown", "cradle", None) == frozenset()
    assert granted("no_such_role", None, "marketplace", None) == frozenset()


def test_only_the_operator_may_erase_a_customer() -> None:
    assert "customers:erase" in granted("platform_admin", None, "cradle", None)
    for role, subject in (("partner_admin", None), ("customer_admin", None), ("service", "orchestrator")):
        assert granted(role, subject, "cradle", ["customers:erase"]) == frozenset()


@pytest.mark.parametrize("action", policy.SCOPE_OF_ACTION)
def test_every_action_needs_its_scope(action: policy.Action) -> None:
    decision = decide(Someone("platform_admin", scopes=frozenset()), action, Resource())
    assert (decision.allowed, decision.scope) == (False, policy.SCOPE_OF_ACTION[action])


@pytest.mark.requirement("T-01")
@pytest.mark.parametrize("action", policy.SCOPE_OF_ACTION)
@pytest.mark.parametrize("caller", [ADMIN, USER, PARTNER, CRADLE, Someone("platform_admin", "acme")])
def test_what_belongs_to_another_customer_is_neither_allowed_nor_visible(
    action: policy.Action, caller: Someone
) -> None:
    decision = decide(caller, action, Resource("bolt", "usr_other", role="customer_user", installed=True))
    assert (decision.allowed, decision.visible) == (False, False)


@pytest.mark.requirement("A-08")
def test_another_person_decides_and_no_service_asks_or_decides_and_no_role_holds_the_scope_of_a_write() -> None:
    asked = Resource("acme", requester="usr_anna")
    assert decide(ADMIN, "approval.decide", asked).allowed
    assert not decide(Someone("customer_admin", "acme", "usr_anna"), "approval.decide", asked).allowed
    assert not decide(ADMIN, "approval.decide", Resource("acme", requester="usr_anna", one_hand=True)).allowed
    assert not decide(ORCHESTRATOR, "approval.decide", asked).allowed
    assert not decide(ORCHESTRATOR, "database.change", Resource("acme", installed=True)).allowed
    assert decide(USER, "database.change", Resource("acme", installed=True)).allowed
    assert not decide(USER, "database.change", Resource("acme", installed=True, pinned=False)).visible
    for scopes in (*policy.SCOPES_OF_ROLE.values(), *policy.SCOPES_OF_SERVICE.values()):
        assert not policy.APPROVED_WRITE & scopes


def test_those_who_act_for_every_customer_reach_each() -> None:
    for caller in (OPERATOR, ORCHESTRATOR):
        assert decide(caller, "instance.register", Resource("bolt")).allowed
        assert decide(caller, "entry.call", Resource("bolt")).allowed
    assert decide(PARTNER, "instance.register", Resource("bolt", "usr_partner")).allowed


def test_an_entry_is_called_where_it_is_installed() -> None:
    assert decide(USER, "entry.call", Resource(installed=True)).allowed
    assert not decide(USER, "entry.call", Resource()).visible
    assert not decide(USER, "entry.call", Resource(installed=True, approved=False)).allowed
    assert not decide(PARTNER, "entry.call", Resource()).allowed
    assert not decide(Someone("platform_admin", "acme"), "entry.call", Resource()).allowed


def test_an_entry_that_is_not_approved_is_hidden_from_all_but_the_operator() -> None:
    pending = Resource(approved=False)
    assert decide(OPERATOR, "entry.see", pending).allowed
    assert not decide(ADMIN, "entry.see", pending).visible
    assert not decide(OPERATOR, "entry.install", pending).allowed


@pytest.mark.parametrize(
    ("caller", "role", "customer", "allowed"),
    [
        (OPERATOR, "platform_admin", None, True),
        (OPERATOR, "customer_user", "acme", True),
        (OPERATOR, "customer_user", None, False),
        (OPERATOR, "platform_admin", "acme", False),
        (OPERATOR, "service", None, False),
        (PARTNER, "platform_admin", None, False),
        (ADMIN, "customer_admin", "acme", True),
        (ADMIN, "partner_admin", None, False),
        (ADMIN, "platform_admin", None, False),
        (USER, "customer_user", "acme", False),
        (ORCHESTRATOR, "platform_admin", None, False),
    ],
)
def test_nobody_makes_users_above_their_own_reach(
    caller: Someone, role: str, customer: str | None, allowed: bool
) -> None:
    assert decide(caller, "user.create", Resource(customer, role=role)).allowed is allowed


def test_nobody_makes_an_account_that_holds_more_than_the_token_it_is_made_with() -> None:
    made = Resource("acme", role="customer_user")
    little = Someone("customer_admin", "acme", scopes=frozenset({"users:write", "gateway:call"}))
    assert not decide(little, "user.create", made).allowed
    assert decide(little, "user.disable", made).allowed
    needed = granted("customer_user", None, "marketplace", None)
    assert decide(Someone("customer_admin", "acme", scopes=needed | {"users:write"}), "user.create", made).allowed


@pytest.mark.parametrize("caller", [ADMIN, USER])
def test_customers_register_neither_customers_nor_instances_with_the_scopes_of_their_role(caller: Someone) -> None:
    held = Someone(caller.role, caller.customer, scopes=policy.scopes_of(caller.role))
    assert not decide(held, "customer.register", Resource("acme")).allowed
    assert not decide(held, "instance.register", Resource("acme")).allowed


@pytest.mark.parametrize("action", policy.SCOPE_OF_ACTION)
@pytest.mark.parametrize("caller", [ADMIN, PARTNER, ORCHESTRATOR, Someone("customer_user", "acme", scopes=frozenset())])
@pytest.mark.parametrize("resource", [Resource("acme", installed=True), Resource("bolt"), Resource(approved=False)])
def test_an_explanation_ends_as_the_decision_does(action: policy.Action, caller: Someone, resource: Resource) -> None:
    steps = policy.explain(caller, action, resource)
    assert [step for step, _ in steps] == ["scope", "customer", "rule"]
    decision = decide(caller, action, resource)
    assert decision.allowed == all(each.allowed for _, each in steps)
    assert decision == next((each for _, each in steps if not each.allowed), steps[-1][1])


@pytest.mark.parametrize(
    ("caller", "action", "lacks", "allowed", "visible"),
    [
        (USER, "entry.see", {}, True, True),
        (USER, "entry.see", {"approved": False}, False, False),
        (USER, "entry.see", {"approved": False, "registered_by": USER.subject}, True, True),
        (USER, "entry.see", {"tier_reached": False}, False, False),
        (OPERATOR, "entry.see", {"approved": False}, True, True),
        (ADMIN, "entry.install", {}, True, True),
        (ADMIN, "entry.install", {"approved": False}, False, False),
        (ADMIN, "entry.install", {"tier_reached": False}, False, False),
        (ADMIN, "entry.install", {"licensed": False}, False, True),
        (OPERATOR, "entry.install", {"approved": False}, False, True),
        (USER, "entry.call", {"installed": True}, True, True),
        (USER, "entry.call", {"installed": True, "licensed": False}, False, False),
        (USER, "entry.call", {"installed": True, "tier_reached": False}, False, False),
        (OPERATOR, "entry.call", {"licensed": False}, False, False),
        (OPERATOR, "entry.review", {"approved": False}, True, True),
        (PARTNER, "entry.review", {}, False, True),
        (ADMIN, "instance.register", {}, False, True),
        (PARTNER, "instance.register", {}, True, True),
        (ORCHESTRATOR, "instance.register", {}, True, True),
    ],
)
def test_what_an_entry_lacks_decides_who_sees_installs_and_calls_it(
    caller: Someone, action: policy.Action, lacks: dict[str, Any], allowed: bool, visible: bool
) -> None:
    decision = decide(caller, action, Resource(**lacks))
    assert (decision.allowed, decision.visible) == (allowed, visible)


def test_whoever_sets_a_tier_or_a_licence_without_being_the_operator_is_told_whose_it_is() -> None:
    reason = decide(PARTNER, "entry.review", Resource()).reason
    assert all(word in reason for word in ("operator", "tiers", "licences"))


def test_services_hold_what_they_do_at_each_server_and_nothing_else() -> None:
    assert granted("service", "cradle", "marketplace", None) == {"usage:write", "catalogue:read"}
    assert granted("service", "cradle", "cradle", None) == {"status"}
    assert granted("service", "orchestrator", "marketplace", None) == {
        "usage:write", "catalogue:read", "catalogue:install", "registry:write", "gateway:call",
    }  # fmt: skip
    at_orchestrator = {"customers:read", "customers:write", "jobs:read", "jobs:write"}
    at_cradle = {
        "embed", "ocr", "process", "installations:read", "installations:write", "images:read", "images:write", "status",
    }  # fmt: skip
    assert granted("partner_admin", None, "orchestrator", None) == at_orchestrator | at_cradle
    assert granted("service", "orchestrator", "cradle", None) == at_cradle
