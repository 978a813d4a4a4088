"""Who may do what: one table of scopes and one pure function that every list, call and token is decided by.

Roles: `platform_admin` runs the platform, `partner_admin` brings customers and acts only for those, `customer_admin`
and `customer_user` belong to one customer, `service` is another server of the platform.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from shared.auth import CUSTOMER_ROLES

UserRole = Literal["platform_admin", "partner_admin", "customer_admin", "customer_user"]
Action = Literal[
    "customer.register", "instance.register", "entry.see", "entry.install", "entry.call", "entry.review", "tool.call",
    "user.create", "user.disable", "database.change", "approval.decide",
]  # fmt: skip

Step = Literal["scope", "customer", "rule", "server", "condition"]

CRADLE = frozenset({
    "embed", "ocr", "process", "installations:read", "installations:write", "images:read", "images:write", "status",
})  # fmt: skip
ERASURE = frozenset({"customers:erase"})  # at cradle; the operator's alone, not even another server's
ORCHESTRATOR = CRADLE | {"customers:read", "customers:write", "jobs:read", "jobs:write"}
MARKETPLACE = frozenset({
    "catalogue:read", "catalogue:install", "registry:write", "users:write", "gateway:call", "database:change",
    "approvals:decide", "usage:read",
})  # fmt: skip
APPROVED_WRITE = frozenset({"dataset:write"})  # at an instance; no role holds it, a dispatched approval does
USAGE = frozenset({"usage:write"})  # at the marketplace; no role holds it, a server that serves for cradle does
INSTANCE = frozenset({"dataset:read"})
TAX = frozenset({"tax:use"})
ALL = ORCHESTRATOR | MARKETPLACE | INSTANCE | TAX

SCOPES_OF_SERVER: dict[str, frozenset[str]] = {
    "orchestrator": ORCHESTRATOR,
    "cradle": CRADLE | ERASURE,
    "marketplace": MARKETPLACE | USAGE,
    "instance": INSTANCE,
    "tax": TAX,
}

SCOPES_OF_ROLE: dict[str, frozenset[str]] = {
    "platform_admin": ALL | ERASURE,
    "partner_admin": ALL,
    "customer_admin": frozenset({
        "catalogue:read", "catalogue:install", "users:write", "gateway:call", "dataset:read", "embed", "ocr",
        "customers:read", "jobs:read", "installations:read", "database:change", "approvals:decide", "tax:use",
        "usage:read",
    }),
    "customer_user": frozenset({
        "catalogue:read", "gateway:call", "dataset:read", "embed", "ocr", "database:change", "tax:use",
    }),
}  # fmt: skip

SCOPES_OF_SERVICE: dict[str, frozenset[str]] = {
    "orchestrator": CRADLE
    | USAGE
    | {"catalogue:read", "catalogue:install", "registry:write", "gateway:call", "dataset:read"},
    "cradle": USAGE | {"catalogue:read", "status"},
}

SERVICES_FOR_CUSTOMERS = frozenset({"orchestrator"})
"""Services that may act for a customer that they name."""

SCOPE_OF_ACTION: dict[Action, str] = {
    "customer.register": "registry:write",
    "instance.register": "registry:write",
    "entry.see": "catalogue:read",
    "entry.install": "catalogue:install",
    "entry.call": "gateway:call",
    "entry.review": "registry:write",
    "tool.call": "gateway:call",
    "user.create": "users:write",
    "user.disable": "users:write",
    "database.change": "database:change",
    "approval.decide": "approvals:decide",
}

ROLES_GIVEN_BY: dict[str, frozenset[str]] = {
    "platform_admin": frozenset({"platform_admin", "partner_admin", "customer_admin", "customer_user"}),
    "partner_admin": CUSTOMER_ROLES,
    "customer_admin": CUSTOMER_ROLES,
}


class Caller(Protocol):
    """What a decision needs to know of a caller; `shared.auth.Principal` is one."""

    @property
    def subject(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def customer(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Resource:
    """What an action is about.

    Args:
        customer: the customer that owns it; None where it is the platform's.
        partner: the partner's user id that brought this customer.
        role: the role of the user that is created or disabled.
        approved: a catalogue entry's state.
        installed: the entry is installed for the caller's customer.
        pinned: the tool is defined as it was approved.
        requester: who asked for what is decided.
        one_hand: one person may hold the requester's account and the caller's.
        registered_by: who put the entry there; sees it before it is approved.
        tier_reached: the customer's tier has what the entry's tier needs.
        licensed: the entry needs no licence, or the customer has a valid one.
    """

    customer: str | None = None
    partner: str | None = None
    role: str | None = None
    approved: bool = True
    installed: bool = False
    pinned: bool = True
    requester: str | None = None
    one_hand: bool = False
    registered_by: str | None = None
    tier_reached: bool = True
    licensed: bool = True


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer and the reason in words. `visible` is False where the caller must not learn that the thing exists."""

    allowed: bool
    reason: str
    visible: bool = True
    scope: str | None = None


