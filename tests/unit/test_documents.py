"""The documents at the root say what is true of the tree."""

from __future__ import annotations

import importlib.metadata
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from servers.__main__ import app
from servers.local.connect import claude_code_line, mcp_json
from servers.local.platform import operator_file
from shared.errors import InvalidInput
from shared.settings import PREFIX, Settings, load

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(ROOT.glob("*.md"))


def code_blocks(text: str) -> list[str]:
    """Every line of an indented code block."""
    return [line.strip() for line in text.splitlines() if line.startswith("    ") and line.strip()]


def test_the_map_of_the_architecture_names_folders_that_exist_and_every_room() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"^\| `([a-z/]+)/` \|", text, re.MULTILINE))
    assert named
    assert {name for name in named if not (ROOT / name).is_dir()} == set()
    rooms = {path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "servers").glob("*/__init__.py")}
    covered = {name for name in rooms if any(each == name or each.startswith(name + "/") for each in named)}
    assert rooms - covered == set()
    assert len(text.splitlines()) <= 200


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_make_target_that_is_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code_blocks(document.read_text()):
        if line.startswith("make "):
            assert line.split()[1] in targets, line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_that_is_named_exists(document: Path) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"{PREFIX}[A-Z0-9_]+", document.read_text())) - known == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_is_named_has_its_options(document: Path) -> None:
    for line in code_blocks(document.read_text()):
        words = shlex.split(line.split("  #")[0].split("     #")[0], posix=True) if "0711 " in line else []
        if words and words[0].endswith("0711"):
            command = words[1:3] if words[1] in {group.name for group in app.registered_groups} else words[1:2]
            shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
            assert shown.exit_code == 0, line
            for option in (word for word in words if word.startswith("--")):
                assert option in shown.output, line


def test_the_command_tells_its_version_alone() -> None:
    told = CliRunner().invoke(app, ["--version"])
    assert (told.exit_code, told.output) == (0, importlib.metadata.version("platform-0711") + "\n")


def test_the_default_ports_are_those_of_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    settings = load()
    for name in ("orchestrator", "marketplace", "cradle", "embedding", "vision", "instance"):
        assert str(getattr(settings, f"{name}_port")) in text, name


def test_mcp_json_names_a_command_and_holds_no_secret(tmp_path: Path) -> None:
    (entry,) = mcp_json(load(home=tmp_path))["mcpServers"].values()  # pyright: ignore[reportAttributeAccessIssue]
    assert entry["args"][:3] == ["serve", "orchestrator", "--stdio"]
    assert set(entry) == {"type", "command", "args"}


def test_a_client_is_told_where_a_platform_answers_that_is_not_at_the_default_ports(tmp_path: Path) -> None:
    settings = load(home=tmp_path, marketplace_port=54090, cradle_url="https://cradle.example")
    (entry,) = mcp_json(settings)["mcpServers"].values()  # pyright: ignore[reportAttributeAccessIssue]
    assert entry["env"] == {"P0711_MARKETPLACE_PORT": "54090", "P0711_CRADLE_URL": "https://cradle.example"}
    assert " -e P0711_MARKETPLACE_PORT=54090 " in claude_code_line(settings).partition(" -- ")[0] + " "


def test_connect_tells_of_the_marketplace_and_who_signs_in_there(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["connect", "--home", str(tmp_path)]).output
    assert f"--transport http 0711-marketplace {load(home=tmp_path).resource('marketplace')}\n" in told
    assert str(operator_file(tmp_path)) in told


def test_the_help_says_what_the_command_is_for_and_not_how_it_is_made() -> None:
    told = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    assert "container image" in told
    assert "servers." not in told


def test_the_list_of_settings_says_which_values_one_takes_where_they_are_few() -> None:
    lines = CliRunner().invoke(app, ["settings"]).output.splitlines()
    (told,) = [line for line in lines if line.startswith(f"{PREFIX}OCR_PROVIDER ")]
    assert told.endswith("rapidocr|tesseract|florence|openai|anthropic|compatible")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["serve", "marketplace", "--stdio"], "orchestrator"),
        (["demo", "/nowhere/at/all", "--company", "X GmbH"], "no file or folder"),
        (["demo", "/"], "--company"),
        (["nonsense"], "No such command"),
    ],
)
def test_a_mistake_on_the_command_line_ends_with_one_sentence(arguments: list[str], words: str, tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "servers", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=240,
        check=False,
    )
    assert run.returncode == 2
    assert words in run.stderr
    assert "Traceback" not in run.stderr


def test_an_unknown_setting_is_refused_by_name(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "servers", "up"], capture_output=True, text=True, cwd=tmp_path, timeout=240, check=False,
        env={"P0711_HOEM": "/tmp", "PATH": ""},
    )  # fmt: skip
    assert run.returncode == 2
    assert "P0711_HOEM" in run.stderr


@pytest.mark.parametrize("name", ["P0711_SOURCE_ROOTS", "P0711_USAGE_PRICES", "P0711_DEPLOYMENT_PORTS"])
def test_a_value_that_is_not_json_is_refused_with_the_setting_s_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/srv/geheim")
    with pytest.raises(InvalidInput, match=f"Setting {name} is not JSON, as") as refused:
        load()
    assert "geheim" not in refused.value.message


def test_a_project_s_own_env_file_does_not_keep_the_servers_of_a_client_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL=postgres://of.the.project\nP0711_MARKETPLACE_PORT=54090\n")
    monkeypatch.chdir(tmp_path)
    assert load().marketplace_port == 54090


def test_an_unknown_setting_in_the_env_file_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("P0711_HOEM=/tmp\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=r"Unknown setting P0711_HOEM in \.env"):
        load()


@pytest.mark.parametrize("chosen", ["by flag", "by environment", ""])
def test_the_demo_takes_the_home_that_was_chosen_and_else_one_beside_it(
    chosen: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    homes = list[Path]()

    async def stop(settings: Settings, *_: object) -> None:
        homes.append(settings.home)

    monkeypatch.setattr("servers.local.demo.demo", stop)
    monkeypatch.chdir(tmp_path)
    if chosen == "by environment":
        monkeypatch.setenv(f"{PREFIX}HOME", str(tmp_path / "chosen"))
    flags = ["--home", str(tmp_path / "chosen")] if chosen == "by flag" else []
    assert CliRunner().invoke(app, ["demo", *flags]).exit_code == 0
    assert homes == [tmp_path / ("chosen" if chosen else ".0711")]
