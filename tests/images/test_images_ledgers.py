"""The ledger that is kept under a dataset's name is that dataset's, whatever is processed meanwhile."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from servers.cradle import delivery
from servers.cradle.images.updates import ledger_key
from shared.dataset.delta import ledger
from shared.dataset.places import Place
from shared.errors import Conflict
from shared.objects import CustomerStore
from shared.settings import Settings
from tests.image_rig import TEXTS, write_dataset


async def test_a_dataset_that_is_processed_while_its_ledger_is_read_leaves_none_of_another(
    tmp_path: Path, query_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await CustomerStore.open(Settings(home=tmp_path / "home"), "acme", create=True)
    folder = Path(store.path("dataset"))
    first = await write_dataset(folder, TEXTS, query_model)
    loop = asyncio.get_running_loop()

    def processed_first(place: Place) -> dict[str, str]:
        asyncio.run_coroutine_threadsafe(write_dataset(folder, {"neu.pdf": "Neu."}, query_model), loop).result()
        return ledger(place)

    monkeypatch.setattr(delivery, "ledger", processed_first)
    with pytest.raises(Conflict, match="changed since it was verified"):
        await delivery.keep_ledger(store, first.dataset_digest)
    monkeypatch.setattr(delivery, "ledger", ledger)
    assert not await store.exists(ledger_key(first.dataset_digest))
    second = (await delivery._manifest(store)).dataset_digest
    await delivery.keep_ledger(store, second)
    assert len(orjson.loads(await store.get(ledger_key(second)))) == len(TEXTS) + 1
