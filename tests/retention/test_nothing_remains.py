"""Content passes through a running platform in every field, path and failure; afterwards it lies nowhere on it.

What a customer owns is not searched: its sources, its bucket and its image are where content belongs. The archive is:
what lies there is encrypted.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import signal
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import numpy as np
import orjson
import pytest
from PIL import Image, ImageDraw, ImageFont

from examples.corpus.catalogue import item
from examples.corpus.sheets import data_sheet
from servers.cradle.embedding.models import BUNDLED_ID
from servers.cradle.images.running import running_instance
from servers.local.platform import operator_file
from shared.client import TokenSource, Upstream
from shared.contracts.instance import SearchAnswer
from shared.contracts.job import FINAL_STATES, JobHandle, JobView
from shared.errors import PlatformError
from shared.postgres.launcher import EmbeddedPostgres
from shared.postgres.urls import database_urls
from tests.canaries import float_forms, forms_of, found_in, new_mark, plant
from tests.e2e.conftest import Running, platform_in
from tests.serving_rig import HANGS_S, headers_for, legacy, modern

pytestmark = pytest.mark.slow

MARK = new_mark()
SHARED_MEMORY = Path("/dev/shm")


@dataclass
class Site:
    """A platform whose every folder lies below `base`, and an HTTP client with the operator's tokens."""

    base: Path
    running: Running
    http: httpx2.AsyncClient
    source: TokenSource
    tokens: dict[str, str]

    @property
    def places(self) -> list[Path]:
        """Everything that the platform writes, less the customers' buckets."""
        home = self.running.settings.home
        ours = [each for each in home.iterdir() if each.name != "objects"]
        return [
            *ours,
            home / "postgres" / "cluster",
            self.base / "tmp",
            self.base / "user",
            self.base / "home.up.log",
            SHARED_MEMORY,
        ]

    async def call(self, server: str, tool: str, arguments: dict[str, Any]) -> str:
        """A call in both eras; the last answer's text."""
        url = self.running.settings.url(server)  # pyright: ignore[reportArgumentType]
        await legacy(self.http, url, self.tokens[server], tool, arguments)
        return (await modern(self.http, url, self.tokens[server], tool, arguments)).text

    async def post(self, port: str, path: str, server: str = "cradle", **request: Any) -> httpx2.Response:
        """A REST request."""
        base = f"http://127.0.0.1:{getattr(self.running.settings, f'{port}_port')}"
        headers = {"authorization": f"Bearer {self.tokens[server]}"} | request.pop("headers", {})
        return await self.http.post(base + path, headers=headers, **request)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A base whose `tmp` and `user` are where the platform's processes find their temporary and home folders."""
    base = tmp_path_factory.mktemp("retention")
    patch = pytest.MonkeyPatch()
    for name, folder in (("TMPDIR", "tmp"), ("HOME", "user"), ("XDG_CACHE_HOME", "user/cache")):
        (base / folder).mkdir(parents=True, exist_ok=True)
        patch.setenv(name, str(base / folder))
    yield base
    patch.undo()


@asynccontextmanager
async def site_in(base: Path, made: dict[str, Path]) -> AsyncIterator[Site]:
    async with (
        platform_in(base / "home", base, made) as running,
        httpx2.AsyncClient(timeout=HANGS_S, trust_env=False) as http,
    ):
        credential = orjson.loads(operator_file(running.settings.home).read_bytes())
        source = TokenSource(running.settings, credential["client_id"], credential["client_secret"])
        tokens = {
            name: await source.token(running.settings.resource(name), None)  # pyright: ignore[reportArgumentType]
            for name in ("orchestrator", "marketplace", "cradle")
        }
        yield Site(base, running, http, source, tokens)


def picture(text: str) -> bytes:
    page = Image.new("L", (1400, 140), 255)
    ImageDraw.Draw(page).text((20, 30), text, fill=0, font=ImageFont.load_default(56))
    data = io.BytesIO()
    page.save(data, "PNG")
    return data.getvalue()


def mail_with_attachments() -> bytes:
    """A mail of a marked person; an attachment that is read and two that cannot be, all with marked names."""
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = f"{MARK} Muster <a@example.com>", f"b@{MARK}.example", f"Angebot {MARK}"
    mail.set_content(f"Liebe Frau {MARK}, anbei das Angebot.")
    for name, data in ((f"{MARK}.txt", MARK.encode()), (f"{MARK}.zip", b"PK\x03\x04" + MARK.encode()),
                       (f"{MARK}.docx", MARK.encode())):  # fmt: skip
        mail.add_attachment(data, maintype="application", subtype="octet-stream", filename=name)
    return bytes(mail)


