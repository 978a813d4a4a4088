"""No secret is in any version of any file of the repository, and nothing has a password before somebody makes one."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import get_args

import orjson
import pytest
from pydantic import SecretStr

from servers.cradle.images.customer_keys import CustomerKey
from servers.cradle.images.signing import Signer
from servers.marketplace.bootstrap import OPERATOR_EMAIL, bootstrap
from servers.marketplace.users.secrets import Passwords
from servers.marketplace.users.store import UserStore
from shared.postgres.urls import write
from shared.settings import Settings

ROOT = Path(__file__).parents[2]
SECRETS = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\r?\n[A-Za-z0-9+/]{40}"
    rb"|AGE-SECRET-KEY-1[A-Z0-9]{20}|INSTANCE_ACCESS_KEY=[A-Za-z0-9_-]{16}"
    rb"|AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{30}|glpat-[A-Za-z0-9_-]{20}|hf_[A-Za-z0-9]{30}|xox[bp]-[0-9A-Za-z-]{20}"
    rb"|sk-(ant-|proj-)?[A-Za-z0-9_-]{24}"
)
PLANTED = (
    b"-----BEGIN PRIVATE KEY-----\n" + b"A" * 64, b"AGE-SECRET-KEY-1" + b"Q" * 20, b"INSTANCE_ACCESS_KEY=" + b"k" * 16,
    b"AKIA" + b"A" * 16, b"ghp_" + b"a" * 30, b"glpat-" + b"a" * 20, b"hf_" + b"a" * 30, b"xoxb-" + b"1" * 20,
    b"sk-ant-" + b"a" * 24,
)  # fmt: skip
DEFAULTED = re.compile(r"""\$\{(\w*(?:PASSWORD|SECRET|TOKEN|KEY)\w*):?-[^}]+\}""")
GIVEN = re.compile(
    r"""(\w*(?:PASSWORD|SECRET|TOKEN|ACCESS_KEY|API_KEY)\w*|access-key)["']?\s*[:=]\s*["']?([A-Za-z0-9][^\s"',]*)"""
)
COMMON = ("", "admin", "password", "0711", OPERATOR_EMAIL)


def git(*words: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["git", *words], cwd=ROOT, input=given, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this is no checkout with a history")
    return done.stdout


@pytest.mark.requirement("S-02")
def test_no_version_of_a_file_and_no_message_in_the_history_holds_a_secret() -> None:
    for planted in PLANTED:
        assert SECRETS.search(b"x\n" + planted)
    names = [line.partition(b" ")[0] for line in git("rev-list", "--objects", "--all").splitlines()]
    assert len(names) > 100
    found = SECRETS.search(git("cat-file", "--batch", given=b"\n".join(names)))
    assert found is None, "a version of a file or a message holds what looks like a secret"


def holds_secret(kind: object) -> bool:
    return kind is SecretStr or any(map(holds_secret, get_args(kind)))


@pytest.mark.requirement("S-02")
def test_no_setting_and_no_file_that_is_shipped_has_a_default_for_a_secret() -> None:
    fields = Settings.model_fields.items()
    secret = {name: field.default for name, field in fields if holds_secret(field.annotation)}
    assert {"postgres_url", "s3_secret_key", "openai_api_key"} <= secret.keys()
    assert set(secret.values()) == {None}
    assert DEFAULTED.search("${POSTGRES_PASSWORD:-postgres}")
    assert GIVEN.search("POSTGRES_PASSWORD: postgres")
    files = (path for folder in ("deploy", "templates") for path in (ROOT / folder).rglob("*") if path.is_file())
    named = 0
    for path in (path for path in files if path.parent.name != "__pycache__"):
        text = path.read_text()
        named += "PASSWORD" in text or "ACCESS_KEY" in text
        assert not DEFAULTED.search(text), path
        assert not GIVEN.search(text), path
    assert named >= 4


@pytest.mark.requirement("S-02")
async def test_two_first_starts_share_no_secret_and_the_operator_has_none_that_could_be_guessed(
    database, tmp_path: Path
) -> None:
    kept = list[set[bytes]]()
    for name in ("one", "two"):
        settings, made = Settings(home=tmp_path / name), await database("servers.marketplace", "shared")
        settings.home.mkdir()
        write(settings.home, {"user_registry": made.urls})
        await bootstrap(settings)
        keys = settings.home / "keys"
        Signer.open(keys)
        CustomerKey.open(keys / "customers", "muster", create=True)
        kept.append(secrets_in(keys))
    login, passwords = await UserStore(made.db).login(OPERATOR_EMAIL), Passwords()
    assert login is not None
    own = orjson.loads((keys / "operator.json").read_bytes())["password"]
    assert await passwords.matches(login.password_hash, own)
    assert [guess for guess in COMMON if await passwords.matches(login.password_hash, guess)] == []
    passwords.close()
    assert len(kept[0]) >= 8
    assert not kept[0] & kept[1]


def secrets_in(folder: Path) -> set[bytes]:
    """Every secret in a home's files of keys: those of JSON by their names, and whole lines of the other files."""
    found = set[bytes]()
    for path in (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pub"):
        assert path.stat().st_mode & 0o077 == 0, path
        if path.suffix == ".json":
            told = orjson.loads(path.read_bytes())
            found |= {value.encode() for name, value in told.items() if name in {"password", "client_secret"}}
        else:
            found |= {line for line in path.read_bytes().splitlines() if len(line) > 40 and b"-----" not in line}
            found |= {path.read_bytes()} if path.stat().st_size == 32 else set()
    return found
