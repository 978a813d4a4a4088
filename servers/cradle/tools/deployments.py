"""Deployments: start a signed image, bring what runs up to date, go back, list and stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import Field

from servers.cradle import deployment
from servers.cradle.services import Services
from shared.auth import require_customer
from shared.contracts.deployment import (
    DeploymentList,
    DeploymentMade,
    DeploymentStopped,
    EngineFound,
    HostName,
    InstancesUpdated,
    Question,
    QuestionsKept,
    VersionTag,
)
from shared.serving import Server

Port = Annotated[int, Field(ge=1024, le=65535)]


def register(server: Server, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def keep_questions(questions: Annotated[list[Question], Field(max_length=20)]) -> QuestionsKept:
        """Keep questions with known answers in the customer's bucket. Use it before deploy_image, which asks them."""
        return await deployment.keep_questions(services(), require_customer(), questions)

    async def find_engine(host: HostName = "local") -> EngineFound:
        """Say whether a host's container engine answers. Use it before a deployment is ordered."""
        return EngineFound(host=host, engine=await services().deployments.engine_of(host))

    async def check_deployment(tag: VersionTag, host: HostName = "local", port: Port | None = None) -> EngineFound:
        """Say whether deploy_image may begin: engine, image and port. Use it before a deployment is ordered."""
        checked = await deployment.check_deployment(services(), require_customer(), tag, host, port)
        return EngineFound(host=host, engine=checked)

    async def check_rollback(tag: VersionTag, host: HostName = "local") -> EngineFound:
        """Say whether roll_back_instance may begin: engine, instance and image. Use it before it is ordered."""
        checked = await deployment.check_rollback(services(), require_customer(), tag, host)
        return EngineFound(host=host, engine=checked)

    async def deploy_image(tag: VersionTag, host: HostName = "local", port: Port | None = None) -> DeploymentMade:
        """Let the customer's signed image serve on a host. Use it after archive_image.

        It is tried beside what serves and takes over only when it answers; else what served goes on. The same image
        again changes nothing.
        """
        return await deployment.deploy(services(), require_customer(), tag, host, port)

    async def update_instances(tag: VersionTag) -> InstancesUpdated:
        """Bring the customer's running instances to the dataset of its newest image. Use it after archive_image."""
        return await deployment.update_instances(services(), require_customer(), tag)

    async def roll_back_instance(tag: VersionTag, host: HostName = "local") -> DeploymentMade:
        """Let an instance serve an earlier version. Use it with a tag that list_deployments names.

        An instance that does not answer gets the archived image. Approved changes are set aside and come back with the
        image that they were made on.
        """
        return await deployment.roll_back(services(), require_customer(), tag, host)

    async def list_deployments() -> DeploymentList:
        """List the customer's instances, each asked just now, and its versions. Use it to find an address or a tag."""
        return await deployment.deployments(services(), require_customer())

    async def stop_deployment(host: HostName = "local", release: bool = False) -> DeploymentStopped:
        """Stop an instance; its port and volume stay. Use it to take an instance out of service.

        With `release` its port is given back and its volume, with the updates in it, is removed.
        """
        customer = require_customer()
        ran = await services().deployments.stop(customer, host, release=release)
        return DeploymentStopped(customer_id=customer, host=host, was_running=ran)

    longest = server.settings.job_step_deadline_s
    titles = {
        keep_questions: "Keep planted questions",
        deploy_image: "Deploy an image",
        update_instances: "Update instances",
        roll_back_instance: "Roll an instance back",
    }
    for tool, title in titles.items():
        server.tool(tool, scope="images:write", title=title, idempotent=True, deadline_s=longest)
    server.tool(stop_deployment, scope="images:write", title="Stop a deployment", destructive=True, idempotent=True)
    server.tool(find_engine, scope="images:read", title="Find an engine", read_only=True, idempotent=True)
    server.tool(check_deployment, scope="images:read", title="Check a deployment", read_only=True, idempotent=True)
    server.tool(check_rollback, scope="images:read", title="Check a roll-back", read_only=True, idempotent=True)
    server.tool(list_deployments, scope="images:read", title="List deployments", read_only=True, idempotent=True)