def scopes_of(role: str, service: str | None = None) -> frozenset[str]:
    """The most that a role (or, for `service`, this service identity) can hold."""
    if role == "service":
        return SCOPES_OF_SERVICE.get(service or "", frozenset())
    return SCOPES_OF_ROLE.get(role, frozenset())


def granted(role: str, service: str | None, server: str, asked: Iterable[str] | None) -> frozenset[str]:
    """The scopes of a token: what was asked for (None: all), of what the role holds, of what the server knows.

    `server` is a key of SCOPES_OF_SERVER; any other server knows the scopes of an instance.
    """
    most = scopes_of(role, service) & SCOPES_OF_SERVER.get(server, INSTANCE)
    return most if asked is None else most & frozenset(asked)


def may_act_for(role: str, subject: str, own: str | None, customer: str, partner: str | None) -> bool:
    """Whether an identity may hold a token that names this customer.

    Args:
        own: the customer that the identity belongs to.
        partner: the partner that brought the named customer.
    """
    if own is not None:
        return own == customer
    if role == "service":
        return subject in SERVICES_FOR_CUSTOMERS
    if role == "partner_admin":
        return partner == subject
    return role == "platform_admin"


def decide(caller: Caller, action: Action, resource: Resource) -> Decision:
    """Whether the caller may do this. The same function decides lists and calls, so that they cannot differ."""
    decision = Decision(False, "")
    for _, decision in _steps(caller, action, resource):
        if not decision.allowed:
            break
    return decision


def explain(caller: Caller, action: Action, resource: Resource) -> tuple[tuple[Step, Decision], ...]:
    """What `decide` looks at, each step with its answer, whether or not one before it refuses."""
    return tuple(_steps(caller, action, resource))


def _steps(caller: Caller, action: Action, resource: Resource) -> Iterator[tuple[Step, Decision]]:
    scope = SCOPE_OF_ACTION[action]
    held = scope in caller.scopes
    yield "scope", Decision(held, f"This needs the scope {scope}.", scope=None if held else scope)
    if _reaches(caller, resource):
        yield "customer", Decision(True, "It belongs to everyone, or to a customer that the caller acts for.")
    else:
        yield "customer", Decision(False, "It belongs to another customer.", visible=False)
    yield "rule", _RULES[action](caller, resource)


def _reaches(caller: Caller, resource: Resource) -> bool:
    if resource.customer is None:
        return True
    return may_act_for(caller.role, caller.subject, caller.customer, resource.customer, resource.partner)


def _register_customer(caller: Caller, resource: Resource) -> Decision:
    return Decision(True, "The caller registers customers.")


def _register_instance(caller: Caller, resource: Resource) -> Decision:
    if caller.role in CUSTOMER_ROLES:
        return Decision(False, "Instances are registered by services and administrators.")
    return Decision(True, "The caller registers instances.")