def write_sources(folder: Path) -> None:
    """Files whose names and contents are marked: readable ones, an archive, and broken ones."""
    (folder / f"Ordner {MARK}").mkdir(parents=True)
    (folder / f"Ordner {MARK}" / f"{MARK}.txt").write_text(f"Der Text nennt {MARK} im Satz.")
    (folder / "liste.csv").write_text(f"Artikelnummer;Bezeichnung\n{MARK}-1;Leuchte {MARK}\n")
    (folder / "mail.eml").write_text(f"From: {MARK}@example.com\nSubject: {MARK}\n\nText {MARK}\n")
    (folder / "anlage.eml").write_bytes(mail_with_attachments())
    (folder / "scan.png").write_bytes(picture(MARK))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(f"innen {MARK}.html", f"<h1>{MARK}</h1>")
    (folder / "archiv.zip").write_bytes(packed.getvalue())
    for number in range(20):
        (folder / f"mehr {MARK} {number}.pdf").write_bytes(data_sheet(item("HL-240-50"), [f"Hinweis {MARK}-{number}."]))
    (folder / f"kaputt {MARK}.pdf").write_bytes(b"%PDF-1.7\n" + MARK.encode() + b"\nendobj trailer")
    (folder / f"kaputt {MARK}.xlsx").write_bytes(b"PK\x03\x04" + MARK.encode())
    (folder / f"kaputt {MARK}.xml").write_text(f'<!DOCTYPE a [<!ENTITY x "{MARK}">]><BMECAT>&x;{MARK}')
    (folder / f"fremd {MARK}.dwg").write_bytes(b"AC1032" + MARK.encode())


async def calls_that_succeed(site: Site) -> np.ndarray:
    """Embeds and reads marked content over every door; the vector of a marked text."""
    text = f"Die Frage nach {MARK}"
    image = base64.b64encode(picture(MARK)).decode()
    for server in ("orchestrator", "cradle"):
        assert '"dimension"' in await site.call(server, "embed", {"texts": [text]})
        assert '"isError":true' not in await site.call(server, "ocr", {"image_base64": image})
    answer = await site.post("embedding", "/embed", json={"texts": [text]})
    assert (await site.post("embedding", "/v1/embeddings", json={"input": text, "model": MARK})).status_code
    assert (await site.post("embedding", "/tokenize", json={"inputs": text})).status_code == 200
    assert (await site.post("vision", "/process", json={"image_base64": image, "task": "ocr"})).status_code == 200
    return np.array(answer.json()["embeddings"][0], dtype=np.float32)


async def calls_that_fail(site: Site) -> None:
    """Marked content in wrong types, unknown names, unknown paths, broken bodies, headers and addresses."""
    for server in ("orchestrator", "cradle", "marketplace"):
        for tool in ("embed", "ocr", "whoami", "get_job", "initialize_customer", "install_mcp", MARK):
            for arguments in ({MARK: MARK}, {"texts": MARK}, {"texts": [MARK] * 5000}, {"job_id": MARK}):
                await site.call(server, tool, arguments)
    source = f"file:///{MARK}/{MARK}"
    asked = {"company_name": "Andere GmbH", "contact_email": "it@example.com", "data_sources": [source]}
    assert "isError" in await site.call("orchestrator", "initialize_customer", asked)
    long = {"texts": [f"{MARK} " * 20_000], "truncate": False}
    assert "isError" in await site.call("cradle", "embed", long)
    assert "isError" in await site.call("cradle", "ocr", {"image_base64": base64.b64encode(MARK.encode()).decode()})
    for port, path in (("embedding", "/embed"), ("embedding", "/v1/embeddings"), ("vision", "/process")):
        for body in (MARK.encode(), b'{"texts": ["' + MARK.encode(), orjson.dumps({"texts": {MARK: MARK}})):
            assert (await site.post(port, path, content=body)).status_code >= 400
        assert (await site.post(port, f"/{MARK}?q={MARK}", json={})).status_code == 404
        refused = await site.post(port, path, json={"texts": [MARK]}, headers={"authorization": f"Bearer {MARK}"})
        assert refused.status_code == 401
        await site.post(port, path, json={"texts": [MARK]}, headers={"x-request-id": MARK, "user-agent": MARK})


async def calls_that_are_given_up(site: Site) -> None:
    """Marked content in calls whose caller goes away, and in the reason that it gives."""
    image = base64.b64encode(picture(MARK)).decode()
    for server in ("orchestrator", "cradle"):
        url, token = site.running.settings.url(server), site.tokens[server]  # pyright: ignore[reportArgumentType]
        for tool, arguments in (("embed", {"texts": [f"{MARK} {number}" for number in range(500)]}),
                                ("ocr", {"image_base64": image})):  # fmt: skip
            with suppress(TimeoutError):
                async with asyncio.timeout(0.05):
                    await modern(site.http, url, token, tool, arguments)
        told = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1, "reason": MARK}}
        assert (await site.http.post(url + "/mcp", json=told, headers=headers_for(token))).status_code < 500


