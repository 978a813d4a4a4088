"""The process that makes a new version of a dataset: what is told of one that fails."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from servers.instance import merging
from servers.instance.merging import made_by
from shared.errors import StorageFull, Unavailable

FAILS = """
import os, signal, sys
if sys.argv[1] == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "writes":
    raise ValueError("zwei Zeilen:\\nKlemme: geheim\\nGeheimnis")
raise KeyError("Klemme geheim")
"""


@pytest.mark.parametrize(
    ("how", "ended", "told"), [("raises", 1, "1 KeyError"), ("writes", 1, "1 ValueError"), ("killed", -9, "-9")]
)
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


ENDS = """
import os, sys, time
print(os.getpid(), flush=True)
print("OSError: [Errno 28] No space left on device", file=sys.stderr)
open(sys.argv[2], "w").write(str(os.getpid()))
if sys.argv[1] == "hangs":
    time.sleep(600)
sys.exit(0 if sys.argv[1] == "ends well" else 1)
"""


async def test_a_full_volume_is_told_of_a_process_that_failed_and_of_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ends_for_a_test.py").write_text(ENDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    code, wrote = await made_by("ends_for_a_test", Path("ends well"), tmp_path / "pid")
    assert (code, wrote.decode().strip()) == (0, (tmp_path / "pid").read_text())
    with pytest.raises(StorageFull):
        await made_by("ends_for_a_test", Path("fails"), tmp_path / "pid")


async def test_a_process_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ends_for_a_test.py").write_text(ENDS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    begun = asyncio.create_task(made_by("ends_for_a_test", Path("hangs"), tmp_path / "pid"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert not begun.done()
        await asyncio.sleep(0.05)  # the interval of a poll
    begun.cancel()
    with pytest.raises(asyncio.CancelledError):
        await begun
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    monkeypatch.setattr(merging, "LONGEST_S", 0.0)
    with pytest.raises(Unavailable, match="within an hour"):
        await made_by("ends_for_a_test", Path("hangs"), tmp_path / "pid")