def _see_entry(caller: Caller, resource: Resource) -> Decision:
    if not resource.approved and caller.role != "platform_admin" and caller.subject != resource.registered_by:
        return Decision(False, "The entry is not approved.", visible=False)
    if not resource.tier_reached:
        return Decision(False, "The customer's tier does not have the entry.", visible=False)
    return Decision(True, "The entry is visible.")


def _install_entry(caller: Caller, resource: Resource) -> Decision:
    if not resource.approved:
        return Decision(False, "The entry is not approved.", visible=caller.role == "platform_admin")
    if not resource.tier_reached:
        return Decision(False, "The customer's tier does not have the entry.", visible=False)
    if not resource.licensed:
        return Decision(False, "This server needs a licence: ask the platform's operator for one.")
    return Decision(True, "The entry may be installed.")


def _call_entry(caller: Caller, resource: Resource) -> Decision:
    if not resource.licensed:
        return Decision(False, "It needs a licence, and the customer has no valid one: the operator issues it.", False)
    if not (resource.approved and resource.tier_reached):
        return Decision(False, "The entry is not approved, or the customer's tier does not have it.", visible=False)
    if resource.installed:
        return Decision(True, "The entry is installed.")
    if caller.customer is None and caller.role in {"platform_admin", "service"}:
        return Decision(True, "The platform's own account calls it at its endpoint, without installing it.")
    return Decision(
        False, "The entry is not installed: install_mcp, with an account of the customer that may.", visible=False
    )


def _review_entry(caller: Caller, resource: Resource) -> Decision:
    if caller.role != "platform_admin":
        return Decision(
            False,
            "This is the operator's: servers are reviewed, and tiers, licences and rules set, by its administrators.",
        )
    return Decision(True, "The caller is the operator's.")


def _call_tool(caller: Caller, resource: Resource) -> Decision:
    decision = _call_entry(caller, resource)
    if decision.allowed and not resource.pinned:
        return Decision(
            False,
            "No tool of this name and definition is approved: tools/list shows which are, and where one has changed, "
            "the operator approves it with check_mcp and approve_mcp_tools.",
            visible=False,
        )
    return decision


def _change_user(caller: Caller, resource: Resource) -> Decision:
    if resource.role not in ROLES_GIVEN_BY.get(caller.role, frozenset()):
        return Decision(False, "The caller's role does not manage users of this role.")
    if (resource.role in CUSTOMER_ROLES) != (resource.customer is not None):
        return Decision(False, "A customer's role needs a customer, a platform's role has none.")
    return Decision(True, "The caller manages this user.")


def _create_user(caller: Caller, resource: Resource) -> Decision:
    decision = _change_user(caller, resource)
    if decision.allowed and not granted(resource.role or "", None, "marketplace", None) <= caller.scopes:
        # Else a program that was let in for a little would make itself an account for everything.
        return Decision(False, "The account would hold more than this token does: sign in with all that your role has.")
    return decision


def _change_database(caller: Caller, resource: Resource) -> Decision:
    if caller.role == "service":
        return Decision(False, "Changes are asked for by people, each with an account of its own.")
    return _call_tool(caller, resource)


def _decide_approval(caller: Caller, resource: Resource) -> Decision:
    if caller.role == "service":
        return Decision(False, "Changes are decided by people.")
    if resource.requester == caller.subject:
        return Decision(False, "Another person decides: nobody approves what they asked for themselves.")
    if resource.one_hand:
        return Decision(
            False,
            "Another person decides: one of these two accounts made the other, or a third of this customer made both. "
            "The operator or the partner makes an account for someone who decides.",
        )
    return Decision(True, "The caller decides on changes.")


_RULES = {
    "customer.register": _register_customer,
    "instance.register": _register_instance,
    "entry.see": _see_entry,
    "entry.install": _install_entry,
    "entry.call": _call_entry,
    "entry.review": _review_entry,
    "tool.call": _call_tool,
    "user.create": _create_user,
    "user.disable": _change_user,
    "database.change": _change_database,
    "approval.decide": _decide_approval,
}
