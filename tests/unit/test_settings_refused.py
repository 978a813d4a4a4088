"""Settings that can mean nothing, and an `.env` that is damaged: refused by name before anything starts."""

from __future__ import annotations

from pathlib import Path

import pytest

from servers.local.platform import running
from shared.errors import Conflict, InvalidInput
from shared.settings import Settings, load

OUT_OF_BOUNDS = [
    ("DEPLOYMENT_PORTS", "[9999, 9400]"), ("DEPLOYMENT_PORTS", "[0, 9999]"), ("DEPLOYMENT_PORTS", "[9400, 65536]"),
    ("JOB_STEP_DEADLINE_S", "inf"), ("JOB_STEP_DEADLINE_S", "nan"), ("RUNNER_IDLE_S", "inf"),
    ("RUNNER_MEMORY_MB", "9" * 22), ("RUNNER_UID", str(2**32)), ("CALLS_PER_MINUTE_USER", "9" * 22),
    ("EMBEDDING_QUEUE_TOKENS", "9" * 22), ("IMAGES_KEPT", "9" * 22), ("MAX_BODY_BYTES", "9" * 22),
    ("OWN_GPU_MONTH", "1e999999"), ("SHARED_GPU_MONTH", "1e999999"), ("USAGE_PRICES", '{"tokens": "1e999999"}'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_a_number_has_bounds_on_both_sides(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"P0711_{name}", value)
    with pytest.raises(InvalidInput, match=rf"^Setting P0711_{name}\b"):
        load()


@pytest.mark.parametrize("name", ["HOME", "WORK_FOLDER", "MODEL_CACHE", "FLORENCE_MODEL", "BASE_IMAGE"])
def test_a_place_that_is_empty_is_not_the_current_folder(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"P0711_{name}", "")
    with pytest.raises(InvalidInput, match=rf"^Setting P0711_{name}: it is empty"):
        load()


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_what_is_empty_is_not_set_or_refused_and_never_a_value(
    name: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(f"P0711_{name.upper()}=\n" if where == "file" else "")
    if where == "environment":
        monkeypatch.setenv(f"P0711_{name}", "")
    try:
        found = getattr(load(), name)
    except InvalidInput as error:
        assert error.message.startswith(f"Setting P0711_{name.upper()}")  # noqa: PT017  either is right
    else:
        assert found == Settings.model_fields[name].default


def test_no_folder_is_opened_to_sources_by_an_empty_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("P0711_SOURCE_ROOTS", '["/srv/a", ""]')
    with pytest.raises(InvalidInput, match=r"^Setting P0711_SOURCE_ROOTS: it is empty"):
        load()


@pytest.mark.parametrize("below", ["", "home"])
def test_a_home_that_is_a_file_or_in_one_is_refused_by_every_command(below: str, tmp_path: Path) -> None:
    (file := tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match=rf"^Setting P0711_HOME: {file} is a file, and a folder is needed"):
        load(home=file / below)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('P0711_LOG_LEVEL="DEBUG\n', 1),
        ("\n# a note\nexport P0711_LOG_LEVEL='DEBUG\n", 3),
        ('P0711_S3_REGION="eu\nP0711_LOG_LEVEL=DEBUG\nOTHER="x"\n', 1),
        ('P0711_S3_REGION="eu\nP0711_LOG_LEVEL="DEBUG"\n', 1),
        ('OTHER="x\nP0711_LOG_LEVEL=DEBUG\nP0711_S3_REGION="eu"\n', 2),
        ("P0711_S3_REGION=eu\n\0\0\0P0711_LOG_LEVEL=DEBUG\n", 2),
    ],
)
def test_a_setting_in_a_damaged_env_file_is_named_and_never_left_out(
    text: str, line: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match=rf"^Setting P0711_\w+: line {line} of \.env cannot be read"):
        load()


@pytest.mark.parametrize(
    "text",
    [
        "P0711_LOG_LEVEL=DEBUG\r\nOTHER=1\r\n", "\ufeffP0711_LOG_LEVEL=DEBUG\n", "  export p0711_log_level = 'DEBUG'\n",
        "#P0711_HOST=x\nP0711_LOG_LEVEL=DEBUG # P0711_HOST\n", "OTHER='never closed\nP0711_LOG_LEVEL=DEBUG\n",
        "?? P0711 ??\nP0711_LOG_LEVEL=DEBUG\nMY_P0711_HOST=x\n",
    ],
)  # fmt: skip
def test_what_is_another_programs_in_an_env_file_is_left_alone(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text(text, encoding="utf-8", newline="")
    monkeypatch.chdir(tmp_path)
    assert load().log_level == "DEBUG"


@pytest.mark.parametrize("name", ["marketplace_port", "vision_port", "postgres_port"])
async def test_two_services_of_one_port_are_named_before_anything_starts(name: str, tmp_path: Path) -> None:
    settings = load(home=tmp_path, **{name: 8003})
    with pytest.raises(Conflict, match=rf"P0711_CRADLE_PORT.* P0711_{name.upper()}|P0711_{name.upper()}.*_CRADLE_PORT"):
        async with running(settings, print):
            pass
    assert not (tmp_path / "postgres").exists()
