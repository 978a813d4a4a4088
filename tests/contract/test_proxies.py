"""A machine whose environment names a proxy: what goes through it, and that nothing of the machine's own does."""

from __future__ import annotations

import asyncio
import base64
import os

import pytest

from servers import __main__ as command
from shared.errors import Unavailable
from shared.objects import CustomerStore
from shared.proxies import HERE, VARIABLES, spare_this_machine
from tests.conftest import s3_settings

NAMES = [*VARIABLES, *(name.lower() for name in VARIABLES), "NO_PROXY", "no_proxy"]


@pytest.fixture
async def proxy(monkeypatch):
    """Requests that a proxy was asked for: it answers 200 to HEAD, else 403. The environment names no exception."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        status = b"200 OK" if asked[-1].startswith(b"HEAD ") else b"403 Forbidden"
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", f"http://user:secret@127.0.0.1:{port}")
    yield asked
    server.close()
    await server.wait_closed()


def test_this_machine_is_spared_in_both_spellings_beside_what_was_told() -> None:
    environment = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": ".example.com, 127.0.0.1", "NO_PROXY": "10.0.0.1"}
    spare_this_machine(environment)
    assert environment["no_proxy"] == environment["NO_PROXY"] == ".example.com,127.0.0.1,10.0.0.1,localhost,::1"


@pytest.mark.parametrize("told", [{}, {"NO_PROXY": "a"}, {"all_proxy": "http://proxy", "NO_PROXY": "*"}])
def test_an_environment_without_a_proxy_or_with_none_for_anything_stays(told) -> None:
    environment = dict(told)
    spare_this_machine(environment)
    assert environment == told


async def test_every_command_spares_this_machine_and_then_its_object_store_is_asked_directly(
    proxy, s3_url, tmp_path, monkeypatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")  # what the command sets is taken back
    monkeypatch.setattr(command, "app", lambda: None)
    command.main()
    assert set(HERE) <= set(os.environ["NO_PROXY"].split(","))
    store = await CustomerStore.open(s3_settings(tmp_path, s3_url), "acme-behind-a-proxy", create=True)
    await store.put("dataset/manifest.json", b"{}")
    assert await store.get("dataset/manifest.json") == b"{}"
    await store.remove()
    assert proxy == []


async def test_an_object_store_elsewhere_is_asked_through_the_proxy_by_both_of_its_clients(proxy, tmp_path) -> None:
    settings = s3_settings(tmp_path, "http://key:secret@store.example:9000").model_copy(update={"s3_role": None})
    store = await CustomerStore.open(settings, "acme")  # minio
    opened = len(proxy)
    with pytest.raises(Unavailable):
        await store.get("dataset/manifest.json")  # obstore
    assert 0 < opened < len(proxy)
    credential = base64.b64encode(b"user:secret")
    for each in proxy:
        assert b" http://store.example:9000/customer-acme" in each.partition(b"\r\n")[0]
        assert b"proxy-authorization: basic " + credential.lower() in each.lower()