async def shown_in_metrics(site: Site) -> set[bytes]:
    """What a scrape of each port shows."""
    ports = ("orchestrator", "marketplace", "cradle", "embedding", "vision")
    addresses = [f"http://127.0.0.1:{getattr(site.running.settings, f'{name}_port')}/metrics" for name in ports]
    return {(await site.http.get(address)).raise_for_status().content for address in addresses}


@asynccontextmanager
async def watched(running: Running) -> AsyncIterator[set[bytes]]:
    """What is seen of the platform while the block lasts: statements in pg_stat_activity, and its processes' command
    lines. A statement of a mark of its own shows that the look finds such a one."""
    superuser = EmbeddedPostgres(running.settings.home / "postgres", running.settings.postgres_port).superuser_url
    seen, planted = set[bytes](), new_mark()
    looking, other = await asyncpg.connect(superuser), await asyncpg.connect(superuser)

    async def look() -> None:
        seen.update(query.encode() for (query,) in await looking.fetch("SELECT query FROM pg_stat_activity"))
        seen.update(command_lines(running.process.pid))

    async def go_on() -> None:
        while True:
            await look()
            await asyncio.sleep(0.1)

    task = asyncio.create_task(go_on())
    try:
        yield seen
        assert not task.done(), "it looked until now"
    finally:
        task.cancel()
        await asyncio.wait({task})
    await other.execute(f"SELECT '{planted}'")
    await look()
    assert any(planted.encode() in each for each in seen)
    assert any(b"cradle" in each for each in seen)
    await other.close()
    await looking.close()


def command_lines(parent: int) -> set[bytes]:
    """Those of the descendants of a process, which come and go meanwhile."""
    found = set[bytes]()
    for task in Path(f"/proc/{parent}/task").glob("*"):
        with suppress(OSError):
            for child in (task / "children").read_text().split():
                found |= {Path(f"/proc/{child}/cmdline").read_bytes()} | command_lines(int(child))
    return found


async def calls_through_the_marketplace(site: Site, customer: str) -> None:
    """Marked content through the gateway and the routes beside it, and in the tools that ask of a customer's data."""
    market = site.running.settings.url("marketplace")
    site.tokens["marketplace"] = await site.source.token(site.running.settings.resource("marketplace"), customer)
    text, image = f"Die Frage nach {MARK}", base64.b64encode(picture(MARK)).decode()
    cradle = "io.0711/cradle"
    assert '"isError":false' in await site.call("marketplace", "install_mcp", {"server_name": cradle})
    for call in (legacy, modern):
        token = site.tokens["marketplace"]
        answer = await call(site.http, f"{market}/servers/{cradle}", token, "embed", {"texts": [text]})
        assert '"dimension"' in answer.text
        await call(site.http, f"{market}/servers/{cradle}", token, MARK, {"texts": [text]})
    embeds = {"input": [text], "model": BUNDLED_ID}
    for path, body in (("/v1/embeddings", embeds), ("/v1/vision", {"image_base64": image, "task": "ocr"})):
        for given in (body, {**body, "model": MARK}, {"input": {MARK: MARK}}):
            answer = await site.post("marketplace", path, "marketplace", json=given)
            assert given is not body or answer.status_code == 200, answer.text
    for tool, arguments in (
        ("search_mcps", {"question": text}),
        ("list_marketplace_mcps", {"query": MARK}),
        ("explain_access", {"server_name": cradle, "tool_name": "embed", "arguments": {MARK: MARK}}),
    ):
        assert '"isError":false' in await site.call("marketplace", tool, arguments), tool
    for tool, arguments in (
        ("query_customer_database", {"language": "sql", "statement": f"SELECT '{MARK}'"}),
        ("change_customer_database", {"statement": f"DELETE FROM media WHERE source = '{MARK}'"}),  # noqa: S608
        ("set_argument_rule", {"server_name": cradle, "tool_name": "embed", "condition": f"args.{MARK} +"}),
    ):
        assert '"isError":true' in await site.call("marketplace", tool, arguments), tool


