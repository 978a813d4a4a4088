"""Servers that are images: closed containers in a real engine, pinned by digest, gone with the marketplace."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from servers.marketplace.runners.command import LABEL
from servers.marketplace.tools.connections import Connected
from shared.errors import Unavailable
from tests.integration.test_marketplace_lifecycle import ORDERS, approve, refusal
from tests.integration.test_marketplace_runners import PLAIN, gone, said, submit, until
from tests.marketplace_rig import Market

pytestmark = [pytest.mark.engine, pytest.mark.slow]

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PYTHON = "/usr/bin/python3"


def docker(*arguments: str) -> str:
    run = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return run.stdout.strip()


def root_filesystem() -> bytes:
    """The system's Python with what it needs, and the server, as a tar."""
    out = io.BytesIO()
    needed = [word for word in subprocess.check_output(["ldd", PYTHON], text=True).split() if word.startswith("/")]
    folders = subprocess.check_output([PYTHON, "-c", "import os; print(os.__file__)"], text=True)
    library = Path(folders.strip()).parent
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path in (PYTHON, *needed):
            tar.add(Path(path).resolve(), path)
        for path in sorted(library.rglob("*.py")) + sorted((library / "lib-dynload").glob("*.so")):
            if not {"test", "idlelib", "lib2to3", "ensurepip"} & set(path.parts):
                tar.add(path.resolve(), str(path))
        tar.add(PLAIN, "/server.py")
        for folder in ("/tmp", "/proc", "/dev"):
            made = tarfile.TarInfo(folder)
            made.type, made.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(made)
    return out.getvalue()


@pytest.fixture(scope="module")
def image(engine_host: str) -> Iterator[str]:
    """An image that the engine has pulled by its digest from a registry on loopback; its name."""
    if not Path(PYTHON).exists():
        pytest.skip("no python3 of the system to make an image of")
    blobs: dict[str, tuple[bytes, str]] = {}

    def put(data: bytes, kind: str) -> dict[str, Any]:
        name = "sha256:" + hashlib.sha256(data).hexdigest()
        blobs[name] = (data, kind)
        return {"mediaType": kind, "digest": name, "size": len(data)}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = blobs.get(self.path.rsplit("/", 1)[1], (b"{}", "application/json"))
            self.send_response(200)
            self.send_header("Content-Type", found[1])
            self.send_header("Content-Length", str(len(found[0])))
            self.end_headers()
            self.wfile.write(found[0])

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Silent."""

    layer = root_filesystem()
    config = {
        "architecture": "amd64", "os": "linux", "config": {"Entrypoint": [PYTHON, "/server.py"]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
    }  # fmt: skip
    manifest = {
        "schemaVersion": 2, "mediaType": MANIFEST,
        "config": put(json.dumps(config).encode(), "application/vnd.docker.container.image.v1+json"),
        "layers": [put(gzip.compress(layer, compresslevel=1, mtime=0), LAYER)],
    }  # fmt: skip
    pinned = put(json.dumps(manifest).encode(), MANIFEST)["digest"]
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    name = f"127.0.0.1:{server.server_address[1]}/test/small@{pinned}"
    try:
        docker("pull", "-q", name)
        yield name
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        docker("rmi", "-f", name)


@pytest.fixture
async def market_settings(engine_host: str, image: str) -> AsyncIterator[dict[str, Any]]:
    images = [image.split("/", 1)[0] + "/test/"]
    waits = {"runner_start_s": 90.0, "runner_idle_s": 600.0, "call_deadline_s": 100.0}
    yield {"runner_images": images, "docker_host": engine_host, **waits}
    await until(lambda: containers() == [])  # nothing is left when the marketplace ends


def containers() -> list[str]:
    return docker("ps", "-aq", "--filter", f"label={LABEL}").split()


def oci(image: str) -> dict[str, Any]:
    return {
        "registryType": "oci", "identifier": image, "transport": {"type": "stdio"},
        "environmentVariables": [{"name": "KEY", "isSecret": True}],
    }  # fmt: skip


async def test_an_image_runs_closed_in_and_is_called_like_any_server(market: Market, image: str) -> None:
    operator = await market.operator()
    await submit(market, operator, package=oci(image))
    await approve(market)
    assert containers() == []  # that of the review is gone
    acme, bolt = await market.user_token("acme"), await market.user_token("bolt")
    for token in (acme, bolt):
        await market.call(token, "install_mcp", server_name=ORDERS)
    secret = "canary-of-a-credential"
    await market.call(acme, "connect_mcp", Connected, server_name=ORDERS, credential=secret)
    assert (await said(market, acme)).split(" ")[1] == secret
    assert (await said(market, bolt)).split(" ")[1] == ""
    assert len(containers()) == 2
    seen = orjson.loads(await said(market, acme, "surroundings"))
    assert seen["uid"] == 65532
    assert seen["environment"].keys() >= {"KEY"}
    assert not any(name.startswith(("DOCKER", "P0711")) for name in seen["environment"])
    assert "Read-only" in await said(market, acme, "fills")
    shown = [json.loads(docker("inspect", each))[0] for each in containers()]
    for each in shown:
        limits = each["HostConfig"]
        assert limits["ReadonlyRootfs"] is True
        assert limits["CapDrop"] == ["ALL"]
        assert limits["NetworkMode"] == "none"
        assert limits["Memory"] == limits["MemorySwap"] == 512 * 2**20
        assert limits["PidsLimit"] == 64
        assert limits["Privileged"] is False
        assert not limits["Binds"]
        assert "no-new-privileges:true" in limits["SecurityOpt"]
        assert limits["LogConfig"]["Type"] == "none"
    assert not any(secret.encode() in words for _, words in commands())
    await market.call(bolt, "uninstall_mcp", server_name=ORDERS)
    await until(lambda: len(containers()) == 1)


async def test_a_container_ends_although_the_command_that_started_it_is_killed(market: Market, image: str) -> None:
    await submit(market, await market.operator(), package=oci(image))
    await approve(market)
    token = await market.user_token("acme")
    await market.call(token, "install_mcp", server_name=ORDERS)
    await said(market, token)
    (container,) = containers()
    program = (shutil.which("docker") or "").encode()
    (client,) = [pid for pid, words in commands() if words.startswith(program + b"\0run\0")]
    os.kill(client, 9)
    await gone(client)
    await until(lambda: container not in containers())
    assert await said(market, token)


async def test_an_image_that_the_operator_does_not_allow_or_has_not_pulled_does_not_run(
    market: Market, image: str
) -> None:
    operator = await market.operator()
    host, pinned = image.split("/", 1)[0], image.split("@")[1]
    for name, told in {
        f"{host}/other/small@{pinned}": "P0711_RUNNER_IMAGES",
        f"{host}/test/small@sha256:{'0' * 64}": "ended",
    }.items():
        await submit(market, operator, package=oci(name))
        await market.call(operator, "review_mcp", server_name=ORDERS, state="review")
        error = await refusal(market.call(operator, "check_mcp", server_name=ORDERS))
        assert isinstance(error, Unavailable)
        assert told in error.message
    assert containers() == []


def commands() -> Iterator[tuple[int, bytes]]:
    """Every process of this machine, and its command line."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield int(path.parent.name), path.read_bytes()
