"""The library that is served, and its exchange while calls go on: a running call keeps the one that it began with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from servers.instance.search import QUERY_DEADLINE_S, Library, library
from servers.instance.versions import Versions
from shared.contracts.instance import InstanceConfig
from shared.errors import Unavailable

if TYPE_CHECKING:
    from shared.dataset.bolt import GraphServer
    from shared.encoder import Encoder

LONGEST_CALL = 6
"""In times of the longest query: describe_dataset makes four, no tool makes more. A call that began before an exchange
has ended by then. Exports may take longer, and their files go away with the library: they are waited for."""


class Shelf:
    """Holds the open libraries of one instance.

    Args:
        model: the folder of the model that questions are embedded with.
        graph: a Neo4j to ask for the graph, in place of the embedded one.
        deadline_s: longest time of one query.
    """

    def __init__(
        self, versions: Versions, model: Path, config: InstanceConfig, graph: GraphServer | None = None,
        deadline_s: float = QUERY_DEADLINE_S,
    ) -> None:  # fmt: skip
        self._versions, self._model, self._config, self._graph = versions, model, config, graph
        self._deadline_s = deadline_s
        self._current: tuple[Library, AsyncExitStack] | None = None
        self._retiring: dict[asyncio.Task[None], AsyncExitStack] = {}
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Serve the version that was chosen last, until the block ends."""
        await asyncio.to_thread(self._versions.sweep)
        try:
            await self.serve(await asyncio.to_thread(self._versions.current))
            yield
        finally:
            await self.close()

    @property
    def serving(self) -> str | None:
        """The digest of the dataset that is served; None: none is yet."""
        return self._current[0].dataset_digest if self._current is not None else None

    def current(self) -> Library:
        """The library that is served.

        Raises:
            Unavailable: none is open yet.
        """
        if self._current is None:
            raise Unavailable("The dataset is still being opened. Try again in a moment.", retry_after=1)
        return self._current[0]

    async def serve(self, dataset_digest: str) -> None:
        """Open a version and serve it from now on; the one before is closed once its last call has ended."""
        async with self._turn:
            if self.serving == dataset_digest:
                return
            folder = await asyncio.to_thread(self._versions.folder, dataset_digest)
            encoder = await asyncio.to_thread(lambda: self._encoder)
            stack = AsyncExitStack()
            opening = library(folder, dataset_digest, encoder, self._config, self._graph, self._deadline_s)
            opened = await stack.enter_async_context(opening)
            before, self._current = self._current, (opened, stack)
            if before is not None:
                task = asyncio.create_task(self._retire(*before))
                self._retiring[task] = before[1]
                task.add_done_callback(lambda done: self._retiring.pop(done, None))

    async def close(self) -> None:
        """Close every library."""
        before, self._current = self._current, None
        retiring = dict(self._retiring)
        for task in retiring:
            task.cancel()
        await asyncio.gather(*retiring, return_exceptions=True)
        for stack in retiring.values():
            await stack.aclose()
        if before is not None:
            await before[1].aclose()

    @cached_property
    def _encoder(self) -> Encoder:
        from shared.encoder import Encoder

        return Encoder(self._model)

    async def _retire(self, retired: Library, stack: AsyncExitStack) -> None:
        await asyncio.sleep(LONGEST_CALL * self._deadline_s)
        await retired.products.finished()
        await stack.aclose()
