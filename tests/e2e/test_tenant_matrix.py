"""T-01 for the orchestrator, cradle and the instance, generated from their tools and asked of a platform that runs.

Two customers are onboarded. A caller of the one calls every tool that takes an id, with ids of the other, and gets the
answer of ids that nobody has. An argument that is neither named as an id here nor as none fails, so that no tool can
be forgotten; `tests/security/test_marketplace_tenants.py` does the same for the marketplace.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from servers.cradle.images.running import RunningInstance, running_instance
from servers.orchestrator.tools.tasks import IDENTIFIER
from shared.client import TokenSource, Upstream
from shared.client.credentials import FileTokens
from shared.contracts.instance import DocumentList
from shared.contracts.job import JobView
from shared.ids import digest, new_handle
from shared.objects import CustomerStore, bucket_name
from shared.settings import ServerName
from tests.e2e.conftest import Running
from tests.e2e.test_schema_cases import said, tools_of
from tests.e2e.test_servers import operator_tokens
from tests.security.test_tokens_and_scopes import servers
from tests.serving_rig import envelope, headers_for

pytestmark = [pytest.mark.slow, pytest.mark.requirement("T-01")]

NO_IDS = {
    "company_name": "Dritte Werke GmbH", "contact_email": "it@example.com", "choice": {}, "texts": ["x"],
    "parameter_version": 1, "questions": [], "query": "x", "sql": "SELECT 1", "cypher": "MATCH (d:Document) RETURN d",
    "format": "csv", "class_id": "EC000001", "text": "x", "position": 0, "data_base64": "AAAA", "statement": "SELECT 1",
    "rows": 1, "answers": {"documents": True},
}  # fmt: skip
"""Arguments that name nothing of a customer's, with the value that a tool gets which needs one."""
NO_IDS_EITHER = frozenset({
    "deployment_target", "installation_params", "idempotency_key", "limit", "detail", "wait_s", "host", "port",
    "accept_differences", "release", "input_type", "normalize", "truncate", "encoding", "image_base64", "pages", "task",
    "ask", "output", "provider", "json_schema", "version", "priority", "as_tar", "language", "kind", "page", "start",
    "order_unit", "buyer", "system", "conditions", "seconds_per_document", "seconds_per_image", "euros_per_document",
    "euros_per_image", "companions", "part_bytes", "add_sources", "add", "files",
})  # fmt: skip
"""The same, of those that may be left out."""
Ids = dict[str, Any]
Answer = tuple[int, str]


def unknown(cursor: str = "nirgendwo") -> Ids:
    """An id for each argument that takes one; nobody has it. `cursor`: a place in a list, right after a known id."""
    nobody = bucket_name("nirgendwo")
    return {
        "customer_id": "nirgendwo", "confirm": "nirgendwo", "job_id": new_handle("job"), "change_id": new_handle("chg"),
        "tag": "p1-0000000000000000", "name": "p1-0000000000000000", "key": "nirgendwo/nirgends", "prefix": "nirgendwo",
        "data_sources": [f"s3://{nobody}/eingang"], "legacy": f"s3://{nobody}/alt", "cursor": cursor,
        "mcps": ["io.0711.nirgendwo/instance"], "document_id": "nirgendwo/nirgends.pdf",
        "resource": f"s3://{nobody}/eingang/blatt.txt",
        **dict.fromkeys(DIGESTS, digest(b"nobody's")),
    }  # fmt: skip


DIGESTS = ("dataset_digest", "base_digest", "update_digest", "statement_digest", "older", "newer")


@dataclass
class Firm:
    """A customer that was onboarded, and its instance."""

    customer_id: str
    job: JobView
    instance: RunningInstance

    @property
    def tag(self) -> str:
        assert self.job.result is not None
        return f"p1-{self.job.result.digests['dataset'].removeprefix('sha256:')[:16]}"

    async def ids(self, platform: Running) -> Ids:
        """An id of this customer's for each argument that takes one."""
        assert self.job.result is not None
        bucket = platform.settings.home / "objects" / bucket_name(self.customer_id)
        async with Upstream(self.instance.url, key=self.instance.access_key) as upstream:
            listing = await upstream.call("list_documents", {"limit": 1}, DocumentList)
        store = await CustomerStore.open(platform.settings, self.customer_id)
        for place in ("eingang", "alt"):
            await store.put(f"{place}/blatt.txt", b"Klemme")
        keys = [path.relative_to(bucket).as_posix() for path in bucket.rglob("*/*.json")]
        return {
            "customer_id": self.customer_id, "confirm": self.customer_id, "job_id": self.job.job_id,
            "change_id": new_handle("chg"), "tag": self.tag, "name": self.tag, "key": keys[0],
            "prefix": listing.documents[0].path[:8], "data_sources": [f"s3://{bucket.name}/eingang"],
            "legacy": f"s3://{bucket.name}/alt", "cursor": self.customer_id,
            "mcps": [f"io.0711.{self.customer_id}/instance"], "document_id": listing.documents[0].document_id,
            "resource": f"s3://{bucket.name}/eingang/blatt.txt",
            **dict.fromkeys(DIGESTS, self.job.result.digests["dataset"]),
        }  # fmt: skip


