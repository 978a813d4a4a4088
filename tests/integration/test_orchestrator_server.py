"""The orchestrator over HTTP beside the real marketplace: what it lists, who sees what, tasks, resources, health."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from mcp_types import ElicitRequest, ElicitRequestFormParams

from servers.cradle.deployments.token_keys import token_keys
from servers.orchestrator.app import build
from servers.orchestrator.orders import Migration, Request
from servers.orchestrator.workflows.steps import Work, register, register_instance
from shared import answers
from shared.auth.keys import read_keys
from shared.client import Upstream
from shared.client.credentials import FileTokens
from shared.contracts.catalogue import CataloguePage
from shared.contracts.job import JobHandle, JobQuestion, JobResult, JobView
from shared.errors import Internal, StorageFull, Unavailable
from shared.postgres.migrations import migrate
from tests.orchestrator_rig import (
    DIGEST,
    TASKS,
    Rig,
    free_port,
    put_customer,
    put_job,
    put_onboarded,
    running_rig,
    settings_in,
)

EXTENSIONS = {"extensions": {TASKS: {}}}
NO_JOB = "job_" + "a" * 26


@pytest.fixture(scope="module")
async def rig(postgres_server, tmp_path_factory) -> AsyncIterator[Rig]:
    urls = postgres_server.urls
    for package in ("shared", "servers.orchestrator"):
        await migrate(urls["platform"].owner, package)
    for package in ("shared", "servers.marketplace"):
        await migrate(urls["user_registry"].owner, package)
    async with running_rig(settings_in(tmp_path_factory.mktemp("home")), urls) as running:
        yield running


@pytest.fixture(scope="module")
async def users(rig: Rig) -> dict[str, str]:
    """Tokens: a partner with its customer `teilwerk`, and an administrator of the customer `ownwerk`."""
    marketplace = rig.services.upstreams.marketplace
    for customer_id in ("ownwerk", "teilwerk", "fremdwerk"):
        registered = {"customer_id": customer_id, "company_name": customer_id, "contact_email": "a@example.com"}
        await marketplace.call("register_customer", registered)
    return {
        "customer_admin": await _user(rig, "customer_admin", "ownwerk"),
        "partner": await _user(rig, "partner_admin"),
    }


async def _user(rig: Rig, role: str, customer_id: str | None = None) -> str:
    """A token of a new user that the real marketplace made."""
    operator = Upstream(rig.settings.resource("marketplace"), FileTokens(rig.settings, "operator"))
    arguments: dict[str, Any] = {"email": f"{role}@example.com", "role": role}
    arguments |= {"customer_id": customer_id} if customer_id else {}
    made = await operator.call("create_user", arguments)
    await operator.aclose()
    return await rig.tokens(client_id=made["client_id"], client_secret=made["client_secret"])


@pytest.mark.requirement("M-03")
async def test_every_tool_is_titled_described_annotated_and_typed_and_the_list_is_stable(rig: Rig) -> None:
    first = (await rig.request("tools/list", {}, None))["result"]["tools"]
    again = (await rig.request("tools/list", {}, None))["result"]["tools"]
    assert first == again
    assert {tool["name"] for tool in first} == {
        "initialize_customer", "process_new_documents", "get_job", "cancel_job", "list_customers", "get_customer",
        "embed", "ocr", "save_installation_params", "get_installation_params", "build_image", "verify_customer",
        "platform_status", "deploy_customer", "rollback_customer", "list_deployments", "stop_deployment",
        "migrate_customer", "answer_job", "list_installation_params",
    }  # fmt: skip
    for tool in first:
        assert tool["title"]
        assert "Use it" in tool["description"]
        assert tool["annotations"]["title"] == tool["title"]
        assert tool["inputSchema"]["type"] == "object"
        assert tool["outputSchema"]["type"] == "object"
        for argument in tool["inputSchema"].get("properties", {}).values():
            assert "default" in argument or "type" in argument or "$ref" in argument or "anyOf" in argument


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"contact_email": "nobody"}, "contact_email"),
        ({"company_name": ""}, "company_name"),
        ({"company_name": "!!!"}, "company_name"),
        ({"deployment_target": "moon"}, "deployment_target"),
        ({"mcps": ["io.0711/nirgends"]}, "mcps"),
        ({"data_sources": []}, "data_sources"),
        ({"mcps": ["not a name"]}, "mcps.0"),
        ({"installation_params": {"chunk_tokens": 1}}, "installation_params.chunk_tokens"),
        ({"idempotency_key": "\u200b"}, "idempotency_key"),
    ],
)
async def test_bad_input_comes_back_as_one_sentence_that_names_the_argument(rig: Rig, arguments, field: str) -> None:
    good = {"company_name": "Neu GmbH", "contact_email": "a@example.com", "data_sources": ["file:///data"]}
    result = (await rig.call("initialize_customer", {**good, **arguments}))["result"]
    assert result["isError"]
    assert result["_meta"]["0711/error"]["code"] == "invalid_input"
    assert result["_meta"]["0711/error"]["field"] == field
    assert await rig.store.customer("neu") is None


@pytest.mark.requirement("M-04")
@pytest.mark.parametrize("version", [0, 2**31, "oldest"])
async def test_a_parameter_version_is_a_number_from_one_or_newest(rig: Rig, version) -> None:
    arguments = {"customer_id": "zeigwerk", "parameter_version": version}
    result = (await rig.call("process_new_documents", arguments))["result"]
    assert result["_meta"]["0711/error"]["code"] == "invalid_input"
    assert result["_meta"]["0711/error"]["field"].startswith("parameter_version")


async def test_an_update_is_ordered_with_the_newest_parameters(rig: Rig) -> None:
    await put_onboarded(rig.store, "neuwerk")
    arguments = {"customer_id": "neuwerk", "parameter_version": "newest"}
    made = (await rig.call("process_new_documents", arguments))["result"]["structuredContent"]
    assert (made["kind"], made["state"]) == ("update", "queued")
    job = await rig.store.job(made["job_id"], "neuwerk")
    assert job is not None
    assert "parameter_version" not in job.result.numbers


async def test_a_customer_whose_sources_cannot_be_checked_is_not_there_afterwards(rig: Rig) -> None:
    good = {"company_name": "Spät GmbH", "contact_email": "a@example.com", "data_sources": ["file:///data"]}
    result = (await rig.call("initialize_customer", good | {"mcps": ["io.0711/tax"]}))["result"]
    assert result["_meta"]["0711/error"]["code"] == "unavailable"
    assert "0711 up" in result["content"][0]["text"]
    assert await rig.store.customer("spaet") is None
    mended = {"customer_id": "spaet", "company_name": "Spät GmbH", "contact_email": "b@example.com"}
    known = await rig.services.upstreams.marketplace.call("register_customer", mended)
    assert not known["already_there"]


async def test_a_job_is_shown_with_what_it_made_and_concisely_while_it_runs(rig: Rig) -> None:
    await put_onboarded(rig.store, "zeigwerk")
    view = (await rig.call("get_customer", {"customer_id": "zeigwerk"}))["result"]["structuredContent"]
    assert view["delivered"]["digests"]["image"] == DIGEST
    job = (await rig.call("get_job", {"job_id": view["jobs"][0]["job_id"]}))["result"]["structuredContent"]
    assert job["state"] == "completed"
    assert job["result"]["numbers"]["documents"] == 3
    running = (await rig.call("build_image", {"customer_id": "zeigwerk"}))["result"]["structuredContent"]
    arguments = {"job_id": running["job_id"]}
    concise = (await rig.call("get_job", arguments))["result"]["structuredContent"]
    assert not concise.get("result")
    detailed = (await rig.call("get_job", {**arguments, "detail": "detailed"}))["result"]["structuredContent"]
    assert detailed["result"]["numbers"] == {"parameter_version": 1}


async def test_a_job_that_failed_with_an_image_does_not_replace_what_was_delivered(rig: Rig) -> None:
    await put_onboarded(rig.store, "lieferwerk")
    unverified = JobResult(digests={"dataset": DIGEST, "image": DIGEST.replace("0", "1")})
    job = await put_job(rig.store, "lieferwerk", "build", result=unverified)
    await rig.store.fail(job, {"code": "conflict", "message": "It did not pass its verification.", "retryable": False})
    view = (await rig.call("get_customer", {"customer_id": "lieferwerk"}))["result"]["structuredContent"]
    assert view["jobs"][0]["state"] == "failed"
    assert view["delivered"]["digests"]["image"] == DIGEST
    assert view["delivered"]["places"]["image"] == "archive/image.tar"


@pytest.mark.parametrize(("limit", "most"), [(2, 2), (200, 3)], ids=["asked for", "that an answer holds"])
async def test_customers_are_listed_page_by_page(rig: Rig, monkeypatch, limit: int, most: int) -> None:
    monkeypatch.setattr(answers, "ANSWER_CHARS", 1100)
    for number in range(5):
        await put_onboarded(rig.store, f"seite-{limit}-{number}", company_name="Muster & Söhne " * 13)
    pages: list[list[str]] = []
    page: dict[str, Any] = {"next_cursor": "aaa"}
    while cursor := page.get("next_cursor"):
        page = (await rig.call("list_customers", {"limit": limit, "cursor": cursor}))["result"]["structuredContent"]
        pages.append([line["customer_id"] for line in page["customers"]])
    seen, ours = [name for names in pages for name in names], {f"seite-{limit}-{number}" for number in range(5)}
    assert seen == sorted(seen)
    assert ours <= set(seen)
    assert 0 < max(len(ours & set(each)) for each in pages) <= most  # other tests' customers have short names


@pytest.mark.requirement("F-10")
@pytest.mark.parametrize("tool", ["build_image", "verify_customer", "process_new_documents"])
async def test_fifty_requests_with_one_key_are_one_job_and_another_body_is_a_conflict(rig: Rig, tool: str) -> None:
    named = tool.replace("_", "-")
    await put_onboarded(rig.store, named)
    arguments: dict[str, Any] = {"customer_id": named, "idempotency_key": f"key-of-{tool}"}
    answers = await asyncio.gather(*(rig.call(tool, arguments) for _ in range(50)))
    assert [answer["result"]["isError"] for answer in answers] == [False] * 50
    assert len({answer["result"]["structuredContent"]["job_id"] for answer in answers}) == 1
    async with rig.store.session(named) as session:
        made = [job for job in await session.jobs(named, 100) if job.kind != "onboarding"]
    assert len(made) == 1
    await rig.store.complete(made[0])
    again = (await rig.call(tool, arguments))["result"]["structuredContent"]
    assert (again["job_id"], again["state"]) == (made[0].job_id, "completed")
    await put_onboarded(rig.store, f"{named}-2")
    other = (await rig.call(tool, {**arguments, "customer_id": f"{named}-2"}))["result"]
    assert other["_meta"]["0711/error"]["code"] == "conflict"
    assert other["_meta"]["0711/error"]["field"] == "idempotency_key"


@pytest.mark.requirement("F-10")
@pytest.mark.parametrize("tool", ["initialize_customer", "migrate_customer"])
async def test_fifty_keyed_requests_to_take_a_customer_in_are_one_job_and_another_body_is_a_conflict(
    rig: Rig, tool: str
) -> None:
    """Cradle is away, so the first one's job is put here; later ones are answered without it."""
    named, source, key = tool.replace("_", "-"), "file:///data", f"key-of-{tool}"
    company, migrates = f"{named} GmbH", tool == "migrate_customer"
    asked = Request(company, "a@example.com", [source], migration=Migration() if migrates else None)
    await put_customer(rig.store, named, request_digest=asked.digest)
    job = await put_job(rig.store, named, asked.kind, request_digest=asked.digest)
    arguments: dict[str, Any] = {"company_name": company, "contact_email": "a@example.com", "idempotency_key": key}
    arguments |= {"legacy": source} if migrates else {"data_sources": [source]}
    answers = await asyncio.gather(*(rig.call(tool, arguments) for _ in range(50)))
    assert {answer["result"]["structuredContent"]["job_id"] for answer in answers} == {job.job_id}
    await rig.store.fail(job, Unavailable("Away.").as_dict())  # without its key, the request would be a new order now
    again = (await rig.call(tool, arguments))["result"]["structuredContent"]
    assert (again["job_id"], again["state"]) == (job.job_id, "failed")
    other = (await rig.call(tool, arguments | {"contact_email": "b@example.com"}))["result"]
    assert other["_meta"]["0711/error"]["code"] == "conflict"
    assert other["_meta"]["0711/error"]["field"] == "idempotency_key"


