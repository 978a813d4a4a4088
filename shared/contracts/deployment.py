"""Deployments: where a customer's instance runs. Ports, digests and places; holds no content."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, StringConstraints

from shared.contracts.model import Contract
from shared.ids import CustomerId, Digest

HostName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]
"""A container engine by the name that the operator gave it in P0711_DEPLOYMENT_HOSTS; `local`: the platform's own."""

VersionTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$")]


class Question(Contract):
    """What an instance is asked before it may serve, and words that one of the first passages has to hold."""

    question: str = Field(min_length=3, max_length=500)
    expected: str = Field(min_length=1, max_length=200)


class EngineFound(Contract):
    """A host's container engine answers."""

    host: HostName
    engine: str = Field(description="Its version, and how instances run in it.")


class QuestionsKept(Contract):
    """The planted questions lie in the customer's bucket; every gate asks them."""

    questions: int = Field(ge=0)
    digest: Digest


class Deployment(Contract):
    """One instance on one host."""

    customer_id: CustomerId
    host: HostName
    port: int = Field(ge=1, le=65535)
    url: str = Field(description="Its MCP endpoint; the console is at the same address without /mcp.")
    state: Literal["reserved", "serving", "unhealthy", "stopped"]
    tag: VersionTag | None = None
    image_digest: Digest | None = None
    dataset_digest: Digest | None = Field(None, description="The version of the dataset that answers now.")
    access_key_file: str = Field(description="File of the platform's machine (0600) that holds its access key.")


How = Literal["unchanged", "deployed", "updated in place", "version switched"]


class DeploymentMade(Contract):
    """What deploying, updating or rolling back came to."""

    deployment: Deployment
    how: How
    checks: int = Field(ge=0, description="Checks that the instance passed before it was kept.")


class InstancesUpdated(Contract):
    """The customer's running instances after an update; none where nothing is deployed."""

    made: list[DeploymentMade]


class DeploymentList(Contract):
    """A customer's deployments, and the versions that rollback_customer can go back to, oldest first."""

    deployments: list[Deployment]
    versions: list[VersionTag]


class DeploymentStopped(Contract):
    """The instance does not run any more; its volume and port are kept."""

    customer_id: CustomerId
    host: HostName
    was_running: bool


class LegacyPrepared(Contract):
    """A legacy deployment that a migration may begin with."""

    sources_digest: Digest


class LegacyBackup(Contract):
    """What was copied of a legacy deployment, by counts; devices, sockets and pipes count as links. `digest` is over
    every file's name and hash."""

    files: int = Field(ge=0)
    tables: int = Field(ge=0)
    links_left_out: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    digest: Digest


ReconciledBy = Literal[
    "documents", "missing documents", "unreadable documents", "articles", "unrecognised tables", "sample answers",
    "planted questions", "changes since the copy", "links",
]  # fmt: skip
"""What a migration is reconciled by; a difference is accepted by this name."""
AcceptedDifference = Annotated[
    str, StringConstraints(pattern=rf"^({'|'.join(get_args(ReconciledBy))})(: [^\n]{{1,200}})?$")
]
"""Such a name: whatever the difference is. With the counts behind it, as a refusal says them: this difference alone."""
