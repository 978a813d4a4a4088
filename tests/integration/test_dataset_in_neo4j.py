"""The graph by address: the official driver over the wire, with answers, bounds and refusals of the embedded one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dataset_corpus import document, frozen, unpack, written

from servers.instance.__main__ import graph_server
from shared.dataset.bolt import GraphServer
from shared.dataset.reader import DatasetReader
from shared.errors import DeadlineExceeded, InvalidInput, Unavailable
from tests.bolt_rig import PASSWORD, BoltServer, bolt_server
from tests.integration.test_dataset_reading import WRITING_CYPHER

SAME = [
    "MATCH (n:Node) RETURN n.kind AS kind, count(*) AS n ORDER BY kind",
    "MATCH ()-[e:Edge]->() RETURN e.kind AS kind, count(*) AS n ORDER BY kind",
    "MATCH (a:Node)-[e:Edge {kind: 'REFERS_TO'}]->(b:Node) "
    "RETURN a.number AS of, e.label AS label, b.number AS to ORDER BY of, to",
    "MATCH (:Node {number: '5SY4003-7'})-[:Edge*1..2]->(g:Node {number: 'G1'}) RETURN g.name",
    "MATCH (n:Node {kind: 'product'}) RETURN collect(n.number) AS numbers, 9007199254740993 AS large, 1.5 AS x",
    "UNWIND [1, 2, 3] AS n RETURN n",
]
OF_LIBRARIES = [
    "RETURN apoc.cypher.runFirstColumnSingle('CREATE (n)', {})",
    "RETURN `apoc`.`text` /* . */ . `join` (['a'], '')",
    "RETURN `apoc.x`('a')",
]


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("in-neo4j")
    asyncio.run(written(root / "dataset", [document(number) for number in range(12)]))
    return unpack(frozen(root / "dataset"), root / "frozen")


@pytest.fixture(scope="module")
def server(copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BoltServer]:
    with bolt_server(copy / "graph", tmp_path_factory.mktemp("bolt")) as running:
        running.mark(json.loads((copy / "manifest.json").read_text())["dataset_digest"])
        yield running


@pytest.fixture
async def reader(copy: Path, server: BoltServer) -> AsyncIterator[DatasetReader]:
    async with DatasetReader(copy, graph_server=GraphServer(server.url, "neo4j", PASSWORD)) as opened:
        yield opened


@pytest.mark.parametrize("query", SAME)
async def test_the_answers_are_those_of_the_embedded_graph(
    reader: DatasetReader, copy: Path, tmp_path: Path, query: str
) -> None:
    async with DatasetReader(copy, scratch=tmp_path) as embedded:
        assert await reader.cypher(query) == await embedded.cypher(query)


async def test_nodes_edges_and_paths_come_in_the_same_form(reader: DatasetReader, copy: Path, tmp_path: Path) -> None:
    query = "MATCH p = (a:Node {number: '5SY4003-7'})-[e:Edge {kind: 'IN_CLASS'}]->(b:Node) RETURN a, e, p"

    def shape(value: object) -> object:
        """Without the engine's own ids, which differ."""
        if isinstance(value, dict):
            return {key: each if key not in ("_ID", "_SRC", "_DST") else "" for key, each in map(pair, value.items())}
        return [shape(each) for each in value] if isinstance(value, list) else value

    def pair(item: tuple[str, object]) -> tuple[str, object]:
        return item[0], shape(item[1])

    async with DatasetReader(copy, scratch=tmp_path) as embedded:
        ((*there,),), ((*here,),) = (await reader.cypher(query)).rows, (await embedded.cypher(query)).rows
    assert [shape(json.loads(str(each))) for each in there] == [shape(json.loads(str(each))) for each in here]


async def test_every_statement_reads_in_a_transaction_with_read_access_and_a_time_limit(
    reader: DatasetReader, server: BoltServer
) -> None:
    server.begun.clear()
    await reader.cypher("MATCH (n:Node) RETURN count(n) AS n", timeout=7)
    assert [(each["mode"], each["tx_timeout"], each["db"]) for each in server.begun] == [("r", 7000, "neo4j")]


