"""What agents ask a running instance wrongly: each answer says what to do next. With the real model."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from servers.cradle.deployments.gate import require_answers
from servers.instance.console import session
from servers.instance.search import FILTERED, ONLY_MEANING
from servers.instance.tools import dataset
from servers.instance.tools.products import Classified, ClassList, ProductList
from shared.client import Upstream
from shared.contracts.deployment import Question
from shared.contracts.instance import DatasetAnswer, DocumentAnswer, DocumentList, SearchAnswer, TableAnswer
from shared.dataset.rows import document_id
from shared.errors import Conflict, InvalidInput, NotFound
from tests.image_rig import encoder_of
from tests.images.test_instance_product_tools import PRODUCTS, bundle
from tests.images.test_instance_search_notes import priced
from tests.instance_rig import KEY, instance_of


async def refused(instance: Upstream, tool: str, arguments: dict[str, Any], kind: type[Exception], says: str) -> None:
    with pytest.raises(kind, match=says):
        await instance.call(tool, arguments)


async def test_a_question_about_nothing_or_of_a_document_that_is_not_there_is_refused(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    async with instance_of([bundle(number, encoder) for number in PRODUCTS], query_model, tmp_path) as instance:
        await refused(instance, "search", {"query": " \t "}, InvalidInput, "query is blank")
        nowhere = {"query": "Klemme", "document_id": "nirgends.pdf"}
        await refused(instance, "search", nowhere, NotFound, "list_documents")
        past = {"document_id": "RK-4.pdf", "start": 9}
        await refused(instance, "get_document", past, InvalidInput, "has 1 passages")
        found = await instance.call("search", {"query": "Klemme", "document_id": "RK-4.pdf"}, SearchAnswer)
        assert len(found.hits) == 1
        for name in ("rk-4.PDF", "RK 4"):
            named = await instance.call("get_document", {"document_id": name}, DocumentAnswer)
            assert (named.document.path, len(named.passages)) == ("RK-4.pdf", 1)
            found = await instance.call("search", {"query": "Klemme", "document_id": name}, SearchAnswer)
            assert len(found.hits) == 1
        several = {"document_id": "RK"}
        await refused(instance, "get_document", several, NotFound, r"Name one of: RK-4\.pdf, RK-6\.pdf")
        other = {"query": "Reihenklemme", "document_id": "HL-160.pdf"}
        assert (await instance.call("search", other, SearchAnswer)).note == f"{ONLY_MEANING} {FILTERED}"
        listed = await instance.call("list_documents", {"prefix": "rk-"}, DocumentList)
        assert (listed.documents, "ILIKE" in listed.note) == ([], True)
        assert (await instance.call("list_documents", {"prefix": "RK-"}, DocumentList)).note == ""


async def test_classes_are_found_as_people_write_them(query_model: Path, tmp_path: Path) -> None:
    encoder = encoder_of(query_model)
    async with instance_of([bundle(number, encoder) for number in PRODUCTS], query_model, tmp_path) as instance:
        for asked in ({"system": "etim", "class_id": "ec000897"}, {"class_id": "EC-00-08-97"}):
            found = await instance.call("find_products", asked, ProductList)
            assert [each.article_number for each in found.products] == ["RK-4", "RK-6"], asked
        number = await instance.call("find_products", {"conditions": [{"value": "RK-99"}]}, ProductList)
        elsewhere = "Article numbers and what running text says are no features"
        assert (number.products, elsewhere in number.note) == ([], True)
        other = {"system": "ECLASS", "class_id": "EC000897"}
        await refused(instance, "find_products", other, NotFound, r"one of ETIM-9\.0")
        await refused(instance, "find_products", {"class_id": "EC9"}, NotFound, "list_classes")
        alone = {"system": "ETIM", "conditions": [{"value": "IP65"}]}
        await refused(instance, "find_products", alone, InvalidInput, "class_id")
        none = await instance.call("list_classes", {"query": "Klemme"}, ClassList)
        assert (none.classes, "ETIM-9.0" in none.note) == ([], True)
        assert (await instance.call("list_classes", {}, ClassList)).note == ""
        unknown = await instance.call("classify_product", {"text": "Klemme", "system": "ECLASS"}, Classified)
        assert "ETIM-9.0" in unknown.note


async def test_a_gate_whose_questions_are_not_answered_says_how_to_be_rid_of_them(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    async with instance_of([bundle(number, encoder) for number in PRODUCTS], query_model, tmp_path) as instance:
        digest = (await instance.call("describe_dataset", {}, DatasetAnswer)).dataset_digest
        right = Question(question="Welche Schutzart hat HL-160?", expected="IP65")
        assert await require_answers(instance, digest, [right]) == 3
        wrong = right.model_copy(update={"expected": "IP99"})
        with pytest.raises(
            Conflict, match=r"0 of 1 answered\)\. The questions are kept .*deploy_customer with .*tag.*empty list"
        ):
            await require_answers(instance, digest, [wrong])


async def test_a_documents_page_says_its_path_once_where_it_has_no_other_title(
    query_model: Path, tmp_path: Path
) -> None:
    encoder = encoder_of(query_model)
    async with instance_of([bundle("RK-4", encoder)], query_model, tmp_path) as instance:
        base = instance._url.removesuffix("/mcp")
        cookies = {session.COOKIE: session.issue(KEY)}
        async with httpx2.AsyncClient(trust_env=False, timeout=20, cookies=cookies) as browser:
            page = (await browser.get(f"{base}/documents/{document_id('RK-4.pdf')}")).text
        assert page.partition("<main")[2].count("RK-4.pdf") == 1


async def test_an_article_is_found_in_the_tables_as_the_tool_tells_however_documents_separate_its_number(
    query_model: Path, tmp_path: Path
) -> None:
    told = re.search(r"regexp_replace\(.+?'g'\) = '\w+'", inspect.getsource(dataset.register))
    assert told
    encoder = encoder_of(query_model)
    documents = [priced(number, "Klemme", encoder) for number in ("RK-4-GR", "RK 4 GR", "RK-4-GN")]
    async with instance_of(documents, query_model, tmp_path) as instance:
        asked = {"sql": "SELECT name FROM products WHERE " + told[0]}  # noqa: S608  the test's own
        found = await instance.call("query_table", asked, TableAnswer)
        assert found.rows == [["Klemme"]] * 2
