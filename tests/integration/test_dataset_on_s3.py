"""A dataset in a bucket of an S3 server is the same dataset as one in a folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from dataset_corpus import DIMENSION, PLANTED, commit, document, vector_of, written

from shared.dataset.freeze import frozen_files
from shared.dataset.places import Options
from shared.dataset.reader import DatasetReader
from shared.dataset.writer import DatasetWriter
from shared.objects import CustomerStore
from tests.conftest import s3_settings


@pytest.mark.requirement("G-01")
async def test_a_dataset_in_a_bucket_has_the_digest_and_the_answers_of_one_in_a_folder(
    tmp_path: Path, s3_url: str
) -> None:
    documents = [*(document(n) for n in range(4)), document(4, PLANTED)]
    store = await CustomerStore.open(s3_settings(tmp_path / "home", s3_url), "on-s3", create=True)
    root, options = store.path("dataset"), store.storage_options
    assert root.startswith("s3://")
    async with DatasetWriter(root, DIMENSION, options) as writer:
        await writer.replace_documents(documents)
        there = await commit(writer)
    here = await written(tmp_path / "folder", documents)
    assert there.dataset_digest == here.dataset_digest
    async with DatasetReader(root, storage_options=options) as reader:
        hits = await reader.search("Leitungsschutzschalter 16 Ampere", vector_of(PLANTED), limit=1)
        assert hits[0].text == PLANTED
        assert (await reader.sql("SELECT count(*) AS n FROM products")).rows == ((5,),)
    copy, original = _contents(root, options), _contents(str(tmp_path / "folder"), dict)
    assert copy.keys() == original.keys()
    assert all(copy[name] == original[name] for name in original)
    await store.remove()


def _contents(root: str, options: Options) -> dict[str, bytes]:
    return {name: each if isinstance(each, bytes) else each.read_bytes() for name, each in frozen_files(root, options)}
