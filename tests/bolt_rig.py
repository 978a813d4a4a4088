"""A server that speaks Bolt 5.4 over a dataset's graph, so that the official driver's own wire is what tests see.

It is no Neo4j: Cypher is ladybug's. It holds to what Neo4j promises of a transaction with read access, and notes what
each transaction began with.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ladybug
from neo4j._codec.packstream import Structure
from neo4j._codec.packstream.v1 import PackableBuffer, Packer, UnpackableBuffer, Unpacker

from shared.dataset.graph import build_graph

HELLO, GOODBYE, RESET, RUN, BEGIN, COMMIT, ROLLBACK, PULL, LOGON = 0x01, 0x02, 0x0F, 0x10, 0x11, 0x12, 0x13, 0x3F, 0x6A
SUCCESS, RECORD, IGNORED, FAILURE = 0x70, 0x71, 0x7E, 0x7F
WRITES = ("CREATE", "SET", "DELETE", "MERGE", "DROP")
PASSWORD = "a password of the tests"


class BoltServer(socketserver.ThreadingTCPServer):
    """Serves one graph. `begun` holds the extras of every BEGIN, `asked` every statement."""

    allow_reuse_address, daemon_threads = True, True

    def __init__(self, database: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Session)
        self.graph = ladybug.Database(str(database))
        self.begun: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.hangs = threading.Event()

    @property
    def url(self) -> str:
        return f"bolt://127.0.0.1:{self.server_address[1]}"

    def mark(self, dataset_digest: str) -> None:
        """Name the dataset of the graph, in place of another."""
        connection = ladybug.Connection(self.graph)
        connection.execute("MATCH (d:Dataset) DELETE d")
        connection.execute(f"CREATE (:Dataset {{digest: '{dataset_digest}'}})")
        connection.close()


@contextmanager
def bolt_server(graph: Path, scratch: Path) -> Iterator[BoltServer]:
    """A server over the two Parquet files of a dataset's graph."""
    build_graph(graph / "nodes.parquet", graph / "edges.parquet", scratch / "bolt.lbug")
    server = BoltServer(scratch / "bolt.lbug")
    made = ladybug.Connection(server.graph)
    made.execute("CREATE NODE TABLE Dataset(digest STRING PRIMARY KEY)")
    made.close()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.hangs.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Failed(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Session(socketserver.BaseRequestHandler):
    server: BoltServer

    def handle(self) -> None:
        try:
            assert self._exactly(4) == b"\x60\x60\xb0\x17"
            self._exactly(16)
            self.request.sendall(b"\x00\x00\x04\x05")
            self._connection = ladybug.Connection(self.server.graph)
            self._result, self._mode, failed = None, "w", False
            while (message := self._receive())[0] != GOODBYE:
                tag, fields = message
                if tag == RESET:
                    failed = False
                    self._send(SUCCESS, {})
                elif failed:
                    self._send(IGNORED)
                else:
                    try:
                        self._answer(tag, fields)
                    except _Failed as error:
                        failed = True
                        self._send(FAILURE, {"code": error.code, "message": str(error)})
        except (EOFError, ConnectionError):
            pass

    def _answer(self, tag: int, fields: list[Any]) -> None:
        match tag:
            case 0x01:  # HELLO
                self._send(SUCCESS, {"server": "Neo4j/5.4.0", "connection_id": "bolt-1", "hints": {}})
            case 0x6A:  # LOGON
                if fields[0].get("credentials") != PASSWORD:
                    raise _Failed("Neo.ClientError.Security.Unauthorized", "wrong password")
                self._send(SUCCESS, {})
            case 0x11:  # BEGIN
                self.server.begun.append(fields[0])
                self._mode = fields[0].get("mode", "w")
                if fields[0].get("db") not in (None, "neo4j"):
                    raise _Failed("Neo.ClientError.Database.DatabaseNotFound", "no such database")
                self._send(SUCCESS, {})
            case 0x10:  # RUN
                self._run(fields[0])
            case 0x3F:  # PULL
                self._pull(fields[0].get("n", -1))
            case _:  # COMMIT, ROLLBACK, DISCARD, TELEMETRY
                self._send(SUCCESS, {})

    def _run(self, statement: str) -> None:
        self.server.asked.append(statement)
        if self._mode == "r" and any(word in statement.upper().split() for word in WRITES):
            raise _Failed("Neo.ClientError.Statement.AccessMode", "Writing in read access mode not allowed.")
        if "hang" in statement:
            self.server.hangs.wait()
        try:
            result = self._connection.execute(statement)
        except RuntimeError as error:
            raise _Failed("Neo.ClientError.Statement.SyntaxError", str(error)) from None
        assert not isinstance(result, list)
        self._result = result
        self._send(SUCCESS, {"fields": result.get_column_names(), "t_first": 0})

    def _pull(self, wanted: int) -> None:
        sent, result = 0, self._result
        assert result is not None
        while result.has_next() and (wanted < 0 or sent < wanted):
            self._send(RECORD, [_packable(value) for value in result.get_next()])
            sent += 1
        self._send(SUCCESS, {"has_more": True} if result.has_next() else {"type": "r", "db": "neo4j"})

    def _receive(self) -> tuple[int, list[Any]]:
        body = b""
        while (size := struct.unpack(">H", self._exactly(2))[0]) or not body:
            body += self._exactly(size)
        unpacker = Unpacker(UnpackableBuffer(body))
        count, tag = unpacker.unpack_structure_header()
        return tag[0] if isinstance(tag, bytes | bytearray) else tag, [unpacker.unpack() for _ in range(count)]

    def _send(self, tag: int, *fields: Any) -> None:
        buffer = PackableBuffer()
        packer = Packer(buffer)
        packer.pack_struct(bytes([tag]), fields)
        data = bytes(buffer.data)
        pieces = [data[start : start + 65535] for start in range(0, len(data), 65535)]
        self.request.sendall(b"".join(struct.pack(">H", len(piece)) + piece for piece in pieces) + b"\x00\x00")

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            block = self.request.recv(size - len(found))
            if not block:
                raise EOFError
            found += block
        return found


def _packable(value: Any) -> Any:
    if isinstance(value, list):
        return [_packable(each) for each in value]
    if not isinstance(value, dict) or ("_NODES" not in value and "_LABEL" not in value):
        return value
    if "_NODES" in value:
        nodes, edges = value["_NODES"], value["_RELS"]
        steps = [number for step in range(len(edges)) for number in (step + 1, step + 1)]
        unbound = [Structure(b"r", _id(edge["_ID"]), edge["_LABEL"], _own(edge), _name(edge["_ID"])) for edge in edges]
        return Structure(b"P", [_packable(node) for node in nodes], unbound, steps)
    if "_SRC" in value:
        ends = (value["_SRC"], value["_DST"])
        numbers, names = [_id(end) for end in ends], [_name(end) for end in ends]
        return Structure(
            b"R", _id(value["_ID"]), *numbers, value["_LABEL"], _own(value), _name(value["_ID"]), *names
        )  # fmt: skip
    return Structure(b"N", _id(value["_ID"]), [value["_LABEL"]], _own(value), _name(value["_ID"]))


def _own(value: dict[str, Any]) -> dict[str, Any]:
    return {key: each for key, each in value.items() if not key.startswith("_")}


def _id(about: dict[str, int]) -> int:
    return about["table"] << 40 | about["offset"]


def _name(about: dict[str, int]) -> str:
    return f"{about['table']}:{about['offset']}"