@pytest.mark.requirement("T-01")
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("get_customer", {"customer_id": "{customer}"}),
        ("get_job", {"job_id": "{job}"}),
        ("get_installation_params", {"customer_id": "{customer}"}),
        ("list_installation_params", {"customer_id": "{customer}"}),
        ("embed", {"texts": ["x"], "customer_id": "{customer}"}),
        ("ocr", {"image_base64": "AAAA", "customer_id": "{customer}"}),
    ],
)
async def test_another_customers_id_answers_like_an_unknown_one(rig: Rig, users, tool: str, arguments) -> None:
    if await rig.store.customer("fremdwerk") is None:
        await put_onboarded(rig.store, "fremdwerk")
    async with rig.store.session("fremdwerk") as session:
        job = (await session.jobs("fremdwerk", 1))[0]

    def filled(customer: str, job_id: str) -> dict[str, Any]:
        return {
            name: value.format(customer=customer, job=job_id) if isinstance(value, str) else value
            for name, value in arguments.items()
        }

    for token in users.values():
        if "installation_params" in tool and token == users["customer_admin"]:
            continue
        foreign = await rig.call(tool, filled("fremdwerk", job.job_id), token)
        unknown = await rig.call(tool, filled("nirgendwo", NO_JOB), token)
        assert foreign == unknown
        assert foreign["result"]["_meta"]["0711/error"]["code"] == "not_found"


