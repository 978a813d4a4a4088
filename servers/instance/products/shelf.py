"""What the product tools ask: exports and classes of one open dataset, made on first use and kept while it is open."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from pathlib import Path

from servers.instance.products import export
from servers.instance.products.articles import TABLES, Articles
from servers.instance.products.bmecat import Head
from servers.instance.products.classes import TABLES as CLASSES
from servers.instance.products.classes import Classes
from servers.instance.products.numbers import COLUMNS as NUMBERS
from servers.instance.products.numbers import Numbers
from shared.dataset.reader import DatasetReader
from shared.ids import canonical_digest


class ProductShelf:
    """Exports and classes.

    Args:
        reader: the open dataset.
        folder: an own folder that goes away with it.
    """

    def __init__(self, reader: DatasetReader, folder: Path) -> None:
        self._reader = reader
        self._folder = folder
        self._turn = asyncio.Lock()  # a dataset is read whole by one call at a time
        self._classes: Classes | None = None
        self._counting = asyncio.Lock()  # a search does not wait for an export
        self._numbers: Numbers | None = None
        self._exports: OrderedDict[str, export.Export] = OrderedDict()

    async def classes(self) -> Classes:
        """The classes of the dataset."""
        async with self._turn:
            if self._classes is None:
                tables = {name: await self._reader.whole(name) for name in CLASSES}
                self._classes = await asyncio.to_thread(Classes, tables)
            return self._classes

    async def numbers(self) -> Numbers:
        """The numbers of the dataset's products."""
        async with self._counting:
            if self._numbers is None:
                table = await self._reader.whole("products", NUMBERS)
                columns = [table[name].to_pylist() for name in NUMBERS]
                self._numbers = await asyncio.to_thread(lambda: Numbers(zip(*columns, strict=True)))
            return self._numbers

    async def part(
        self, form: export.Format, head: Head, document: str | None, start: int, size: int
    ) -> tuple[export.Export, str, int | None]:
        """The export with these options, written where it is not there yet; its text from a byte on, and where the next
        part starts.

        Raises:
            NotFound: there is no such document.
            InvalidInput: no part starts there.
        """
        chosen = None if document is None else (await self._reader.document(document)).document_id
        async with self._turn:  # nothing else removes the file before this part is read
            known = await self._export(form, head, chosen)
            return known, *await asyncio.to_thread(export.part, known, start, size)

    async def finished(self) -> None:
        """Wait for the calls that have begun: the folder may go away once they have ended."""
        async with self._turn:
            return

    async def _export(self, form: export.Format, head: Head, document: str | None) -> export.Export:
        options = [form, document, head.buyer, head.version, head.language, head.order_unit]
        key = canonical_digest(options).removeprefix("sha256:")[:32]
        known = self._exports.get(key)
        if known is None:
            tables = {name: await self._reader.whole(name) for name in TABLES}
            path = self._folder / f"export-{key}"
            known = await asyncio.to_thread(lambda: export.write(Articles(tables, document), form, head, path))
            await asyncio.to_thread(self._keep, key, known)
        self._exports.move_to_end(key)
        return known

    def _keep(self, key: str, written: export.Export) -> None:
        self._exports[key] = written
        while len(self._exports) > export.KEPT:
            self._exports.popitem(last=False)[1].path.unlink(missing_ok=True)