async def questions_for_a_deployment(site: Site, customer: str) -> None:
    """Marked questions that a deployment and a migration are to ask, as far as they come without an engine."""
    questions = [{"question": f"Wo steht {MARK}?", "expected": MARK}]
    site.tokens["cradle"] = await site.source.token(site.running.settings.resource("cradle"), customer)
    assert '"isError":false' in await site.call("cradle", "keep_questions", {"questions": questions})
    assert "isError" in await site.call("orchestrator", "deploy_customer", {
        "customer_id": customer, "questions": questions, "host": "nirgendwo",
    })  # fmt: skip
    assert "isError" in await site.call("orchestrator", "migrate_customer", {
        "company_name": "Alte GmbH", "contact_email": "it@example.com", "legacy": f"file:///{MARK}",
        "questions": questions,
    })  # fmt: skip


async def questions_to_the_image(image: Path, scratch: Path) -> None:
    """A marked question that is answered, and a marked statement that is refused."""
    async with running_instance(image, scratch) as started, Upstream(started.url, key=started.access_key) as upstream:
        hits = (await upstream.call("search", {"query": f"Wo steht {MARK}?"}, SearchAnswer)).hits
        assert any(MARK in hit.text for hit in hits)
        with pytest.raises(PlatformError):
            await upstream.call("query_table", {"sql": f"TABLE {MARK}"}, SearchAnswer)


async def onboarding_with_a_crash(running: Running, sources: Path) -> JobView:
    """Onboards marked files; cradle is killed while it works on them, and the job goes on afterwards."""
    agent = running.agent
    asked = {"company_name": "Markierte GmbH", "contact_email": "it@example.com", "data_sources": [sources.as_uri()]}
    handle = await agent.orchestrator("initialize_customer", asked, JobHandle)
    while (job := await agent.orchestrator("get_job", {"job_id": handle.job_id}, JobView)).state not in FINAL_STATES:
        if any(step.name == "process" and step.state == "running" for step in job.steps):
            os.kill(cradle_of(running.process.pid), signal.SIGABRT)
            break
    view = await running.follow(handle.job_id)
    assert view.state == "completed", view.error
    assert b"ended (exit -6)" in (running.settings.home.parent / "home.up.log").read_bytes()
    return view


def cradle_of(parent: int) -> int:
    """The process id of the cradle that `0711 up` started."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = [int(each) for each in children if b"cradle" in Path(f"/proc/{each}/cmdline").read_bytes()]
    return found


async def control_in_postgres(site: Site) -> str:
    """A mark of its own that was in a table for a moment; the database's files must show it."""
    mark = new_mark()
    connection = await asyncpg.connect(database_urls(site.running.settings, "platform").owner)
    try:
        await connection.execute("CREATE TABLE public.control (word text)")
        await connection.execute("INSERT INTO public.control VALUES ($1)", mark)
        await connection.execute("DROP TABLE public.control")
    finally:
        await connection.close()
    return mark


@pytest.mark.requirement("Z-01", "Z-02")
async def test_nothing_of_a_customer_remains_on_the_platform(folders: Path, made_before: dict[str, Path]) -> None:
    sources = folders / "sources"
    write_sources(sources)
    async with site_in(folders, made_before) as site:
        async with watched(site.running) as seen:
            view = await onboarding_with_a_crash(site.running, sources)
            assert view.result is not None
            assert view.result.numbers["failed"] >= 3
            vector = await calls_that_succeed(site)
            await calls_that_fail(site)
            await calls_that_are_given_up(site)
            await calls_through_the_marketplace(site, view.customer_id)
            await questions_for_a_deployment(site, view.customer_id)
            await questions_to_the_image(Path(view.result.places["image"]), folders / "scratch")
            seen.update(await shown_in_metrics(site))
        assert [each for each in seen for form in forms_of(MARK).values() if form in each] == []
        planted = await control_in_postgres(site)
        await stopped(site.running)
        require_nothing_left(site.places, planted, vector, folders)


async def stopped(running: Running) -> None:
    """The platform has ended and written everything that it writes; its database's files are still there."""
    running.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(HANGS_S):
        await running.process.wait()


def require_nothing_left(places: list[Path], planted: str, vector: np.ndarray, folders: Path) -> None:
    """Finds what is known to be there, and nothing of the customer."""
    control = folders / "tmp" / "control"
    expected = plant(control, planted, vector)
    found = {form for _, form in found_in([control], forms_of(planted) | float_forms(vector))}
    assert found == expected
    for file in control.iterdir():
        file.unlink()
    kept = {f"kept by Postgres, {form}": data for form, data in forms_of(planted).items()}
    left = found_in(places, kept | forms_of(MARK) | float_forms(vector))  # one look: there is a gigabyte to search
    assert {form for _, form in left} & kept.keys(), "the search would not find what Postgres keeps"
    assert {(path, form) for path, form in left if form not in kept} == set()
    # where content belongs it is, so the platform did work on it
    assert found_in([folders / "home" / "objects"], {"raw": MARK.encode()})
