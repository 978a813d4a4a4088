"""The loop of the child process that holds a model, on a backend whose batches end when a test says so."""

from __future__ import annotations

import io
import logging
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pytest

from servers.cradle.embedding.device import DONE, FAILED, HEAD, MEMORY, Device, Spec, batch_frame
from servers.cradle.embedding.loader import Loader
from servers.cradle.embedding.worker import Worker
from shared.settings import Settings

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids

WAIT_S = 180.0


class Slow:
    """Two batches at once; each ends when its event is set."""

    name, mixed, in_flight, lacks = "slow", True, 2, ""

    def __init__(self) -> None:
        self.started: queue.Queue[threading.Event] = queue.Queue()

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        if ids[0] == 13:
            raise RuntimeError
        done, vectors = threading.Event(), np.full((len(lengths), 2), ids[0], np.float32)
        self.started.put(done)

        def wait() -> Any:
            assert done.wait(WAIT_S)
            return vectors, vectors

        return wait

    def batched_equals_alone(self) -> bool:
        return True


@pytest.fixture
def child() -> Iterator[tuple[Slow, BinaryIO, BinaryIO]]:
    """The backend, where requests are written, and where replies are read."""
    pipes = [os.pipe(), os.pipe()]
    (requests, send), (receive, replies) = pipes
    backend = Slow()
    with os.fdopen(requests, "rb") as there, os.fdopen(receive, "rb") as answers:
        serving = threading.Thread(
            target=Device(backend, there, os.fdopen(replies, "wb"), lambda: 7, lambda: None).serve
        )
        serving.start()
        with os.fdopen(send, "wb", buffering=0) as asked:
            yield backend, asked, answers
        serving.join(WAIT_S)
        assert not serving.is_alive()


def reply(answers: BinaryIO) -> tuple[int, int, bytes]:
    number, status, size = HEAD.unpack(answers.read(HEAD.size))
    return number, status, answers.read(size)


def test_a_batch_is_started_while_the_one_before_is_computed(child: tuple[Slow, BinaryIO, BinaryIO]) -> None:
    backend, asked, answers = child
    asked.write(batch_frame(1, [[5]], [True]))
    first = backend.started.get(timeout=WAIT_S)
    asked.write(batch_frame(2, [[6, 6], [7]], [True, False]))
    second = backend.started.get(timeout=WAIT_S)  # though the first has not ended
    asked.write(batch_frame(3, [[8]], [True]))
    first.set()
    third = backend.started.get(timeout=WAIT_S)  # though the second has not
    third.set()
    second.set()
    for number, values in ((1, [5, 5]), (2, [6, 6, 6, 6]), (3, [8, 8])):
        told, status, body = reply(answers)
        assert (told, status, MEMORY.unpack_from(body)) == (number, DONE, (7,))
        assert np.frombuffer(body, "<f4", offset=MEMORY.size).tolist() == values


def test_no_more_batches_are_started_than_the_backend_likes_and_a_failed_one_makes_room(
    child: tuple[Slow, BinaryIO, BinaryIO],
) -> None:
    backend, asked, answers = child
    for number, token in enumerate((5, 13, 6, 7)):
        asked.write(batch_frame(number, [[token]], [True]))
    first = backend.started.get(timeout=WAIT_S)
    with pytest.raises(queue.Empty):
        backend.started.get(timeout=0.2)  # the first and the failed one are in flight
    first.set()
    for _ in range(2):
        backend.started.get(timeout=WAIT_S).set()
    assert [reply(answers)[:2] for _ in range(4)] == [(0, DONE), (1, FAILED), (2, DONE), (3, DONE)]


@pytest.mark.parametrize("rest", [b"", b"cut"])
def test_the_process_ends_with_its_input_whatever_is_not_answered_yet(rest: bytes) -> None:
    backend, broken = Slow(), threading.Event()
    frames = b"".join(batch_frame(at, [[5]], [True]) for at in range(4))
    requests, replies = io.BytesIO(frames + rest), io.BytesIO()
    serving = threading.Thread(target=Device(backend, requests, replies, lambda: 7, broken.set).serve, daemon=True)
    serving.start()
    serving.join(WAIT_S)
    assert not serving.is_alive()
    assert replies.getvalue() == b""
    assert not broken.is_set()


def test_replies_that_nobody_takes_are_told() -> None:
    broken = threading.Event()
    receive, replies = os.pipe()
    os.close(receive)
    requests, send = os.pipe()
    with os.fdopen(requests, "rb") as there, os.fdopen(send, "wb", buffering=0) as asked:
        device = Device(Slow(), there, os.fdopen(replies, "wb", buffering=0), lambda: 7, broken.set)
        threading.Thread(target=device.serve, daemon=True).start()
        asked.write(batch_frame(1, [[13]], [True]))
        assert broken.wait(WAIT_S)


def test_a_machine_that_could_compute_faster_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(Spec("packed", "there", "cuda:0"))
    with caplog.at_level(logging.INFO):
        worker.told = worker.told | {"in_flight": 2}
        assert not caplog.records
        worker.told = worker.told | {"lacks": "a C compiler"}
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "embedding_slower_than_it_can_be")
    assert (worker.in_flight, worker.lacks) == (2, "a C compiler")


@pytest.mark.parametrize(
    ("named", "gpus"),
    [("0", 1), ("1,0", 2), ("GPU-8a1f,MIG-77", 2), ("-1", 0), ("", 0), ("0,-1,1", 1), ("NoDevFiles", 0)],
)
def test_as_many_gpus_are_used_as_cuda_would_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, gpus: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert Loader(Settings(home=tmp_path))._gpus() == gpus
