"""A hostile image or PDF that is sent to be read costs its own call: no other customer's, and nothing beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from servers.cradle.vision.page_reader import PageReader, _is_page
from shared.errors import DeadlineExceeded, InvalidInput
from tests.vision_rig import asking, page, png_header, service_at, vision_server

HEARS_S = 240


def endless_pdf(levels: int = 12, fan: int = 10) -> bytes:
    """Two kilobytes: a drawing of ten of a drawing of ten …, a million million rectangles in all."""
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[3 0 R]/Count 1>>"]
    objects += [b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Resources<</XObject<</X 5 0 R>>>>/Contents 4 0 R>>"]

    def stream(keys: bytes, drawn: bytes) -> bytes:
        return b"<<%s/Length %d>>stream\n%s\nendstream" % (keys, len(drawn), drawn)

    objects.append(stream(b"", b"/X Do " * fan))
    for level in range(levels):
        form = b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X %d 0 R>>>>" % (6 + level)
        objects.append(stream(form, b"/X Do " * fan))
    objects.append(stream(b"/Type/XObject/Subtype/Form/BBox[0 0 9 9]", b"0 0 1 1 re f"))
    made, places = b"%PDF-1.7\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(made))
        made += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    count = len(objects) + 1
    return made + b"xref\n0 %d\n0000000000 65535 f \n%strailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        count, table, count, len(made),
    )  # fmt: skip


def plain_pdf() -> bytes:
    return endless_pdf(levels=1, fan=1)


def status_of(pid: int) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


@pytest.mark.requirement("I-07", "L-02")
async def test_pdfs_that_are_drawn_for_ever_end_with_their_calls_and_the_next_is_read() -> None:
    async with vision_server() as server:
        hostile, service = service_at(server.url, call_deadline_s=3), service_at(server.url, call_deadline_s=HEARS_S)
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await hostile.read(asking("openai", endless_pdf()))
        assert [each.page for each in (await service.read(asking("openai", plain_pdf()))).pages] == [1]


@pytest.mark.requirement("I-07")
async def test_over_its_processor_time_a_file_is_refused_with_a_reason_and_its_process_is_gone() -> None:
    async with PageReader.started(1, None) as reader:
        process = reader._process
        with pytest.raises(InvalidInput, match="longer than one file is given"):
            await anext(reader.read(endless_pdf()))
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


@pytest.mark.requirement("F-08", "I-07")
async def test_the_process_of_a_caller_that_is_gone_is_gone_too() -> None:
    started: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def read() -> None:
        async with (
            PageReader.started(HEARS_S, None) as reader,
            contextlib.aclosing(reader.read(endless_pdf())) as pages,
        ):
            started.set_result(reader._process.pid)
            await anext(pages)

    call = asyncio.create_task(read())
    pid = await started
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.requirement("I-07")
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux what a process may do")
async def test_the_process_is_confined_before_it_has_the_file_and_one_that_dies_is_the_files_fault() -> None:
    async with PageReader.started(HEARS_S, None) as reader:
        status = status_of(reader._process.pid)
        assert (status["NoNewPrivs"], status["Seccomp"], status["Threads"]) == ("1", "2", "1")
        os.kill(reader._process.pid, signal.SIGSEGV)
        with pytest.raises(InvalidInput, match="damaged"):
            await anext(reader.read(page()))


@pytest.mark.requirement("I-06")
def test_what_the_process_gives_is_a_png_of_a_page_or_is_not_passed_on() -> None:
    assert _is_page(page())
    for wrong in (b"", page()[:20], b"GIF89a" + bytes(40), png_header(8000, 5001)):
        assert not _is_page(wrong)
