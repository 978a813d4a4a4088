"""The child process that holds a model on one device: batches come in on standard input, vectors go out.

`python -m servers.cradle.embedding.device`. A fault of the device or of a library ends this process and not the server.
It ends by itself when its input does. It writes no core: the memory holds customers' texts.
"""

from __future__ import annotations

import os
import queue
import resource
import signal
import struct
import sys
import threading
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, NoReturn

import orjson

from shared.dumps import forbid_dumps

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Backend, Pending
    from shared.encoder import Dtype

HEAD = struct.Struct("<III")
"""To the child: number, texts, tokens. Back: number, status, bytes that follow."""
MEMORY = struct.Struct("<Q")
"""Before the vectors: bytes of memory in use."""
READY, DONE, NO_MEMORY, FAILED = range(4)


@dataclass(frozen=True)
class Spec:
    """What a child loads.

    Args:
        folder: of the exported model for `openvino` and `onnx`, else of the model's own files.
        device: `cpu` or `cuda:0`.
        threads: 0: the machine's.
        dtype: of weights and matrix products.
    """

    backend: str
    folder: str
    device: str = "cpu"
    dtype: Dtype = "float32"
    threads: int = 0
    pooling: Literal["mean", "cls"] = "mean"

    def frame(self) -> bytes:
        """The first thing that the child reads."""
        body = orjson.dumps(asdict(self))
        return HEAD.pack(0, 0, len(body)) + body


def batch_frame(number: int, texts: Sequence[Sequence[int]], units: Sequence[bool]) -> bytes:
    """A batch: how many ids each text has, the ids, and for each text whether its vector is brought to length 1."""
    lengths, ids = array("i", map(len, texts)), array("i")
    for text in texts:
        ids.extend(text)
    return HEAD.pack(number, len(texts), len(ids)) + lengths.tobytes() + ids.tobytes() + bytes(units)


def open_backend(spec: Spec) -> Backend:
    """Loads what the spec names."""
    if spec.backend == "openvino":
        from servers.cradle.embedding.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(Path(spec.folder), spec.threads, spec.dtype)
    if spec.backend == "onnx":
        from servers.cradle.embedding.backends.onnx import OnnxBackend

        return OnnxBackend(Path(spec.folder), spec.threads)
    if spec.threads:
        import torch

        torch.set_num_threads(spec.threads)
    if spec.backend == "packed" and spec.device != "cpu":
        from servers.cradle.embedding.backends.packed_cuda import CudaBackend

        return CudaBackend(Path(spec.folder), spec.device, spec.pooling)
    if spec.backend == "packed":
        from servers.cradle.embedding.backends.packed import PackedBackend

        return PackedBackend(Path(spec.folder), spec.pooling)
    from servers.cradle.embedding.backends.sentence_transformers import SentenceTransformersBackend

    return SentenceTransformersBackend(Path(spec.folder), spec.device)


def main(load: Callable[[Spec], Backend] = open_backend) -> None:
    """Serves until the input ends."""
    for sign in (signal.SIGINT, signal.SIGTERM):  # terminals and systemd tell every process of a group or unit
        signal.signal(sign, signal.SIG_IGN)  # the server ends this one when it has drained
    forbid_dumps()
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no reply
    requests = sys.stdin.buffer
    try:
        _, _, size = HEAD.unpack(requests.read(HEAD.size))
        spec = Spec(**orjson.loads(requests.read(size)))
        backend = load(spec)
        told = {
            "name": backend.name,
            "mixed": backend.mixed,
            "in_flight": backend.in_flight,
            "lacks": backend.lacks,
            "alone": backend.batched_equals_alone(),
        }
    except Exception as error:  # noqa: BLE001  # told to the server, which logs it
        _reply(replies, 0, FAILED, type(error).__name__.encode())
        return
    _reply(replies, 0, READY, orjson.dumps(told))
    lose = partial(os._exit, 1)  # the server sees that the process is gone, and replaces it
    Device(backend, requests, replies, memory_of(spec.device), lose).serve()


def memory_of(device: str) -> Callable[[], int]:
    """What tells the bytes in use: reserved on the GPU by this process, or resident where the device is the CPU."""
    if device != "cpu":
        import torch

        return lambda: torch.cuda.memory_reserved(device)
    page = resource.getpagesize()
    return lambda: int(Path("/proc/self/statm").read_text().split()[1]) * page


class Device:
    """Batches to the backend in order, as many at once as it likes.

    One thread starts them and another waits for them and answers, so that a batch is started while the one before it is
    computed or its vectors are on their way.

    Args:
        memory: tells the bytes in use.
        broken: is called when nothing can be answered any more.
    """

    def __init__(
        self,
        backend: Backend,
        requests: BinaryIO,
        replies: BinaryIO,
        memory: Callable[[], int],
        broken: Callable[[], object],
    ) -> None:
        self._backend, self._requests, self._replies = backend, requests, replies
        self._memory, self._broken, self._ended = memory, broken, False
        self._inbox: queue.SimpleQueue[tuple[int, int, bytes] | None] = queue.SimpleQueue()
        self._started: queue.SimpleQueue[tuple[int, bytes, Pending]] = queue.SimpleQueue()
        self._room = threading.Semaphore(backend.in_flight)

    def serve(self) -> None:
        """Until the input ends."""
        for work in (self._read, self._answer):
            threading.Thread(target=work, daemon=True).start()
        while (frame := self._inbox.get()) is not None:
            self._room.acquire()
            if self._ended:
                return
            self._start(*frame)

    def _read(self) -> None:
        while len(head := self._requests.read(HEAD.size)) == HEAD.size:
            number, texts, tokens = HEAD.unpack(head)
            self._inbox.put((number, texts, self._requests.read(5 * texts + 4 * tokens)))
        self._ended = True  # nobody is there for what is computed
        self._room.release()
        self._inbox.put(None)

    def _start(self, number: int, texts: int, body: bytes) -> None:
        import numpy as np

        lengths = np.frombuffer(body, np.int32, texts).astype(np.int64)
        ids = np.frombuffer(body, np.int32, int(lengths.sum()), 4 * texts).astype(np.int64)
        try:
            pending = self._backend.start(ids, lengths)
        except Exception as error:  # noqa: BLE001  # a backend raises what its library raises
            pending = partial(_raised, error)
        self._started.put((number, body[-texts:], pending))

    def _answer(self) -> None:
        with suppress(Exception):  # what cannot even be refused
            while True:
                self._finish(*self._started.get())
                self._room.release()
        self._broken()

    def _finish(self, number: int, units: bytes, pending: Pending) -> None:
        import numpy as np

        try:
            pooled, unit = pending()
            chosen = np.where(np.frombuffer(units, np.uint8)[:, None] == 1, unit, pooled)
            if len(chosen) != len(units) or not np.isfinite(chosen).all():
                raise ArithmeticError
        except Exception as error:  # noqa: BLE001
            self._refuse(number, error)
        else:
            vectors = chosen.astype("<f4", copy=False).tobytes()
            _reply(self._replies, number, DONE, MEMORY.pack(self._memory()) + vectors)

    def _refuse(self, number: int, error: Exception) -> None:
        memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
        _reply(self._replies, number, NO_MEMORY if memory else FAILED, type(error).__name__.encode())


def _raised(error: Exception) -> NoReturn:
    raise error


def _reply(replies: BinaryIO, number: int, status: int, body: bytes) -> None:
    replies.write(HEAD.pack(number, status, len(body)))
    replies.write(body)
    replies.flush()


if __name__ == "__main__":
    main()
