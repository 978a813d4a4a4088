"""A registry on loopback for tests: it speaks the distribution protocol and wants an anonymous token."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import zstandard

from servers.cradle.images.registry import Pinned
from shared.ids import digest

INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def tar_of(files: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar; a value that is a member stands for itself."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()


@dataclass
class Registry:
    """What is served, and what was asked for."""

    port: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def put(self, data: bytes, kind: str = "application/octet-stream") -> dict[str, object]:
        self.blobs[digest(data)], self.kinds[digest(data)] = data, kind
        return {"mediaType": kind, "digest": digest(data), "size": len(data)}

    def image(self, *layers: bytes, architecture: str = "amd64", zstd: bool = False) -> dict[str, object]:
        config = {
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [digest(each) for each in layers]},
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": self.put(json.dumps(config).encode()),
            "layers": [
                self.put(zstandard.compress(each), LAYER.replace("gzip", "zstd"))
                if zstd
                else self.put(gzip.compress(each, compresslevel=1, mtime=0), LAYER)
                for each in layers
            ],
        }  # fmt: skip
        return self.put(json.dumps(manifest).encode(), MANIFEST)

    def index(self, **images: dict[str, object]) -> str:
        entries = [
            {**each, "platform": {"os": "linux", "architecture": architecture}} for architecture, each in images.items()
        ]
        body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        return str(self.put(json.dumps(body).encode(), INDEX)["digest"])

    def pinned(self, found: str) -> Pinned:
        return Pinned.parse(f"docker://127.0.0.1:{self.port}/library/python@{found}")


@pytest.fixture
def registry() -> Iterator[Registry]:
    served = Registry()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append(self.path)
            if self.path.startswith("/token?"):
                assert "scope=repository%3Alibrary%2Fpython%3Apull" in self.path
                self.answer(200, b'{"token": "anonymous"}', "application/json")
            elif self.headers.get("Authorization") != "Bearer anonymous":
                realm = f'Bearer realm="http://127.0.0.1:{served.port}/token",service="registry"'
                self.answer(401, b"", "text/plain", realm)
            elif (name := self.path.rsplit("/", 1)[1]) in served.blobs:
                self.answer(200, served.blobs[name], served.kinds[name])
            else:
                self.answer(404, b"{}", "application/json")

        def answer(self, status: int, body: bytes, kind: str, challenge: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            if challenge:
                self.send_header("WWW-Authenticate", challenge)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()
