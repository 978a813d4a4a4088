"""The main job from outside: a customer's files become a verified image that answers with its sources."""

from __future__ import annotations

import asyncio
import csv
import io
from pathlib import Path

import openpyxl
import orjson
import pytest
from lxml import etree

from examples.corpus.questions import QUESTIONS, Question
from shared.client import Upstream
from shared.contracts.installation import InstallationVersion, ParameterHistory
from shared.contracts.instance import DatasetAnswer, DocumentList, SearchAnswer, TableAnswer
from shared.contracts.job import JobHandle, JobView
from shared.errors import Conflict, InvalidInput, NotFound
from tests.e2e.conftest import JOB_S, Running, platform_in

pytestmark = pytest.mark.slow


@pytest.mark.requirement("O-01", "F-13")
async def test_every_file_is_a_document_or_a_failure_with_its_reason(
    corpus: Path, onboarded: JobView, image: Upstream
) -> None:
    assert onboarded.result is not None
    files = {path.relative_to(corpus).as_posix() for path in corpus.rglob("*") if path.is_file()}  # noqa: ASYNC240
    listing = await image.call("list_documents", {"limit": 100}, DocumentList)
    assert {each.path for each in listing.documents} == files
    assert onboarded.result.numbers["documents"] == len(files)
    assert onboarded.result.numbers["processed"] + onboarded.result.numbers["failed"] == len(files)
    (failed,) = [each for each in listing.documents if each.status == "failed"]
    assert failed.path == "zeichnungen/gehaeuse.dwg"
    assert failed.failure is not None
    assert "PDF" in failed.failure


@pytest.mark.requirement("O-01")
async def test_products_are_counted_as_an_independent_reading_of_the_files_counts_them(
    corpus: Path, image: Upstream
) -> None:
    catalogue = etree.parse(corpus / "katalog/habersaat_bmecat2005.xml")
    in_catalogue = int(catalogue.xpath("count(//*[local-name()='PRODUCT'])"))
    features = int(catalogue.xpath("count(//*[local-name()='FEATURE'])"))
    book = openpyxl.load_workbook(corpus / "preise/preisliste_2026.xlsx", read_only=True)
    in_prices = sum(1 for row in book["Preise 2026"].iter_rows(values_only=True) if row[1]) - 1
    stock = (corpus / "lager/bestand.csv").read_bytes().decode("cp1252")
    in_stock = sum(1 for _ in csv.reader(io.StringIO(stock), delimiter=";")) - 1
    query = (
        "SELECT d.path, count(*) AS n FROM products p JOIN documents d ON d.document_id = p.document_id "
        "GROUP BY d.path ORDER BY d.path"
    )
    answer = await image.call("query_table", {"sql": query}, TableAnswer)
    counted = {str(path): number for path, number in answer.rows}
    assert counted["katalog/habersaat_bmecat2005.xml"] == in_catalogue
    assert counted["preise/preisliste_2026.xlsx"] == in_prices
    assert counted["lager/bestand.csv"] == in_stock
    of_catalogue = (
        "SELECT count(*) AS n FROM features f JOIN documents d ON d.document_id = f.document_id "
        "WHERE d.path = 'katalog/habersaat_bmecat2005.xml'"
    )
    assert (await image.call("query_table", {"sql": of_catalogue}, TableAnswer)).rows == [[features]]


@pytest.mark.requirement("O-02")
@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question.expected[0])
async def test_the_image_answers_a_planted_question_with_its_source(image: Upstream, question: Question) -> None:
    answer = await image.call("search", {"query": question.text, "limit": 5}, SearchAnswer)
    right = [hit for hit in answer.hits if all(word in hit.text for word in question.expected)]
    assert right
    assert all(hit.citation.path for hit in right)


async def test_the_image_describes_its_dataset_and_follows_its_graph(image: Upstream, onboarded: JobView) -> None:
    assert onboarded.result is not None
    about = await image.call("describe_dataset", {}, DatasetAnswer)
    assert about.dataset_digest == onboarded.result.digests["dataset"]
    assert about.counts["products"] == onboarded.result.numbers["products"]
    assert about.graph_ready
    assert {"product", "document", "manufacturer"} <= about.node_kinds.keys()


@pytest.mark.requirement("G-01", "O-03")
async def test_another_platform_makes_the_same_dataset_and_the_same_image(
    tmp_path_factory: pytest.TempPathFactory, corpus: Path, onboarded: JobView
) -> None:
    assert onboarded.result is not None
    home = tmp_path_factory.mktemp("second") / "home"
    async with platform_in(home, corpus.parent, {}) as second:  # from nothing, the model and every layer
        view = await second.onboard("Habersaat Lichtwerk Elektrotechnik GmbH", corpus)
    assert view.state == "completed", view.error
    assert view.result is not None
    for name in ("dataset", "image", "image_id", "archive", "fingerprint"):
        assert view.result.digests[name] == onboarded.result.digests[name], name


