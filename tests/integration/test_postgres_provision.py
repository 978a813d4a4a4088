"""Databases and roles: made once, kept by a second run, readable by nobody else, usable by the durable workflows."""

from __future__ import annotations

import asyncio
import stat

import asyncpg
import pytest

from shared.errors import Conflict, Unavailable
from shared.postgres import provision as module
from shared.postgres.provision import DATABASES, provision, require_nobody_connected
from shared.postgres.urls import database_urls, password_of, read, with_role
from shared.settings import Settings
from tests.serving_rig import HANGS_S


async def ask(url: str, question: str, *values: object) -> object:
    connection = await asyncpg.connect(url, timeout=60)
    try:
        return await connection.fetchval(question, *values)
    finally:
        await connection.close()


async def test_a_second_run_changes_no_address_and_every_role_still_logs_in(postgres_server) -> None:
    again = await provision(postgres_server.superuser_url, postgres_server.home)
    assert again == postgres_server.urls
    for name in DATABASES:
        assert await ask(again[name].app, "SELECT current_database()") == name
        assert await ask(again[name].owner, "SELECT current_user") == f"{name}_owner"


async def test_lost_addresses_are_made_anew_and_the_old_passwords_end(postgres_server, tmp_path) -> None:
    old = postgres_server.urls
    try:
        new = await provision(postgres_server.superuser_url, tmp_path)
        assert await ask(new["platform"].app, "SELECT 1") == 1
        with pytest.raises(asyncpg.InvalidPasswordError):
            await ask(old["platform"].app, "SELECT 1")
    finally:
        await provision(postgres_server.superuser_url, postgres_server.home)
    assert await ask(old["platform"].app, "SELECT 1") == 1


async def test_the_file_of_addresses_is_private_and_read_by_name(postgres_server) -> None:
    file = postgres_server.home / "databases.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = Settings(home=postgres_server.home, _env_file=None)
    assert database_urls(settings, "platform") == postgres_server.urls["platform"]
    assert (password_of(postgres_server.urls["platform"].app) or "none") not in repr(postgres_server.urls)


async def test_without_the_file_the_sentence_says_what_to_run(tmp_path) -> None:
    with pytest.raises(Unavailable, match=r"Run `0711 up`"):
        database_urls(Settings(home=tmp_path, _env_file=None), "platform")


async def test_a_broken_file_is_refused_with_what_to_do(tmp_path) -> None:
    (tmp_path / "databases.json").write_text("{")
    with pytest.raises(Unavailable, match="Remove it and run `0711 up`"):
        read(tmp_path)


async def test_a_role_of_one_database_cannot_enter_another(postgres_server) -> None:
    urls = postgres_server.urls
    foreign = with_role(urls["platform"].app, "user_registry", "platform_app", password_of(urls["platform"].app) or "")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await ask(foreign, "SELECT 1")


async def test_the_workflow_role_owns_its_schema_and_sees_no_other_table(database, postgres_server) -> None:
    dbos = postgres_server.urls["platform"].dbos
    assert (
        await ask(dbos, "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'dbos'") == "platform_dbos"
    )
    assert await ask(dbos, "SELECT has_schema_privilege('public', 'USAGE')") is False
    assert await ask(dbos, "SELECT has_database_privilege(current_database(), 'CREATE')") is False


def test_options_of_a_server_stay_and_odd_passwords_survive() -> None:
    url = with_role(
        "postgresql://root:a@db.example:6432/postgres?sslmode=require", "platform", "platform_app", "p@/:%ü"
    )
    assert url.endswith("@db.example:6432/platform?sslmode=require")
    assert password_of(url) == "p@/:%ü"


async def test_a_server_that_does_not_answer_is_unavailable(tmp_path) -> None:
    with pytest.raises(Unavailable):
        await provision("postgresql://postgres:x@127.0.0.1:1/postgres", tmp_path)
    assert not (tmp_path / "databases.json").exists()


async def test_a_server_that_ends_just_now_is_waited_for_and_one_that_stays_is_told(
    postgres_server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVING_S", HANGS_S)
    connection = await asyncpg.connect(postgres_server.urls["platform"].app)
    asyncio.get_running_loop().call_later(0.3, connection.terminate)
    await require_nobody_connected(postgres_server.superuser_url)
    monkeypatch.setattr(module, "LEAVING_S", 0.2)
    staying = await asyncpg.connect(postgres_server.urls["user_registry"].owner)
    with pytest.raises(Conflict, match="Stop every server"):
        await require_nobody_connected(postgres_server.superuser_url)
    await staying.close()
