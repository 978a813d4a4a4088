"""The graph of a dataset in a Neo4j: the same statements as over the embedded graph, by the official driver.

Runs in a `query_worker`, like the embedded graph. Each statement has a transaction of its own with read access, which
the server holds to; the same transaction first looks whether the Neo4j holds the graph of this dataset and no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from shared.addresses import is_address
from shared.errors import InvalidInput, Unavailable

SCHEMES = ("bolt", "bolt+s", "bolt+ssc", "neo4j", "neo4j+s", "neo4j+ssc")
CONNECT_S = 5.0
FETCHED_AT_ONCE = 100
_MARKER = "MATCH (d:Dataset) RETURN d.digest AS digest LIMIT 2"
_OTHER = (
    "The Neo4j at NEO4J_URL holds no graph, or that of another version of the dataset. Load this version's with"
    " neo4j-import.sh of its delivery, or unset NEO4J_URL."
)


@dataclass(frozen=True, slots=True)
class GraphServer:
    """A Neo4j and the user with which its graph is read.

    Raises:
        InvalidInput: the address is none of a Neo4j.
    """

    url: str
    user: str
    password: str
    database: str = "neo4j"

    def __post_init__(self) -> None:
        if not is_address(self.url, SCHEMES) or "@" in self.url:
            raise InvalidInput(
                "NEO4J_URL is written neo4j+s://HOST:7687 or bolt://HOST:7687, without user and password."
            )


class Bolt:
    """The engine of a `query_worker`.

    Args:
        config: the fields of a `GraphServer`, and `dataset`: the digest of the dataset whose graph has to be there.
    """

    reserved = 0

    def __init__(self, config: dict[str, Any]) -> None:
        import neo4j

        self._dataset, self._database = config["dataset"], config["database"]
        self._driver = neo4j.GraphDatabase.driver(
            config["url"], auth=(config["user"], config["password"]), connection_timeout=CONNECT_S,
            connection_acquisition_timeout=CONNECT_S, max_connection_pool_size=1, fetch_size=FETCHED_AT_ONCE,
            notifications_min_severity="OFF", telemetry_disabled=True,
        )  # fmt: skip

    def run(self, query: str, seconds: float) -> tuple[list[str], Iterator[list[Any]]]:
        """The columns of the answer and its rows as they come.

        Raises:
            Unavailable: the Neo4j does not answer, or holds another graph.
        """
        rows = self._rows(query, seconds)
        return next(rows), rows

    def _rows(self, query: str, seconds: float) -> Iterator[list[Any]]:
        import neo4j

        with (
            _translated(),
            self._driver.session(database=self._database, default_access_mode=neo4j.READ_ACCESS) as session,
            session.begin_transaction(timeout=seconds) as transaction,
        ):
            if [row["digest"] for row in transaction.run(_MARKER)] != [self._dataset]:
                raise Unavailable(_OTHER)
            result = transaction.run(query)  # pyright: ignore[reportArgumentType]  a statement that was checked
            yield list(result.keys())
            for record in result:
                yield [_plain(value) for value in record.values()]


@contextmanager
def _translated() -> Iterator[None]:
    from neo4j.exceptions import AuthError, DriverError, Neo4jError

    try:
        yield
    except AuthError:
        raise Unavailable("The Neo4j at NEO4J_URL refuses NEO4J_USER and its password. Check both.") from None
    except Neo4jError as error:
        if error.code and error.code.startswith("Neo.ClientError.Database."):
            raise Unavailable("The Neo4j at NEO4J_URL has no such database. Check NEO4J_DATABASE.") from None
        if not (error.code and error.code.startswith("Neo.ClientError.")):
            raise Unavailable("The Neo4j at NEO4J_URL cannot answer now. Look at its log.") from None
        raise ValueError(error.message) from None
    except (DriverError, OSError):
        raise Unavailable("The Neo4j at NEO4J_URL does not answer. Check its address and that it runs.") from None


def _plain(value: Any) -> Any:
    """A value in the form in which the embedded graph gives it."""
    from neo4j.graph import Node, Path, Relationship

    match value:
        case Node():
            return {"_ID": value.element_id, "_LABEL": next(iter(value.labels), ""), **_plain(dict(value))}
        case Relationship():
            ends = [node.element_id if node is not None else "" for node in value.nodes]
            about = {"_SRC": ends[0], "_DST": ends[1], "_LABEL": value.type, "_ID": value.element_id}
            return {**about, **_plain(dict(value))}
        case Path():
            return {"_NODES": _plain(list(value.nodes)), "_RELS": _plain(list(value.relationships))}
        case dict():
            return {key: _plain(each) for key, each in value.items()}
        case list():
            return [_plain(each) for each in value]
    return value.iso_format() if hasattr(value, "iso_format") else value
