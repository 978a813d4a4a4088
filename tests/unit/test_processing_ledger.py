"""The ledger's rules: when a file is read again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from servers.cradle.processing.ledger import unchanged
from shared.dataset.rows import DocumentRow

ROW = DocumentRow("doc_a", "a.txt", "sha256:a", 1, "text/plain", "processed", 3)


def test_a_file_is_read_again_when_its_bytes_or_the_parameters_changed_or_another_try_may_go_better() -> None:
    assert unchanged(ROW, "sha256:a", 3)
    assert not unchanged(None, "sha256:a", 3)
    assert not unchanged(ROW, "sha256:b", 3)
    assert not unchanged(ROW, "sha256:a", 4)
    assert unchanged(replace(ROW, status="failed", failure_code="damaged"), "sha256:a", 3)


@pytest.mark.parametrize("code", ["time_limit", "ocr_failed", "embedding_failed"])
def test_what_failed_by_a_part_of_the_platform_is_read_again(code: str) -> None:
    assert not unchanged(replace(ROW, status="failed", failure_code=code), "sha256:a", 3)
