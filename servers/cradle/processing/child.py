"""The child process that reads files: `python -m servers.cradle.processing.child MEMORY_BYTES`.

Requests come on standard input, frames leave on what was standard output. It may write no file, dump no core, and use
so much memory and processor time; its parent kills it when it is late. It inherits no secret, and reaches none: of all
files it can read its own code's, and it has no network (`confinement`).
"""

from __future__ import annotations

import resource
import sys
from typing import BinaryIO

from servers.cradle.processing import wire
from servers.cradle.processing.confinement import answers_alone, confine, send
from servers.cradle.processing.extract import Unreadable, identify, note, read
from servers.cradle.processing.extract.body import Body
from servers.cradle.processing.extraction import parts


def main() -> None:
    """Serves requests until the parent closes the pipe."""
    confine(int(sys.argv[1]))
    answers = answers_alone()
    requests = sys.stdin.buffer
    while (raw := requests.read(8)) and len(raw) == 8:
        request = wire.load_request(requests.read(int.from_bytes(raw, "little")))
        _allow_cpu(request.cpu_s)
        try:
            body = Body(requests, request.size)
            _answer(request, body, answers)
            body.drain()
        except EOFError:
            return
        del body


def _answer(request: wire.Request, body: Body, out: BinaryIO) -> None:
    try:
        file, extractor = identify(body, request.name)
        identified = wire.Identified(file.media_type, extractor.name, extractor.version, *note(file))
        send(out, wire.frame(wire.IDENTIFIED, wire.dump_record(identified)))
        held = b""  # the last part goes out with the word that it was the last: one read of the platform's less
        for part in parts(read(file, extractor)):
            if held:
                send(out, held)
            held = wire.frame(wire.PART, wire.dump_part(part))
        send(out, held + wire.frame(wire.DONE, b""))
    except Unreadable as error:
        _fail(out, error.code, error.reason)
    except (MemoryError, RecursionError):
        _fail(out, "memory_limit", "Reading the file needs more memory than one file is given. Split it.")
    except BrokenPipeError:
        raise
    except BaseException as error:  # a defect or a panic of a library ends this file, not the others
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        reason = f"The reader failed on this file ({type(error).__name__}). Save it in another format, and report it."
        _fail(out, "reader_failed", reason)


def _fail(out: BinaryIO, code: str, reason: str) -> None:
    send(out, wire.frame(wire.ERROR, wire.dump_record(wire.Failure(code, reason))))


def _allow_cpu(seconds: int) -> None:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(usage.ru_utime + usage.ru_stime) + seconds + 1, hard))


if __name__ == "__main__":
    main()