@pytest.mark.requirement("T-01")
async def test_a_customers_administrator_lists_only_its_own_customer(rig: Rig, users) -> None:
    await put_onboarded(rig.store, "ownwerk")
    page = (await rig.call("list_customers", {}, users["customer_admin"]))["result"]["structuredContent"]
    assert [line["customer_id"] for line in page["customers"]] == ["ownwerk"]


@pytest.mark.requirement("A-05")
async def test_a_customers_administrator_may_not_onboard_or_cancel(rig: Rig, users) -> None:
    for tool in ("initialize_customer", "answer_job", "cancel_job", "build_image"):
        answer = await rig.call(tool, {}, users["customer_admin"])
        assert answer["error"]["data"]["0711/error"]["code"] == "forbidden"


async def test_a_long_tool_is_a_task_for_a_client_that_declares_the_extension(rig: Rig) -> None:
    await put_onboarded(rig.store, "taskwerk")
    made = (await rig.call("verify_customer", {"customer_id": "taskwerk"}, **EXTENSIONS))["result"]
    assert made["resultType"] == "task"
    assert made["status"] == "working"
    task_id = made["taskId"]
    job = await rig.store.job(task_id, None)
    assert job is not None
    assert (await rig.request("tasks/get", {"taskId": task_id}, task_id, **EXTENSIONS))["result"]["status"] == "working"
    await rig.store.complete(job)
    done = (await rig.request("tasks/get", {"taskId": task_id}, task_id, **EXTENSIONS))["result"]
    assert done["status"] == "completed"
    assert JobHandle.model_validate(done["result"]["structuredContent"]).job_id == task_id  # as its schema has it
    assert JobView.model_validate_json(done["result"]["content"][0]["text"]).result is not None


