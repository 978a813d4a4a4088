"""Finding servers by what they are for: titles and descriptions as vectors of cradle's model, compared with a question.

Vectors are made when they are first needed, some at a time, and kept in the database with the digest of their text.
Those of entries for everybody are remembered once for all callers, until the catalogue changes; a customer's own are
few and read each time.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from servers.marketplace.catalogue.store import EVERYTHING, View, seen_by
from servers.marketplace.changes import Changes, Remembered
from servers.marketplace.tokens import Grant, Mint
from shared.client import Upstream
from shared.contracts.embedding import MAX_TEXT_CHARS, EmbeddingResult
from shared.ids import digest
from shared.postgres.database import Database
from shared.postgres.queries import load_queries
from shared.settings import Settings

if TYPE_CHECKING:
    import numpy as np

queries: Any = load_queries("servers.marketplace", "meaning.sql")

READ_AT_ONCE = 128
"""Entries that one search reads anew; the rest is left to the next ones."""
DEADLINE_S = 20.0


@dataclass(frozen=True, slots=True)
class Ranked:
    """Names by their likeness to the question, the most alike first. `unread`: more entries wait to be read."""

    names: tuple[str, ...]
    scores: tuple[float, ...]
    unread: bool


class CradleTokens:
    """Tokens of the marketplace itself for cradle: good for embedding and for nothing else."""

    def __init__(self, mint: Mint) -> None:
        self._mint = mint

    async def token(self, resource: str, customer: str | None) -> str:
        """A token for the server at `resource`."""
        return self._mint.upstream(
            Grant("marketplace", "service", resource, frozenset({"embed"}), customer, "catalogue")
        )

    def forget(self, token: str) -> bool:
        """No other token would be accepted either."""
        return False


class Meaning:
    """Ranks entries by meaning."""

    def __init__(self, settings: Settings, database: Database, mint: Mint, changes: Changes) -> None:
        self._database = database
        self._cradle = Upstream(settings.resource("cradle"), CradleTokens(mint), name="cradle")
        self._known: Remembered[str, tuple[list[str], Any]] = Remembered(changes)

    async def close(self) -> None:
        """Close the connections to cradle."""
        await self._cradle.aclose()

    async def ranked(self, view: View, question: str) -> Ranked:
        """The entries that the view holds, by their likeness to a question.

        Raises:
            Unavailable: cradle does not answer.
        """
        import numpy as np

        model, asked = await self._embed([question], "query")
        unread = await self._read(model)
        if unread:
            self._known.forget(model)
        shared, matrix = await self._known.ask(model, lambda: self._vectors(EVERYTHING, model, shared=True))
        own, few = await self._vectors(view, model, shared=False)
        names = shared + own
        if not names:
            return Ranked((), (), unread=unread >= READ_AT_ONCE)
        scores = np.concatenate([part @ asked[0] for part in (matrix, few) if len(part)])
        order = (-scores).argsort(kind="stable")
        found = tuple(names[place] for place in order)
        return Ranked(found, tuple(float(scores[place]) for place in order), unread=unread >= READ_AT_ONCE)

    async def _read(self, model: str) -> int:
        """Make the vectors of entries whose text has none yet; how many were made."""
        async with seen_by(self._database, EVERYTHING) as connection:
            rows = [row async for row in queries.unread_entries(connection, model=model, limit=READ_AT_ONCE)]
        if not rows:
            return 0
        texts = [f"{row['title']}\n{row['description']}" for row in rows]
        _, vectors = await self._embed([text[:MAX_TEXT_CHARS] for text in texts], "passage")
        async with seen_by(self._database, EVERYTHING) as connection:
            await queries.put_vectors(
                connection,
                names=[row["server_name"] for row in rows],
                customers=[row["customer_id"] for row in rows],
                model=model,
                digests=[digest(text.encode()) for text in texts],
                vectors=[vector.tobytes() for vector in vectors],
            )
        return len(rows)

    async def _vectors(self, view: View, model: str, *, shared: bool) -> tuple[list[str], np.ndarray]:
        """Names and vectors [names, dimension] of entries for everybody, or of the view's customers."""
        import numpy as np

        async with seen_by(self._database, view) as connection:
            found = queries.vectors_of(connection, model=model, shared=shared)
            rows = [(row["server_name"], row["vector"]) async for row in found]
        raw = np.frombuffer(b"".join(vector for _, vector in rows), dtype="<f4")
        return [name for name, _ in rows], raw.reshape(len(rows), -1) if rows else raw

    async def _embed(self, texts: Sequence[str], kind: str) -> tuple[str, np.ndarray]:
        import numpy as np

        arguments = {"texts": list(texts), "input_type": kind, "truncate": True}
        found = await self._cradle.call("embed", arguments, EmbeddingResult, deadline_s=DEADLINE_S)
        raw = np.frombuffer(base64.b64decode(found.data or ""), dtype="<f4")
        return f"{found.model}@{found.revision}", raw.reshape(len(texts), found.dimension)
