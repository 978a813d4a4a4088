"""The readers alone, against those of another project on the same files: processor seconds and words, by format.

    python benchmarks/reading.py --documents 300 --peers FOLDER [--files FOLDER]

The files are the generated corpus (`corpus.py`), with `--files` also those of a folder. `--peers` names a folder for
the peers' environments, made on first use; without it only the platform's readers run. *Missing*: distinct words of a
file that the other reader has and this one has not, over all files that both have read.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from corpus import write

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import joined, parts
from servers.cradle.processing.product_text import product_lines

PACKAGES = {"markitdown": "markitdown[pdf,docx,xlsx]"}
Texts = dict[Path, tuple[float, str | None]]
_WORD = re.compile(r"[^\W_]+(?:[.,][^\W_]+)*")


@dataclass
class Sum:
    """What a reader made of the files of one format."""

    files: int = 0
    unread: int = 0
    seconds: float = 0.0
    words: int = 0
    missing: int = 0


def ours(files: list[Path]) -> Iterator[tuple[Path, float, str | None]]:
    """Path, processor seconds and text of each file, by the platform's extractors in this process."""
    firsts = {path.suffix: path for path in reversed(files)}.values()  # once more: imports are not reading
    for path in (*firsts, *files):
        started = time.process_time()
        try:
            found = joined(parts(read(*identify(path.read_bytes(), path.name))))
        except Unreadable:
            yield path, time.process_time() - started, None
            continue
        texts = [found.title, *(block.text for block in found.blocks)]
        texts += [line for product in found.products for line in product_lines(product)]
        texts += [f"{group.identifier} {group.name}" for group in found.groups]
        yield path, time.process_time() - started, "\n".join(texts)


def theirs(name: str, peers: Path, folder: Path) -> Iterator[tuple[Path, float, str | None]]:
    """The same by a peer, in a process of its own."""
    python = peers / name / "bin" / "python"
    if not python.exists():
        print(f"installing {PACKAGES[name]} into {peers / name} (once)", flush=True)
        subprocess.run([sys.executable, "-m", "venv", peers / name], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", PACKAGES[name]], check=True)
    script = Path(__file__).with_name("reading_peers.py")
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run([python, script, name, folder], env=env, capture_output=True, text=True, check=True)
    for line in run.stdout.splitlines():
        path, seconds, text = json.loads(line)
        yield Path(path), seconds, text


def texts_of(found: Iterator[tuple[Path, float, str | None]]) -> Texts:
    return {path: (seconds, text) for path, seconds, text in found}


def words_of(text: str | None) -> list[str]:
    return _WORD.findall((text or "").lower())


def summed(own: Texts, other: Texts) -> dict[str, Sum]:
    """Format → what the reader `own` made of it, and what it lacks of the words of `other`."""
    sums: dict[str, Sum] = defaultdict(Sum)
    for path, (seconds, text) in own.items():
        found = words_of(text)
        for each in (sums[path.suffix], sums["all"]):
            each.files += 1
            each.unread += text is None
            each.seconds += seconds
            each.words += len(found)
            if text is not None and other.get(path, (0.0, None))[1] is not None:
                each.missing += len(set(words_of(other[path][1])) - set(found))
    return sums


HEAD = "| format | files | reader | processor s | words | missing | not read |\n" + "| --- " * 7 + "|"


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, default=100)
    options.add_argument("--seed", type=int, default=711)
    options.add_argument("--files", type=Path, help="a folder whose files are read as well")
    options.add_argument("--peers", type=Path, help="a folder for the peers' environments")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        write(folder, asked.documents, asked.seed)
        if asked.files:
            shutil.copytree(asked.files, folder / "own")
        read_by: dict[str, Texts] = {"platform": texts_of(ours(sorted(folder.rglob("*.*"))))}
        if asked.peers:
            read_by["markitdown"] = texts_of(theirs("markitdown", asked.peers, folder))
    sums = {
        name: summed(own, next((other for each, other in read_by.items() if each != name), {}))
        for name, own in read_by.items()
    }
    print(HEAD)
    for kind in sorted(sums["platform"]):
        for name, by_kind in sums.items():
            it = by_kind[kind]
            print(f"| {kind} | {it.files} | {name} | {it.seconds:.2f} | {it.words} | {it.missing} | {it.unread} |")
    print(f"load {os.getloadavg()[1]:.1f}")


if __name__ == "__main__":
    main()