IDS = frozenset(unknown())


@asynccontextmanager
async def started(platform: Running, job: JobView) -> AsyncIterator[Firm]:
    assert job.result is not None
    scratch = platform.settings.home / f"scratch-of-{job.customer_id}"
    scratch.mkdir()
    async with running_instance(Path(job.result.places["image"]), scratch) as instance:
        yield Firm(job.customer_id, job, instance)


@pytest.fixture(scope="module")
async def theirs(onboarded: JobView, instance: RunningInstance) -> Firm:
    return Firm(onboarded.customer_id, onboarded, instance)


@pytest.fixture(scope="module")
async def ours(platform: Running, corpus: Path) -> AsyncIterator[Firm]:
    folder = corpus.parent / "nachbar"
    folder.mkdir()
    (folder / "blatt.txt").write_text("Die Nachbarklemme hat die Schutzart IP54.")
    job = await platform.onboard("Nachbar Werke GmbH", folder)
    assert job.state == "completed", job.error
    async with started(platform, job) as firm:
        yield firm


def alone(tool: dict[str, Any]) -> list[dict[str, Any]]:
    """A tool that takes a key or a resource, once with each."""
    properties = tool["inputSchema"].get("properties", {})
    if not {"key", "resource"} <= properties.keys():
        return [tool]
    kept = [{name: properties[name] for name in properties if name != left} for left in ("key", "resource")]
    return [tool | {"inputSchema": tool["inputSchema"] | {"properties": each}} for each in kept]


def filled(schema: dict[str, Any], ids: Ids) -> dict[str, Any]:
    """Every id that a tool takes, and what else it needs."""
    needed = [name for name in schema.get("required", ()) if name not in IDS]
    return {name: ids[name] for name in schema.get("properties", {}) if name in IDS} | {
        name: NO_IDS[name] for name in needed
    }


async def asked(session: aiohttp.ClientSession, url: str, key: str, method: str, params: Any, name: str) -> Answer:
    """The status, and the answer without its id."""
    body = orjson.dumps(envelope(method, params))
    async with session.post(url, data=body, headers=headers_for(key, method, name)) as answer:
        return answer.status, orjson.dumps(said(await answer.read())).decode()


async def called(session: aiohttp.ClientSession, url: str, key: str, tool: dict[str, Any], ids: Ids) -> Answer:
    """A tool's answer for these ids, with `<argument>` in place of each."""
    params = {"name": tool["name"], "arguments": filled(tool["inputSchema"], ids)}
    status, text = await asked(session, url, key, "tools/call", params, tool["name"])
    for name in sorted(IDS, key=lambda name: -len(str(ids[name]))):
        for value in ids[name] if isinstance(ids[name], list) else [ids[name]]:
            text = text.replace(value, f"<{name}>")
    return status, text


def test_every_argument_of_every_tool_is_an_id_or_is_none(tmp_path: Path) -> None:
    built = servers(tmp_path)
    for name in ("orchestrator", "cradle", "instance"):
        for tool in built[name].mcp._tool_manager.list_tools():
            arguments = set(tool.parameters.get("properties", {}))
            assert arguments <= IDS | NO_IDS.keys() | NO_IDS_EITHER, (name, tool.name)
            assert set(tool.parameters.get("required", ())) <= IDS | NO_IDS.keys(), (name, tool.name)


TASK_METHODS = ("tasks/get", "tasks/update", "tasks/cancel")


async def tokens_of_ours(platform: Running, ours: Firm, audience: str) -> dict[str, str]:
    """Tokens that act for our customer: its administrator's, the operator's, the orchestrator service's; and one of a
    partner who has brought no customer."""
    settings, operator = platform.settings, operator_tokens(platform.settings)
    tokens = {"platform_admin": await operator.token(audience, ours.customer_id)}
    async with Upstream(settings.resource("marketplace"), operator) as marketplace:
        for role, customer in (("customer_admin", ours.customer_id), ("partner_admin", None)):
            named = {"email": f"{new_handle('u')[2:12]}@nachbar.example", "role": role}
            made = await marketplace.call("create_user", named | ({"customer_id": customer} if customer else {}))
            source = TokenSource(settings, made["client_id"], made["client_secret"])
            if customer or audience == settings.resource("orchestrator"):
                tokens[role] = await source.token(audience, None)
    if audience == settings.resource("cradle"):
        tokens["service"] = await FileTokens(settings, "orchestrator").token(audience, ours.customer_id)
    return tokens


