"""A small, made-up German maker of electrical parts: the files that `make demo` onboards.

`write(folder)` writes the same bytes on every run. Every fact that `questions.py` asks for stands in one file.
"""

from examples.corpus.write import write

__all__ = ["write"]