async def test_a_client_without_the_extension_gets_the_handle(rig: Rig) -> None:
    await put_onboarded(rig.store, "handlewerk")
    made = (await rig.call("verify_customer", {"customer_id": "handlewerk"}))["result"]
    assert made["structuredContent"]["state"] == "queued"
    assert "get_job" in made["structuredContent"]["next"]
    job_id = made["structuredContent"]["job_id"]
    assert "error" in await rig.request("tasks/get", {"taskId": job_id}, job_id)


async def test_a_task_can_be_cancelled_and_a_failed_one_tells_why(rig: Rig) -> None:
    await put_onboarded(rig.store, "abbruchwerk")
    made = (await rig.call("build_image", {"customer_id": "abbruchwerk"}, **EXTENSIONS))["result"]
    await rig.request("tasks/cancel", {"taskId": made["taskId"]}, made["taskId"], **EXTENSIONS)
    told = (await rig.request("tasks/get", {"taskId": made["taskId"]}, made["taskId"], **EXTENSIONS))["result"]
    assert told["status"] == "cancelled"
    job = await put_job(rig.store, "abbruchwerk", "update")
    await rig.store.fail(job, StorageFull("The disk is full.").as_dict())
    ended = (await rig.request("tasks/get", {"taskId": job.job_id}, job.job_id, **EXTENSIONS))["result"]
    assert ended["status"] == "completed"
    assert ended["result"]["isError"]
    assert ended["result"]["content"][0]["text"] == "The disk is full."
    assert JobHandle.model_validate(ended["result"]["structuredContent"]).state == "failed"
    job = await put_job(rig.store, "abbruchwerk", "update")
    await rig.store.fail(job, Internal().as_dict())
    failed = (await rig.request("tasks/get", {"taskId": job.job_id}, job.job_id, **EXTENSIONS))["result"]
    assert failed["status"] == "failed"
    assert failed["error"]["data"]["0711/error"]["code"] == "internal"
    assert "result" not in failed


