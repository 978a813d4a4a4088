"""Another project's readers, in an environment of their own: `python reading_peers.py markitdown FOLDER`.

Prints a line of JSON for each file: its path, the processor seconds that it took and its text, null where it was not
read. Imports nothing of the platform.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path


def markitdown() -> Callable[[Path], str]:
    """markitdown with its readers of PDF, Office and mail, as its documentation starts it."""
    from markitdown import MarkItDown

    reader = MarkItDown()
    return lambda path: reader.convert(str(path)).text_content


READERS = {"markitdown": markitdown}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    read = READERS[sys.argv[1]]()
    files = sorted(Path(sys.argv[2]).rglob("*.*"))
    firsts = {path.suffix: path for path in reversed(files)}.values()  # once more: imports are not reading
    for path in (*firsts, *files):
        started = time.process_time()
        try:
            text = read(path)
        except Exception:  # noqa: BLE001 - whatever it raises, the file was not read
            text = None
        print(json.dumps([str(path), time.process_time() - started, text]), file=answers, flush=True)


if __name__ == "__main__":
    main()
