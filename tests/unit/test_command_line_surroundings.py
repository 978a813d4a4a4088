"""What surrounds the command line: a locale that is not UTF-8, an output that takes nothing more."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from servers import __main__ as command
from servers.local import demo, up
from shared.errors import InvalidInput
from shared.settings import Settings, load

SAYS_ITS_ENCODING = """
import sys
from servers import __main__ as command
command.app = lambda: print(sys.getfilesystemencoding(), "ready \\u2026", sys.argv[1])
command.main()
"""


def test_a_command_speaks_utf_8_whatever_the_locale_says() -> None:
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-c", SAYS_ITS_ENCODING, "Müller"], env=environment, capture_output=True, check=False
    )
    assert done.stdout.decode() == "utf-8 ready … Müller\n", done.stderr.decode()


@pytest.mark.parametrize(("umask", "becomes"), [(0o000, "0o22"), (0o077, "0o77")])
def test_what_the_platform_makes_is_changed_by_nobody_else(umask: int, becomes: str) -> None:
    says = "import os; from servers import __main__ as command; command.app = lambda: print(oct(os.umask(0)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{says}; command.main()"], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        umask=umask, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == becomes


def test_an_output_that_is_gone_ends_no_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w", buffering=1) as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        up._say("ready")  # pyright: ignore[reportPrivateUsage]
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), gone.fileno())  # for what it still holds


def test_a_user_without_a_home_folder_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("P0711_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda _: (_ for _ in ()).throw(KeyError))
    with pytest.raises(InvalidInput, match=r"^Setting P0711_HOME: .*~/\.0711 is in a home folder, .* set HOME,"):
        load()


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "http://127.0.0.1"), ("::1", "http://[::1]")])
def test_addresses_of_either_family_are_addresses(host: str, address: str) -> None:
    settings = Settings(host=host, marketplace_port=4711, _env_file=None)  # pyright: ignore[reportCallIssue]
    assert settings.resource("marketplace") == f"{address}:4711/mcp"
    assert settings.here(8001) == f"{address}:8001"
    with demo._socket(host) as taken:  # pyright: ignore[reportPrivateUsage]
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no such address")
        port = taken.getsockname()[1]
        assert demo._busy(host, port)  # pyright: ignore[reportPrivateUsage]
    assert not demo._busy(host, port)  # pyright: ignore[reportPrivateUsage]


def test_a_file_of_another_user_is_one_sentence_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "/srv/0711/keys")

    monkeypatch.setattr(command, "app", refused)
    with pytest.raises(SystemExit):
        command.main()
    assert capsys.readouterr().err == (
        "0711: Permission denied: /srv/0711/keys. Call this as the user to whom it belongs.\n"
    )


@pytest.mark.parametrize("call", [("status", "--home", ""), ("up", "--source-root", ""), ("demo", "--home", "")])
def test_an_option_that_is_empty_is_not_the_current_folder(call: tuple[str, ...]) -> None:
    told = CliRunner().invoke(command.app, call)
    assert (told.exit_code, "it is empty" in told.output) == (2, True), told.output


def test_where_nothing_temporary_can_be_written_the_variable_to_set_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    monkeypatch.setattr(command, "app", tempfile.gettempdir)
    with pytest.raises(SystemExit):
        command.main()
    assert capsys.readouterr().err == "0711: No temporary file can be written: set TMPDIR to a folder where it can.\n"