async def asking(rig: Rig, named: str) -> str:
    """The id of a job that waits for two answers."""
    await put_onboarded(rig.store, named)
    job = await put_job(rig.store, named, "update")
    await rig.store.begin_step(job, 0)
    asked = [JobQuestion(key=key, message=f"Accept the {key}?") for key in ("documents", "articles")]
    await rig.store.ask(job, 0, asked)
    return job.job_id


async def test_a_task_asks_by_forms_and_goes_on_once_each_is_answered(rig: Rig) -> None:
    task_id = await asking(rig, "fragewerk")
    shows = {**EXTENSIONS, "elicitation": {}}

    async def told(**capabilities: Any) -> dict[str, Any]:
        return (await rig.request("tasks/get", {"taskId": task_id}, task_id, **capabilities))["result"]

    async def update(**responses: Any) -> dict[str, Any]:
        return await rig.request("tasks/update", {"taskId": task_id, "inputResponses": responses}, task_id, **shows)

    yes = {"action": "accept", "content": {"confirm": True}}
    asked = await told(**shows)
    assert asked["status"] == "input_required"
    assert list(asked["inputRequests"]) == ["documents", "articles"]
    form = ElicitRequest.model_validate(asked["inputRequests"]["articles"])
    assert isinstance(form.params, ElicitRequestFormParams)
    assert form.params.message == "Accept the articles?"
    blind = await told(**EXTENSIONS)  # shows no forms
    assert blind["status"] == "working"
    assert "answer_job" in blind["statusMessage"]
    assert "confirm" in (await update(documents={"action": "accept"}))["error"]["message"]
    assert (await update(documents=yes, unknown=yes))["result"]["resultType"] == "complete"
    assert list((await told(**shows))["inputRequests"]) == ["articles"]
    await update(articles={"action": "decline"})
    assert (await told(**shows))["status"] == "working"
    job = await rig.store.job(task_id, None)
    assert job is not None
    assert [each.answer for each in job.questions] == [True, False]


async def test_a_job_shows_what_it_asks_and_takes_the_answers_of_a_client_without_tasks(rig: Rig) -> None:
    job_id = await asking(rig, "antwortwerk")

    async def answer(**answers: bool) -> dict[str, Any]:
        return (await rig.call("answer_job", {"job_id": job_id, "answers": answers}))["result"]

    shown = (await rig.call("get_job", {"job_id": job_id, "wait_s": 20}))["result"]["structuredContent"]
    assert shown["state"] == "waiting"  # at once: nobody has to wait for what waits for them
    assert [each["message"] for each in shown["questions"]] == ["Accept the documents?", "Accept the articles?"]
    busy = (await rig.call("build_image", {"customer_id": "antwortwerk"}))["result"]
    assert "answer_job" in busy["content"][0]["text"]
    wrong = await answer(documents=True, elsewhere=True)
    assert wrong["isError"]
    assert "It has asked: documents, articles." in wrong["content"][0]["text"]
    assert (await answer(documents=True))["structuredContent"]["state"] == "waiting"
    assert (await answer(articles=True))["structuredContent"]["state"] == "queued"
    assert not (await answer(documents=True, articles=True))["isError"]  # a call whose answer was lost, again
    assert "another one already" in (await answer(articles=False))["content"][0]["text"]


