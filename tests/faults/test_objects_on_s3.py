"""A bucket on S3 without room: one clear error, no object and no half one, and the same call works once there is room.

Between the platform and the S3 server of the tests stands a door that answers writes as a full store does.
"""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.errors import StorageFull, Unavailable
from shared.objects import CustomerStore, s3_client
from tests.conftest import s3_settings

CODE = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>no room</Message></Error>"
ANSWERS = {"QuotaExceeded": 403, "XMinioStorageFull": 507, "InsufficientStorage": 507}  # Ceph's, MinIO's, and the plain
PART = 12_000_000  # such an object goes in parts


@dataclass
class Door:
    """Where the platform goes instead. `full`: the code that writes are answered with, `said`: what reads are answered
    with; None: let through."""

    url: str
    full: str | None = None
    said: tuple[int, bytes] | None = None
    refused: int = 0


@pytest.fixture
def door(s3_url: str) -> Iterator[Door]:
    parts = urlsplit(s3_url)
    made = Door("")

    class Through(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def passed(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if made.full is not None and self.command == "PUT" and body:
                made.refused += 1
                self.answer(ANSWERS[made.full], {"content-type": "application/xml"}, CODE.format(made.full).encode())
                return
            if made.said is not None and self.command == "GET":
                self.answer(made.said[0], {"content-type": "application/xml"}, made.said[1])
                return
            there = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
            there.request(self.command, self.path, body, dict(self.headers.items()))
            got = there.getresponse()
            self.answer(got.status, dict(got.getheaders()), got.read())
            there.close()

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            length = headers.pop("Content-Length", None) or headers.pop("content-length", None)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", length if self.command == "HEAD" and length else str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = passed

        def log_message(self, format: str, *args: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Through) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        made.url = f"http://{parts.username}:{parts.password}@127.0.0.1:{server.server_address[1]}"
        yield made
        server.shutdown()


@pytest.mark.requirement("F-09")
@pytest.mark.parametrize("code", ANSWERS)
async def test_a_full_bucket_is_one_sentence_leaves_no_half_object_and_a_retry_works(
    door: Door, tmp_path: Path, code: str
) -> None:
    settings = s3_settings(tmp_path / "home", door.url)
    store = await CustomerStore.open(settings, "voller-eimer", create=True)
    (tmp_path / "image.tar").write_bytes(b"z" * PART)
    try:
        door.full = code
        for data in (b"small", tmp_path / "image.tar"):
            with pytest.raises(StorageFull, match="no room") as refused:
                await store.put("images/p1/image.tar", data)
            assert "p1" not in refused.value.message
        assert door.refused >= 2
        door.full = None
        assert await store.list() == []
        begun = s3_client(settings)._list_multipart_uploads(store.bucket).uploads
        assert begun == []
        await store.put("images/p1/image.tar", tmp_path / "image.tar")
        assert await store.list() == [("images/p1/image.tar", PART)]
    finally:
        door.full = None
        await store.remove()


@pytest.mark.parametrize(
    "said",
    [
        (503, CODE.format("SlowDown").encode()), (403, b"<html>A proxy</html>"), (200, b"<html>A proxy</html>"),
        (200, b"<?xml version='1.0'?><ListBucketResult><Contents>"),
    ],
    ids=["503", "a proxy's refusal", "a proxy's page", "cut off"],
)  # fmt: skip
async def test_a_list_that_does_not_come_is_asked_for_again_and_never_taken_for_an_empty_one(
    door: Door, tmp_path: Path, said: tuple[int, bytes]
) -> None:
    store = await CustomerStore.open(s3_settings(tmp_path, door.url), "antwortlos", create=True)
    await store.put("inbox/a.txt", b"A")
    door.said = said
    with pytest.raises(Unavailable):
        await store.list("inbox")
    with pytest.raises(Unavailable):  # the same by its other client
        await asyncio.to_thread(store._by_minio, "inbox/")
    door.said = None
    assert await store.list("inbox") == [("inbox/a.txt", 1)]
    await store.remove()


async def test_a_list_that_may_have_broken_off_after_a_whole_page_is_asked_for_exactly(
    door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy's page in place of the second one is an empty list to obstore."""
    monkeypatch.setattr("shared.objects.LIST_PAGE", 2)
    store = await CustomerStore.open(s3_settings(tmp_path, door.url), "seitenweise", create=True)
    for number, certain in ((1, True), (2, False), (3, True)):
        await store.put(f"inbox/{number}.txt", b"A")
        assert (await store._by_obstore("inbox/") is not None) == certain
        assert len(await store.list("inbox")) == number
    await store.remove()