@pytest.mark.parametrize("server", ["orchestrator", "cradle"])
async def test_an_id_of_another_customer_gets_the_answer_of_an_unknown_one(
    platform: Running, session: aiohttp.ClientSession, ours: Firm, theirs: Firm, server: ServerName
) -> None:
    url = platform.settings.resource(server)
    known, nobodys = await theirs.ids(platform), unknown(cursor=f"{theirs.customer_id}x")
    tools = await tools_of(session, url, await operator_tokens(platform.settings).token(url, None))
    named = [tool for tool in tools if IDS & tool["inputSchema"].get("properties", {}).keys()]
    with_ids = [each for tool in named for each in alone(tool)]
    assert len(with_ids) > 10
    refused = 0
    for role, token in (await tokens_of_ours(platform, ours, url)).items():
        for tool in with_ids:
            foreign, missing = [await called(session, url, token, tool, ids) for ids in (known, nobodys)]
            assert foreign == missing, (role, tool["name"])
            refused += foreign[0] == 403 or '"isError":true' in foreign[1]
    assert refused > 2 * len(with_ids)  # the rest has nothing to do, whichever id it is


async def test_the_other_customers_ids_are_known_to_who_may_know_them(
    platform: Running, session: aiohttp.ClientSession, theirs: Firm
) -> None:
    url = platform.settings.resource("orchestrator")
    token = await operator_tokens(platform.settings).token(url, None)
    known, nobodys = await theirs.ids(platform), unknown(cursor=f"{theirs.customer_id}x")
    tools = [tool for tool in await tools_of(session, url, token) if tool["annotations"]["readOnlyHint"]]
    named = [tool for tool in tools if {"customer_id", "job_id"} & tool["inputSchema"]["properties"].keys()]
    with_ids = [each for tool in named for each in alone(tool)]
    assert {tool["name"] for tool in with_ids} >= {"get_customer", "get_job", "list_deployments", "embed"}
    for tool in with_ids:
        right, wrong = [await called(session, url, token, tool, ids) for ids in (known, nobodys)]
        assert right != wrong, tool["name"]
    cradle = platform.settings.resource("cradle")
    service = await FileTokens(platform.settings, "orchestrator").token(cradle, theirs.customer_id)
    (archive,) = [tool for tool in await tools_of(session, cradle, service) if tool["name"] == "archive_image"]
    assert '"isError":false' in (await called(session, cradle, service, archive, known))[1]


async def test_tasks_and_resources_of_another_customer_are_unknown_ones(
    platform: Running, session: aiohttp.ClientSession, ours: Firm, theirs: Firm
) -> None:
    url = platform.settings.resource("orchestrator")
    capability = {"io.modelcontextprotocol/clientCapabilities": {"extensions": {IDENTIFIER: {}}}}
    for role, token in (await tokens_of_ours(platform, ours, url)).items():
        for method in TASK_METHODS:
            answers = [
                await asked(session, url, token, method, {"taskId": job_id, "_meta": capability}, job_id)
                for job_id in (theirs.job.job_id, new_handle("job"))
            ]
            assert answers[0] == answers[1], (role, method)
            assert '"error"' in answers[0][1], (role, method)
        for uri in ("customer://{customer_id}", "job://{job_id}", "parameters://{customer_id}/latest"):
            places = [uri.format(**ids) for ids in (await theirs.ids(platform), unknown())]
            answers = [await asked(session, url, token, "resources/read", {"uri": place}, place) for place in places]
            told = [(status, text.replace(place, "")) for (status, text), place in zip(answers, places, strict=True)]
            assert told[0] == told[1], (role, uri)
            assert '"error"' in told[0][1], (role, uri)


async def test_an_instance_knows_no_id_of_another_customers_and_lets_its_key_in_nowhere(
    platform: Running, session: aiohttp.ClientSession, ours: Firm, theirs: Firm
) -> None:
    known, nobodys = await theirs.ids(platform), unknown()
    key = ours.instance.access_key
    tools = await tools_of(session, ours.instance.url, key)
    for tool in tools:
        if IDS & tool["inputSchema"].get("properties", {}).keys():
            foreign, missing = [await called(session, ours.instance.url, key, tool, ids) for ids in (known, nobodys)]
            assert foreign == missing, tool["name"]
        let_in, never = [
            await called(session, theirs.instance.url, any_key, tool, nobodys) for any_key in (key, "x" * 32)
        ]
        assert let_in == never, tool["name"]
        assert let_in[0] == 401, tool["name"]
