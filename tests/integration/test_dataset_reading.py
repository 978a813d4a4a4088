"""Asking a dataset: planted answers are found in German, and SQL and Cypher read only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import psutil
import pytest
from dataset_corpus import DIMENSION, PLANTED, article, document, frozen, unpack, vector_of, written

from servers.instance.__main__ import query_deadline
from shared.dataset.filters import Filters
from shared.dataset.reader import DatasetReader
from shared.dataset.statements import CYPHER, SQL, Language, reading
from shared.errors import DeadlineExceeded, InvalidInput, NotFound, Unavailable

WRITING_SQL = [
    "DROP TABLE products",
    "DELETE FROM products",
    "UPDATE products SET name = 'x'",
    "INSERT INTO products SELECT * FROM products",
    "WITH a AS (SELECT * FROM products) INSERT INTO products SELECT * FROM a",
    "CREATE TABLE stolen AS SELECT * FROM products",
    "CREATE EXTERNAL TABLE stolen STORED AS CSV LOCATION '/etc/passwd'",
    "COPY products TO '{out}'",
    "COPY (SELECT * FROM products) TO '{out}' STORED AS PARQUET",
    "SELECT * INTO stolen FROM products",
    "SELECT 1; DROP TABLE products",
    "SELECT 1;COPY products TO '{out}'",
    "SELECT ';' ; DELETE FROM products",
    "SELECT 1 /* ; */ ; /* */ DELETE FROM products",
    "SELECT 1 -- \n; DELETE FROM products",
    "EXPLAIN ANALYZE COPY products TO '{out}'",
    "/* SELECT */ DROP TABLE products",
    "(((SELECT 1))); DROP TABLE products",
    "SELECT '' /* /* */ ; DROP TABLE products -- */",
    "SELECT $$a$$; DROP TABLE products",
    "SET datafusion.catalog.location = '/etc'",
    "PREPARE p AS SELECT 1",
    "VALUES (1)",
    "SELECT 1; SELECT 2",
    "WITH a AS (SELECT * FROM products) COPY a TO '{out}'",
    "TRUNCATE products",
    "SELECT 1INTO stolen FROM products",
    "SELECT 1.INTO stolen FROM products",
    "SELECT 1e5INTO stolen FROM products",
    "SELECT 1 AS `'`; DROP TABLE products -- '",
    "SELECT E'\\'' AS a; DROP TABLE products --'",
    "SELECT U&'\\0027' AS a",
    "SELECT 1 /* /* */ AS a, ' */ INTO stolen FROM products -- '",
    "SELECT 1 -- \r ' \n INTO stolen FROM products -- '",
    "",
    ";",
    "--",
    "SELECT 'open",
]
WIDE = "MATCH (a:Node), (b:Node), (c:Node), (d:Node) RETURN a.id, b.id, c.id, d.id ORDER BY d.id, c.id, b.id"
OPENING_SQL = [  # read as any other query: it is the engine that knows no such table
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM read_csv('/etc/passwd')",
    'SELECT * FROM "file:///etc/passwd"',
]
WRITING_CYPHER = [
    "CREATE (n:Node {id: 'x'})",
    "MATCH (n:Node) DELETE n",
    "MATCH (n:Node) DETACH DELETE n",
    "MATCH (n:Node) SET n.name = 'x' RETURN n",
    "MERGE (n:Node {id: 'x'}) RETURN n",
    "MATCH (n:Node) WITH n MERGE (m:Node {id: 'y'}) RETURN m",
    "DROP TABLE Node",
    "COPY Node FROM '/etc/passwd'",
    "COPY (MATCH (n:Node) RETURN n.id) TO '{out}'",
    "LOAD FROM '/etc/passwd' (file_format='csv') RETURN *",
    "MATCH (n:Node) LOAD FROM '/etc/passwd' RETURN *",
    "ATTACH '/etc/passwd' AS a (dbtype sqlite)",
    "INSTALL httpfs",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '/tmp'",
    "CALL show_tables() RETURN *",
    "RETURN 1; CREATE (n:Node {id: 'x'})",
    "MATCH (n:Node) RETURN n.id; MATCH (m:Node) DELETE m",
    "RETURN ';' ; CREATE (n:Node {id: 'x'})",
    "RETURN 1 // \n; CREATE (n:Node {id: 'x'})",
    "RETURN '\\'' ; MATCH (n:Node) DELETE n //'",
    "BEGIN TRANSACTION",
    "SHOW TRANSACTIONS YIELD currentQuery RETURN currentQuery",
    "RETURN 1; RETURN 2",
    "CHECKPOINT",
    "MATCH (n:Node) WITH n LIMIT 1SET n.name = 'x' RETURN n",
    "MATCH (n:Node) WITH n LIMIT 1DETACH DELETE n",
    "MATCH (n:Node) WITH n LIMIT 1LOAD FROM '/etc/hosts.csv' RETURN *",
    "MATCH (n:Node) WITH n LIMIT 1CALL show_tables() RETURN *",
    "RETURN '\\u0027 AS a LOAD CSV FROM \\u0027http://127.0.0.1/' AS line RETURN line",
    "MATCH (n:Node) \\u0053ET n.name = 'x' RETURN n",
    "MATCH (n:Node) // \\u000aSET n.name = 'x'\nRETURN n",
    "MATCH (n:Node) // \rSET n.name = 'x'\nRETURN n",
    "MATCH (n:Node) RETURN n.`a\\u0060, 1 SET n.name = 'x' //`",
    "MATCH (n:Node) /* /* */ RETURN ' */ SET n.name = 'x' // '",
    "",
]


def bytes_below(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading")
    corpus = [document(0, PLANTED), *(document(n) for n in range(1, 30))]
    asyncio.run(written(folder / "original", corpus, batch=30))
    return unpack(frozen(folder / "original"), folder / "copy")


@pytest.fixture
async def reader(copy: Path, tmp_path: Path) -> AsyncIterator[DatasetReader]:
    async with DatasetReader(copy, scratch=tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    "query",
    [
        "Leitungsschutzschalter",
        "leitungsschutzschalters",
        "Schutzschalter",
        "Gehäuse",
        "GEHÄUSE",
        "Gehause",
        "Gehaeuse",
        "Kunststoffgehäuse",
        "schlagfestes Polyamid",
    ],
)
async def test_a_planted_sentence_is_found_by_german_words_however_they_are_written(
    reader: DatasetReader, query: str
) -> None:
    best = (await reader.search(query, limit=3))[0]
    assert (best.text, best.page, best.heading_path, best.title) == (PLANTED, 1, "Technische Daten", "Datenblatt 0")


@pytest.mark.parametrize(
    "query",
    [article(17), "5SY4 017-7", "5sy4017-7", "5SY40177", "4012345000017", f"Wie viel Nennstrom hat {article(17)}?"],
)
async def test_an_article_number_or_gtin_comes_first_against_a_vector_that_says_otherwise(
    reader: DatasetReader, query: str
) -> None:
    best = (await reader.search(query, vector_of(PLANTED), limit=5))[0]
    assert best.path == document(17).document.path
    assert "codes" in best.matched


async def test_a_passage_is_found_by_its_vector_where_no_word_matches(reader: DatasetReader) -> None:
    best = (await reader.search("miniature circuit breaker", vector_of(PLANTED), limit=3))[0]
    assert best.text == PLANTED
    assert best.similarity == pytest.approx(1.0, abs=1e-5)
    assert best.matched == ("meaning",)


async def test_filters_restrict_and_are_never_taken_as_a_condition_of_their_own(reader: DatasetReader) -> None:
    vector = vector_of(PLANTED)
    english = await reader.search("Artikelnummer", vector, limit=20, filters=Filters(language="en", kind="product"))
    assert english
    assert {(hit.language, hit.kind) for hit in english} == {("en", "product")}
    one = await reader.search("Artikelnummer", vector, filters=Filters(document=document(4).document.path, page=2))
    assert [(hit.path, hit.page) for hit in one] == [(document(4).document.path, 2)]
    for hostile in ("' OR '1'='1", "de' --", "\\' OR true", 'x" OR "1"="1'):
        assert await reader.search("Artikelnummer", vector, filters=Filters(language=hostile)) == []
        assert await reader.search("Artikelnummer", vector, filters=Filters(document=hostile)) == []


@pytest.mark.requirement("I-03", "I-04")
async def test_vectors_and_texts_that_cannot_be_searched_are_refused(reader: DatasetReader) -> None:
    for vector in (np.full(DIMENSION, np.nan), np.full(DIMENSION, np.inf), np.ones(DIMENSION + 1), [1e300] * DIMENSION):
        with pytest.raises(InvalidInput):
            await reader.search("Klemme", vector)
    with pytest.raises(InvalidInput):
        await reader.search("\ud800")
    for odd in ("", "\0", "\u202e" * 50, "a\u0301" * 1000, "'; DROP TABLE", '"', "*", "(", "a:b AND OR NOT"):
        assert isinstance(await reader.search(odd, vector_of("x"), limit=2), list)


async def test_amounts_are_exact_numbers_and_odd_values_are_text(reader: DatasetReader) -> None:
    table = await reader.sql(
        "SELECT sum(amount) AS total, cast('NaN' AS double) AS nan, 9223372036854775807 AS big, NULL AS none, "
        "[1, 2] AS list FROM prices"
    )
    assert table.columns == ("total", "nan", "big", "none", "list")
    assert table.rows == ((438.0, "nan", "9223372036854775807", None, "[1,2]"),)


async def test_answers_are_cut_at_the_limit_and_say_so(reader: DatasetReader) -> None:
    assert len((cut := await reader.sql("SELECT * FROM chunks ORDER BY chunk_id", limit=7)).rows) == 7
    assert cut.truncated
    assert (await reader.sql("SELECT repeat(text, 2000) AS t FROM chunks", limit=500)).truncated
    assert not (await reader.sql("SELECT * FROM products", limit=30)).truncated
    assert (await reader.cypher("MATCH (n:Node) RETURN n.id", limit=3)).truncated


@pytest.mark.requirement("M-05")
async def test_a_statement_that_runs_too_long_is_stopped_and_the_next_one_answers(reader: DatasetReader) -> None:
    endless = "SELECT count(*) FROM chunks a, chunks b, chunks c, chunks d, chunks e WHERE a.text || b.text <> c.text"
    with pytest.raises(DeadlineExceeded):
        await reader.sql(endless, timeout=1)
    assert (await reader.sql("SELECT count(*) AS n FROM chunks")).rows == ((60,),)
    paths = "MATCH (a:Node)-[:Edge*1..12]-(b:Node)-[:Edge*1..12]-(c:Node) RETURN count(*)"
    with pytest.raises(DeadlineExceeded):
        await reader.cypher(paths, timeout=1)
    assert (await reader.cypher("MATCH (n:Node {kind: 'product'}) RETURN count(n) AS n")).rows == ((30,),)
    assert_only_idle_ones_run(reader)


def assert_only_idle_ones_run(reader: DatasetReader) -> None:
    """The process of a query that was stopped is gone; else it computes on, beside the one that replaced it."""
    assert reader._sql is not None
    assert reader._cypher is not None
    idle = {each.pid for each in (*reader._sql._idle, *reader._cypher._idle)}
    children = psutil.Process().children()
    assert {each.pid for each in children if "shared.dataset.query_worker" in each.cmdline()} <= idle


async def test_a_process_that_starts_slower_than_a_query_may_take_still_answers(
    reader: DatasetReader, monkeypatch: pytest.MonkeyPatch, time_passes: Callable[[float], None]
) -> None:
    assert reader._sql is not None
    start = reader._sql._start

    async def slow() -> asyncio.subprocess.Process:
        time_passes(3600)
        await asyncio.sleep(0.1)  # so that what was to end by now ends
        return await start()

    monkeypatch.setattr(reader._sql, "_start", slow)
    assert (await reader.sql("SELECT count(*) AS n FROM chunks", timeout=60)).rows == ((60,),)


def test_the_longest_time_of_a_query_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert query_deadline() == 10
    monkeypatch.setenv("INSTANCE_QUERY_DEADLINE_S", "300")
    assert query_deadline() == 300
    for wrong in ("9", "601", "-50", "nan", "20.5", "²", "10 s"):
        monkeypatch.setenv("INSTANCE_QUERY_DEADLINE_S", wrong)
        with pytest.raises(InvalidInput, match="INSTANCE_QUERY_DEADLINE_S"):
            query_deadline()


@pytest.mark.requirement("M-05")
async def test_a_caller_that_gives_up_ends_its_query(reader: DatasetReader) -> None:
    endless = "SELECT count(*) FROM chunks a, chunks b, chunks c, chunks d, chunks e WHERE a.text || b.text <> c.text"
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.sql(endless, timeout=60), 0.8)
    assert (await reader.sql("SELECT count(*) AS n FROM chunks", timeout=120)).rows == ((60,),)
    assert_only_idle_ones_run(reader)


async def test_a_process_that_ended_while_it_was_idle_is_replaced_without_a_word(reader: DatasetReader) -> None:
    assert reader._sql is not None
    await reader.sql("SELECT 1 AS a")
    (idle,) = reader._sql._idle
    idle.kill()
    await idle.wait()
    assert (await reader.sql("SELECT count(*) AS n FROM chunks")).rows == ((60,),)


async def test_queries_that_begin_together_have_a_process_each(reader: DatasetReader) -> None:
    answers = await asyncio.gather(*(reader.sql(f"SELECT {number} AS a") for number in range(5)))
    assert [answer.rows for answer in answers] == [((number,),) for number in range(5)]


async def test_a_process_that_was_killed_is_told_from_one_whose_query_needs_too_much_memory(
    reader: DatasetReader,
) -> None:
    with pytest.raises(InvalidInput, match="more memory than one query may have"):
        await reader.sql("SELECT repeat('x', 2000000000) || repeat('y', 2000000000) AS a FROM chunks")
    with pytest.raises(InvalidInput, match="more memory than one query may have"):
        await reader.cypher("UNWIND range(1, 400000000) AS i RETURN collect(i)")
    await reader.sql("SELECT 1 AS a")
    with pytest.raises(Unavailable, match="Try again"):
        await asyncio.gather(
            reader.sql("SELECT count(*) FROM chunks a, chunks b, chunks c, chunks d, chunks e", timeout=60),
            _kill_what_works(reader),
        )
    assert (await reader.sql("SELECT count(*) AS n FROM chunks")).rows == ((60,),)


async def _kill_what_works(reader: DatasetReader) -> None:
    assert reader._sql is not None
    while not reader._sql._busy:  # noqa: ASYNC110  # a set, not an event
        await asyncio.sleep(0)
    for process in reader._sql._busy:
        process.kill()


async def test_what_is_wrong_with_a_query_is_said_in_whole_words_and_sentences(reader: DatasetReader) -> None:
    columns = {column for table in (await reader.describe())["tables"].values() for column in table["columns"]}
    with pytest.raises(InvalidInput) as wrong:
        await reader.sql("SELECT articlenumber FROM products")
    named = re.findall(r"products\.(\w*)", wrong.value.message)
    assert named
    assert columns.issuperset(named)
    assert ", and more. The tables are " in wrong.value.message
    with pytest.raises(InvalidInput) as wrong:
        await reader.cypher("MATCH (n:Produkt) RETURN n")
    assert "Produkt" in wrong.value.message
    assert "{kind: '…'}" in wrong.value.message
    assert ".." not in wrong.value.message
    with pytest.raises(InvalidInput, match=re.escape("more memory than one query may have. Begin at a node")):
        await reader.cypher(WIDE, timeout=60)


@pytest.mark.requirement("I-11")
@pytest.mark.parametrize("statement", [*WRITING_SQL, *OPENING_SQL])
async def test_no_sql_statement_writes_or_opens_a_file(
    reader: DatasetReader, copy: Path, tmp_path: Path, statement: str
) -> None:
    before, out = bytes_below(copy), tmp_path / "stolen"
    with pytest.raises(InvalidInput):
        await reader.sql(statement.replace("{out}", str(out)))
    assert not out.exists()
    assert bytes_below(copy) == before


@pytest.mark.requirement("I-11")
@pytest.mark.parametrize("statement", WRITING_CYPHER)
async def test_no_cypher_statement_writes_or_opens_a_file(
    reader: DatasetReader, copy: Path, tmp_path: Path, statement: str
) -> None:
    before, out = (await reader.cypher("MATCH (n:Node) RETURN count(n) AS n")).rows, tmp_path / "stolen"
    with pytest.raises(InvalidInput):
        await reader.cypher(statement.replace("{out}", str(out)))
    assert not out.exists()
    assert (await reader.cypher("MATCH (n:Node) RETURN count(n) AS n")).rows == before


@pytest.mark.requirement("I-11")
@pytest.mark.parametrize(
    ("language", "statement"),
    [*((SQL, each) for each in WRITING_SQL), *((CYPHER, each) for each in WRITING_CYPHER)],
    ids=lambda value: "" if isinstance(value, Language) else value,
)
def test_the_guard_alone_refuses_what_writes(language: Language, statement: str) -> None:
    with pytest.raises(InvalidInput):
        reading(statement, language)


@pytest.mark.requirement("I-11")
async def test_behind_the_guard_the_process_itself_can_write_nothing_and_its_graph_opens_no_file(
    reader: DatasetReader, copy: Path, tmp_path: Path
) -> None:
    """The guard is passed by on purpose: what it might overlook is stopped by the engine or the process."""
    before, out = bytes_below(copy), tmp_path / "stolen.csv"
    assert reader._sql is not None
    assert reader._cypher is not None
    for statement in (
        f"COPY products TO '{out}'",
        "INSERT INTO products SELECT * FROM products",
        "DROP TABLE products",
    ):
        with pytest.raises(InvalidInput):
            await reader._sql.ask(statement, 10, 20)
    (tmp_path / "secret.csv").write_text("user,word\n")
    for statement, why in {
        "CREATE (n:Node {id: 'x'})": "read-only",
        "MATCH (n:Node) DETACH DELETE n": "read-only",
        "DROP TABLE Edge": "read-only",
        f"LOAD FROM '{tmp_path}/secret.csv' RETURN *": "Cannot open",
    }.items():
        with pytest.raises(InvalidInput, match=why):
            await reader._cypher.ask(statement, 10, 20)
    for process in (*reader._sql._idle, *reader._cypher._idle):
        assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert not out.exists() or out.stat().st_size == 0
    assert bytes_below(copy) == before
    assert (await reader.sql("SELECT count(*) AS n FROM products")).rows == ((30,),)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT name FROM products WHERE name LIKE '%; DROP TABLE%'",
        'select "transaction" from products limit 1;',
        "WITH p AS (SELECT product_id FROM products) SELECT count(*) FROM p",
        "SELECT p.name, f.value FROM products p JOIN features f USING (product_id) WHERE f.number > 10 -- in ampere",
        "SELECT 'it''s; set' AS \"update\"",
        "(SELECT 1 AS n) UNION ALL (SELECT 2)",
        "SELECT 1.5e-3 AS a, 1e5 AS b, '1SET' AS d /* it's */ FROM products AS p1 WHERE p1.name IN('a', 'b\\u00e4')",
        "SELECT p1.name AS größe,\r\n [1, 2][1] AS `update`, 'E''' AS \"a\"\"b\" FROM products p1 -- it's",
    ],
)
async def test_honest_queries_are_not_refused(reader: DatasetReader, query: str) -> None:
    assert (await reader.sql(query)).columns


@pytest.mark.parametrize(
    "query",
    [
        "MATCH (a:Node)-[:Edge*1..3]-(b:Node) WHERE b.name =~ '\\\\w+' RETURN a.name, 'x\\'y' AS `set`, 1.5e3 // it's",
        "MATCH (n:Node)-->(m:Node) WHERE n.name IN['a'] RETURN [1, 2, 3][1..2] AS x1, count(*) AS `größe`",
    ],
)
async def test_honest_questions_to_the_graph_are_not_refused(reader: DatasetReader, query: str) -> None:
    assert (await reader.cypher(query)).columns


async def test_the_graph_knows_makers_groups_classes_and_relations(reader: DatasetReader) -> None:
    accessories = await reader.cypher(
        "MATCH (a:Node {number: '5SY4003-7'})-[e:Edge {kind: 'REFERS_TO'}]->(b:Node) RETURN e.label, b.number"
    )
    assert accessories.rows == (("accessories", article(4)),)
    unknown = await reader.cypher(
        "MATCH (a:Node)-[:Edge {kind: 'REFERS_TO'}]->(b:Node {kind: 'article'}) "
        "RETURN a.number, b.number, b.document_id"
    )
    assert unknown.rows == ((article(29), article(30), ""),)  # no document describes it
    kinds = await reader.cypher("MATCH (n:Node) RETURN n.kind AS kind, count(*) AS n ORDER BY kind")
    assert kinds.rows == (
        ("article", 1), ("class", 1), ("document", 30), ("group", 60), ("manufacturer", 1), ("product", 30),
    )  # fmt: skip
    up = await reader.cypher("MATCH (:Node {number: '5SY4003-7'})-[:Edge*1..2]->(g:Node {number: 'G1'}) RETURN g.name")
    assert up.rows == (("Klemmen",),)


async def test_unknown_documents_and_a_missing_graph_are_named_as_such(reader: DatasetReader, copy: Path) -> None:
    with pytest.raises(NotFound):
        await reader.passages("doc_" + "0" * 32)
    async with DatasetReader(copy) as without_scratch:
        with pytest.raises(Unavailable):
            await without_scratch.cypher("MATCH (n:Node) RETURN n.id")


async def test_the_description_names_tables_columns_and_samples(reader: DatasetReader) -> None:
    about = await reader.describe()
    tables = about["tables"]
    assert isinstance(tables, dict)
    assert tables["prices"]["rows"] == 30
    assert tables["prices"]["columns"]["amount"] == "decimal128(24, 6)"
    assert len(tables["chunks"]["sample"]) == 2