@pytest.mark.requirement("T-01")
async def test_another_customers_task_is_an_unknown_task(rig: Rig, users) -> None:
    await put_onboarded(rig.store, "fremdtask")
    job = await put_job(rig.store, "fremdtask", "update")
    token = users["customer_admin"]
    foreign = await rig.request("tasks/get", {"taskId": job.job_id}, job.job_id, token, **EXTENSIONS)
    unknown = await rig.request("tasks/get", {"taskId": NO_JOB}, NO_JOB, token, **EXTENSIONS)
    assert foreign["error"] == unknown["error"]


async def test_customers_and_jobs_are_resources(rig: Rig) -> None:
    await put_onboarded(rig.store, "lesewerk")
    uri = "customer://lesewerk"
    read = (await rig.request("resources/read", {"uri": uri}, uri))["result"]["contents"][0]
    assert read["mimeType"] == "application/json"
    assert '"customer_id":"lesewerk"' in read["text"]
    missing = f"job://{NO_JOB}"
    assert "not known" in (await rig.request("resources/read", {"uri": missing}, missing))["error"]["message"]


async def test_health_and_status_tell_every_part(rig: Rig) -> None:
    health = await rig.client.get(rig.settings.url("orchestrator") + "/health")
    assert health.status_code == 200
    assert health.json()["dependencies"] == {
        "postgres": "healthy", "marketplace": "healthy", "cradle": "does not answer",
    }  # fmt: skip
    status = (await rig.call("platform_status"))["result"]["structuredContent"]
    assert not status["healthy"]
    assert [part["name"] for part in status["parts"] if not part["healthy"]] == ["cradle"]
    assert [part["name"] for part in status["parts"]] == ["postgres", "marketplace", "cradle", "jobs"]


async def test_waiting_for_a_job_returns_when_it_ends(rig: Rig) -> None:
    await put_onboarded(rig.store, "wartewerk")
    job = await put_job(rig.store, "wartewerk", "update")
    await rig.store.complete(job)
    view = (await rig.call("get_job", {"job_id": job.job_id, "wait_s": 50}))["result"]["structuredContent"]
    assert view["state"] == "completed"


def test_the_server_says_how_to_use_it(tmp_path) -> None:
    text = build(settings_in(tmp_path), works=False).mcp.instructions
    assert text is not None
    assert "initialize_customer" in text


async def test_a_deployed_instance_is_registered_at_its_address_and_gets_the_keys_of_tokens(rig: Rig) -> None:
    customer = await put_onboarded(rig.store, "laufend")
    places, digests = {"instance": "http://127.0.0.1:9407/mcp"}, {"deployed_image": DIGEST}
    job = await put_job(rig.store, "laufend", "deployment", result=JobResult(places=places, digests=digests))
    work = Work(job, customer, job.result, rig.services.upstreams, lambda *_: None, 30)
    await register(work)
    await register_instance(work)
    tokens = FileTokens(rig.settings, "operator")
    async with Upstream(rig.settings.resource("marketplace"), tokens) as marketplace:
        page = await marketplace.call("list_marketplace_mcps", {}, CataloguePage, customer="laufend")
    (entry,) = [each for each in page.entries if each.kind == "instance"]
    assert (entry.installed, entry.reachable) == (True, True)
    assert read_keys(orjson.loads(await token_keys(rig.settings)))
    unreachable = rig.settings.model_copy(update={"marketplace_port": free_port()})
    with pytest.raises(Unavailable, match="marketplace"):
        await token_keys(unreachable)