async def test_the_same_request_again_is_the_same_job(platform: Running, corpus: Path, onboarded: JobView) -> None:
    again = await platform.onboard("Habersaat Lichtwerk Elektrotechnik GmbH", corpus)
    assert again.job_id == onboarded.job_id


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"data_sources": ["file:///nowhere/at/all"]}, InvalidInput, "folder"),
        ({"data_sources": ["file:///etc"]}, InvalidInput, "P0711_SOURCE_ROOTS"),
        ({"contact_email": "nobody"}, InvalidInput, "contact_email"),
        ({"company_name": "!!!"}, InvalidInput, "company_name"),
        ({"installation_params": {"chunk_tokens": 1}}, InvalidInput, "chunk_tokens"),
    ],
)
async def test_bad_input_ends_with_one_sentence_and_leaves_nothing(
    platform: Running, corpus: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    request = {"company_name": "Neue Firma GmbH", "contact_email": "it@example.com", "data_sources": [corpus.as_uri()]}
    with pytest.raises(error) as raised:
        await platform.agent.orchestrator("initialize_customer", request | change, JobHandle)
    assert words in f"{raised.value} {getattr(raised.value, 'field', '')}"
    with pytest.raises(NotFound):
        await platform.agent.orchestrator("get_customer", {"customer_id": "neue"}, JobView)


async def test_a_known_customer_with_other_sources_is_sent_to_updates(
    platform: Running, corpus: Path, onboarded: JobView
) -> None:
    request = {
        "company_name": "Habersaat Lichtwerk Elektrotechnik GmbH",
        "contact_email": "it@example.com",
        "data_sources": [(corpus / "mail").as_uri()],
    }
    with pytest.raises(Conflict, match="process_new_documents"):
        await platform.agent.orchestrator("initialize_customer", request, JobHandle)


async def test_an_update_takes_over_what_stands_and_reads_all_files_anew_when_it_names_new_parameters(
    platform: Running, corpus: Path
) -> None:
    folder = corpus.parent / "growing"
    folder.mkdir()
    (folder / "eins.txt").write_text("Die erste Datei nennt das Passwortwort Birnbaum.")
    first = await platform.onboard("Wachsende Firma GmbH", folder)
    assert first.state == "completed", first.error
    named = {"customer_id": first.customer_id}
    saved = await platform.agent.orchestrator(
        "save_installation_params", {**named, "choice": {"chunk_tokens": 64}}, InstallationVersion
    )
    again = await platform.agent.orchestrator("save_installation_params", named, InstallationVersion)
    assert again == saved, "what was chosen is kept where nothing is"
    further = corpus.parent / "further"
    further.mkdir()
    (further / "zwei.txt").write_text("Die zweite Datei nennt das Wort Kirschbaum.")
    added = {"data_sources": [further.as_uri()], "add_sources": True}
    for arguments, version, unchanged in ((added, 1, 1), ({"parameter_version": "newest"}, 2, 0), ({}, 2, 2)):
        handle = await platform.agent.orchestrator("process_new_documents", named | arguments, JobHandle)
        update = await platform.follow(handle.job_id)
        assert update.state == "completed", update.error
        assert update.result is not None
        assert update.result.numbers["parameter_version"] == version
        assert update.result.numbers["documents"] == 2
        assert update.result.numbers["unchanged"] == unchanged
    assert saved.version == 2
    assert update.result.digests["fingerprint"] == saved.fingerprint
    told = await platform.agent.orchestrator("list_installation_params", named, ParameterHistory)
    assert [(each.version, each.current) for each in told.versions] == [(2, True), (1, False)]
    assert [each.field for each in told.versions[0].differences] == ["chunking.max_tokens"]


async def test_a_file_that_comes_while_others_are_processed_is_the_next_updates_and_no_failure(
    platform: Running, corpus: Path
) -> None:
    inbox = corpus.parent / "inbox"
    inbox.mkdir()
    for number in range(40):
        text = f"Datenblatt {number}: Klemme K-{number} hält {number} Ampere. " * 60
        (inbox / f"blatt-{number}.txt").write_text(text)
    request = {"company_name": "Eingang GmbH", "contact_email": "it@example.com", "data_sources": [inbox.as_uri()]}
    handle = await platform.agent.orchestrator("initialize_customer", request, JobHandle)
    async with asyncio.timeout(JOB_S):
        while True:
            view = await platform.agent.orchestrator("get_job", {"job_id": handle.job_id}, JobView)
            running = {step.name for step in view.steps if step.state == "running"}
            if running == {"process"} and view.progress.done:
                break
            assert not running & {"verify", "build"}, "the files were processed before another one came"
            await asyncio.sleep(0.1)  # the interval of a poll
    (inbox / "spaet.txt").write_text("Diese Datei kam, als die anderen schon gelesen wurden.")
    ended = await platform.follow(handle.job_id)
    assert ended.state == "completed", ended.error
    assert ended.result is not None
    assert (ended.result.numbers["files"], ended.result.numbers["documents"]) == (40, 40)
    named = {"customer_id": ended.customer_id}
    handle = await platform.agent.orchestrator("process_new_documents", named, JobHandle)
    update = await platform.follow(handle.job_id)
    assert update.result is not None
    assert (update.result.numbers["files"], update.result.numbers["unchanged"]) == (41, 40)


async def test_jobs_and_customers_hold_no_file_name_and_no_text(platform: Running, onboarded: JobView) -> None:
    listing = orjson.dumps(onboarded.model_dump(mode="json"))
    for word in (b"pruefprotokoll", b"Osterkamp", b"bestand.csv"):
        assert word not in listing
    for log in (platform.settings.home / "logs").iterdir():
        assert b"pruefprotokoll" not in log.read_bytes()
        assert b"Osterkamp" not in log.read_bytes()
