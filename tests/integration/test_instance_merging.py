"""The process that makes a new version of a dataset: what is told of one that fails."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from servers.instance.merging import made_by

FAILS = """
import os, signal, sys
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
raise KeyError("Klemme geheim")
"""


@pytest.mark.parametrize(("how", "ended", "told"), [("raises", 1, "1 KeyError"), ("killed", -9, "-9")])
async def test_of_a_process_that_fails_its_end_is_logged_and_nothing_that_it_said(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    ended: int,
    told: str,
) -> None:
    (tmp_path / "fails_for_a_test.py").write_text(FAILS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with caplog.at_level(logging.WARNING, "platform-0711"):
        code, _ = await made_by("fails_for_a_test", Path(how))
    assert code == ended
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["fields"]) == ("version_not_made", {"code": told})
    assert "geheim" not in caplog.text