@pytest.mark.requirement("I-11")
@pytest.mark.parametrize("statement", [*WRITING_CYPHER, *OF_LIBRARIES])
async def test_what_the_embedded_graph_refuses_never_reaches_the_server(
    reader: DatasetReader, server: BoltServer, tmp_path: Path, statement: str
) -> None:
    server.asked.clear()
    with pytest.raises(InvalidInput):
        await reader.cypher(statement.replace("{out}", str(tmp_path / "stolen")))
    assert server.asked == []


@pytest.mark.requirement("I-11")
async def test_behind_the_guard_the_server_itself_refuses_to_write(reader: DatasetReader, server: BoltServer) -> None:
    assert reader._cypher is not None
    with pytest.raises(InvalidInput, match="read access mode"):
        await reader._cypher.ask("CREATE (n:Node {id: 'x'})", 10, 20)
    assert (await reader.cypher("MATCH (n:Node {id: 'x'}) RETURN n.id")).rows == ()


async def test_answers_are_cut_and_a_wrong_statement_is_named(reader: DatasetReader) -> None:
    cut = await reader.cypher("UNWIND range(1, 5000) AS n RETURN n", limit=3)
    assert (cut.rows, cut.truncated) == (((1,), (2,), (3,)), True)
    long = await reader.cypher("UNWIND range(1, 300) AS n RETURN repeat('x', 1000) AS t", limit=300)
    assert (len(long.rows), long.truncated) == (199, True)  # each with its quotes and comma
    with pytest.raises(InvalidInput, match="cannot be answered"):
        await reader.cypher("MATCH (n:Node RETURN n")
    assert (await reader.cypher("RETURN 1 AS n")).rows == ((1,),)


@pytest.mark.requirement("M-05")
async def test_a_statement_that_takes_too_long_is_stopped_and_the_next_one_answers(reader: DatasetReader) -> None:
    with pytest.raises(DeadlineExceeded):
        await reader.cypher("RETURN 'x' AS hang", timeout=1.5)
    assert (await reader.cypher("RETURN 1 AS n")).rows == ((1,),)


async def test_the_graph_of_another_version_is_not_asked(reader: DatasetReader, server: BoltServer, copy: Path) -> None:
    digest = reader.manifest.dataset_digest
    server.mark("sha256:" + "0" * 64)
    server.asked.clear()
    try:
        with pytest.raises(Unavailable, match=r"neo4j-import\.sh"):
            await reader.cypher("MATCH (n:Node) RETURN count(n) AS n")
        assert len(server.asked) == 1
    finally:
        server.mark(digest)
    assert (await reader.cypher("MATCH (n:Node) RETURN count(n) > 0 AS n")).rows == ((True,),)


async def test_what_is_wrong_with_the_server_is_said_in_a_sentence(copy: Path, server: BoltServer) -> None:
    there = GraphServer(server.url, "neo4j", PASSWORD)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"bolt://127.0.0.1:{closed.getsockname()[1]}"
        for wrong, words in (
            (replace(there, password="wrong"), "refuses NEO4J_USER"),
            (replace(there, database="none"), "NEO4J_DATABASE"),
            (replace(there, url=nobody), "does not answer"),
        ):
            async with DatasetReader(copy, graph_server=wrong) as opened:
                with pytest.raises(Unavailable, match=words) as refused:
                    await opened.cypher("RETURN 1 AS n")
                assert PASSWORD not in refused.value.message


def test_address_user_and_password_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert graph_server() is None
    monkeypatch.setenv("NEO4J_URL", "bolt+s://graph.example:7687")
    with pytest.raises(InvalidInput, match="NEO4J_PASSWORD"):
        graph_server()
    monkeypatch.setenv("NEO4J_PASSWORD_FILE", str(tmp_path / "secret"))
    with pytest.raises(InvalidInput, match="NEO4J_PASSWORD_FILE"):
        graph_server()
    (tmp_path / "secret").write_text("hidden\n")
    assert graph_server() == GraphServer("bolt+s://graph.example:7687", "neo4j", "hidden", "neo4j")
    for wrong in ("http://graph.example", "bolt://", "bolt://user:secret@graph.example:7687"):
        monkeypatch.setenv("NEO4J_URL", wrong)
        with pytest.raises(InvalidInput, match="NEO4J_URL"):
            graph_server()
