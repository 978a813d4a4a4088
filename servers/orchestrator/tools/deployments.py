"""Running a customer's image: deploy it, see where it runs, go back to an earlier version, stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field

from servers.orchestrator.access import known_customer
from servers.orchestrator.orders import DEFAULTS, Migration, Order, Request, busy
from servers.orchestrator.services import Services
from servers.orchestrator.store import Customer
from servers.orchestrator.tools.arguments import CustomerArgument, KeyArgument, handle
from servers.orchestrator.workflows.plan import image_tag
from shared.contracts.deployment import (
    AcceptedDifference,
    DeploymentList,
    DeploymentStopped,
    EngineFound,
    HostName,
    Question,
    VersionTag,
)
from shared.contracts.installation import ParameterChoice
from shared.contracts.job import JobHandle
from shared.errors import Conflict

HostArgument = Annotated[
    HostName,
    Field(description="'local': the platform's own container engine; others are named in P0711_DEPLOYMENT_HOSTS."),
]


def register(server: Any, services: Callable[[], Services]) -> None:
    """Offers the tools on the server."""

    async def deploy_customer(
        customer_id: CustomerArgument,
        tag: Annotated[
            VersionTag | None,
            Field(description="A version of list_deployments; default: that of the newest completed job."),
        ] = None,
        host: HostArgument = "local",
        port: Annotated[
            int | None, Field(ge=1024, le=65535, description="Leave out to get one that nobody has.")
        ] = None,
        questions: Annotated[
            list[Question] | None,
            Field(
                max_length=20,
                description="Questions with words that an answer must hold. They are kept and asked of each later "
                "image too: leave out to keep them, an empty list asks none.",
            ),
        ] = None,
        idempotency_key: KeyArgument = None,
    ) -> JobHandle:
        """Run a customer's signed image in a container engine. Returns a job at once.

        Use it to put a customer into service, or to exchange what runs. The image is tried beside what serves, asked
        sampled and planted questions, and takes over only if it answers; else what served goes on. An unsigned, altered
        or foreign image is refused. The same image again changes nothing. The job shows the address, and the file that
        holds the access key.
        """
        held = services()
        customer = await known_customer(held.store, customer_id)
        said = {"tag": tag, "host": host, "port": port}
        chosen = {**said, "tag": tag or await _newest(held, customer)}
        planted = None if questions is None else _plain(questions)

        async def check() -> None:
            await held.cradle("check_deployment", EngineFound, customer_id, **chosen)

        order = Order("deployment", choice=chosen, said=said, questions=planted)
        return handle(await held.orders.start(customer, order, idempotency_key, check))

    async def migrate_customer(
        company_name: Annotated[str, Field(max_length=200, description="As on the letterhead: 'Muster GmbH'.")],
        contact_email: Annotated[str, Field(max_length=254, description="The customer's contact address.")],
        legacy: Annotated[
            str,
            Field(
                min_length=1,
                max_length=2000,
                description="Folder of the legacy deployment: original files, and beside them its Delta and LanceDB "
                "tables where it has some. As data_sources of initialize_customer name folders.",
            ),
        ],
        host: Annotated[
            HostName | None, Field(description="Deploy the new image there once it is reconciled; leave out: nowhere.")
        ] = None,
        questions: Annotated[
            list[Question] | None,
            Field(max_length=20, description="Questions that the legacy one answers, with words of its answers."),
        ] = None,
        accept_differences: Annotated[
            list[AcceptedDifference] | None,
            Field(
                max_length=9,
                description="Differences that are accepted: a check's name, whatever it counts, or a difference as a "
                "refusal writes it, 'articles: 2 of 12 are missing', with these counts alone.",
            ),
        ] = None,
        ask: Annotated[
            bool, Field(description="Ask about other differences, by answer_job, instead of failing at once.")
        ] = False,
        installation_params: Annotated[
            ParameterChoice | None, Field(description="How documents are cut and read; leave out for the defaults.")
        ] = None,
        idempotency_key: KeyArgument = None,
    ) -> JobHandle:
        """Make a customer's new image out of its legacy deployment, and reconcile the two. Returns a job at once.

        Use it once for a customer of an earlier platform. The legacy folder is copied, its files are processed anew,
        and counts, article numbers and sample answers are compared with its tables. A difference refuses the cut-over
        by name; with ask the job first waits for an answer, three days at most. The legacy deployment is only read and
        goes on until you stop it.
        """
        asked = Migration(host, tuple(accept_differences or ()), ask, _plain(questions or []))
        request = Request(
            company_name, contact_email, [legacy], choice=installation_params or DEFAULTS, migration=asked
        )
        if host is not None:
            await services().cradle("find_engine", EngineFound, None, host=host)
        return handle(await services().orders.onboard(request, idempotency_key))

    async def rollback_customer(
        customer_id: CustomerArgument,
        tag: Annotated[VersionTag, Field(description="A version of list_deployments.")],
        host: HostArgument = "local",
        idempotency_key: KeyArgument = None,
    ) -> JobHandle:
        """Let a running instance serve an earlier version again. Returns a job at once.

        Use it when an update turns out wrong. A version that the instance still has is switched to without down-time;
        any other comes from the archive. process_new_documents brings the newest files in again.
        """
        held = services()
        customer = await known_customer(held.store, customer_id)
        chosen = {"tag": tag, "host": host}

        async def check() -> None:
            await held.cradle("check_rollback", EngineFound, customer_id, **chosen)

        return handle(await held.orders.start(customer, Order("rollback", choice=chosen), idempotency_key, check))

    async def list_deployments(customer_id: CustomerArgument) -> DeploymentList:
        """Show where a customer's image runs, each instance asked just now, and its versions.

        Use it to find an address, the file of the access key, or a tag to go back to.
        """
        held = services()
        await known_customer(held.store, customer_id)
        return await held.cradle("list_deployments", DeploymentList, customer_id)

    async def stop_deployment(
        customer_id: CustomerArgument,
        host: HostArgument = "local",
        release: Annotated[bool, Field(description="Give back the port, and the volume with its updates.")] = False,
    ) -> DeploymentStopped:
        """Stop a running instance. Its port and its volume with the updates stay, so deploy_customer brings it back.

        Use it to take an instance out of service.
        """
        held = services()
        await known_customer(held.store, customer_id)
        return await held.cradle("stop_deployment", DeploymentStopped, customer_id, host=host, release=release)

    server.tool(deploy_customer, scope="images:write", title="Deploy a customer's image", idempotent=True)
    server.tool(migrate_customer, scope="customers:write", title="Migrate a customer", idempotent=True)
    server.tool(
        rollback_customer, scope="images:write", title="Roll a customer back", destructive=True, idempotent=True
    )
    server.tool(
        list_deployments, scope="images:read", title="List a customer's deployments", read_only=True, idempotent=True
    )
    server.tool(stop_deployment, scope="images:write", title="Stop a deployment", destructive=True, idempotent=True)


async def _newest(held: Services, customer: Customer) -> str:
    async with held.store.session(customer.customer_id) as session:
        delivered = await session.last_delivery(customer.customer_id)
        making = await session.open_job(customer.customer_id)
    if delivered is None:
        if making is not None:
            raise busy(making)
        raise Conflict("This customer has no image yet: initialize_customer or build_image makes one.")
    return image_tag(delivered.result)


def _plain(questions: list[Question]) -> list[dict[str, Any]]:
    return [each.model_dump() for each in questions]
