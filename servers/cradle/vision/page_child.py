"""The process that makes page images of one file: `python -m servers.cradle.vision.page_child MEMORY CPU_S [PAGES]`.

It says `R` once it has loaded what it needs. The file comes on standard input, to its end; frames leave on standard
output: one byte of kind, four of the page's number, eight of length, the payload. It is confined as the readers of
customers' files are, and ends with its file: nothing of one caller's is in a process that another's is read in.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import BinaryIO

from servers.cradle.processing.confinement import answers_alone, confine, send
from servers.cradle.vision.pages import page_images
from shared.errors import InvalidInput, TooLarge
from shared.values import MAX_IMAGE_BYTES

READY, PAGE, ERROR, DONE = b"R", b"P", b"E", b"D"
HEAD = 13


def main() -> None:
    """Reads the one file."""
    memory, cpu_s, pages = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None
    import PIL.Image
    import PIL.ImageOps  # noqa: F401  # here, so that neither is loaded within the call's time
    import pypdfium2  # noqa: F401

    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    confine(memory)
    out = answers_alone()
    _send(out, READY)
    data = sys.stdin.buffer.read(MAX_IMAGE_BYTES + 1)
    try:
        for number, png in page_images(data, pages):
            _send(out, PAGE, png, number)
    except (InvalidInput, TooLarge) as error:
        _send(out, ERROR, json.dumps(error.as_dict()).encode())
    else:
        _send(out, DONE)


def _send(out: BinaryIO, kind: bytes, payload: bytes = b"", number: int = 0) -> None:
    send(out, kind + number.to_bytes(4, "little") + len(payload).to_bytes(8, "little") + payload)


if __name__ == "__main__":
    main()
