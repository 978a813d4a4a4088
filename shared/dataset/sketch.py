"""One bit of every number of every vector: what narrows the search of a large dataset, the same bytes on every run.

A bit says whether the number is above its mean over the first vectors. Passages whose bits differ least from the
question's are compared exactly, in full precision. Binary codes with a second exact pass are Charikar's idea (2002);
approximate indexes with trained parts would make other files on every build.

File: `MAGIC`, u32 rows, u32 dimension, float32 × dimension means, then the bits as u64: those of the first 64 numbers
of all rows, of the next 64 of all rows, and so on: a processor reads that 2.5 times as fast as row after row.
Everything is little-endian; rows are in the order of the Lance table.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from shared.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

ABOVE = 20_000
"""Below so many passages a comparison with all of them is quick."""
CANDIDATES = 300
MAGIC = b"0711 sketch 1\n\0\0"
_HEAD = struct.Struct("<II")
_ROWS_AT_ONCE = 16_384  # their counts stay in a processor's cache


class SketchWriter:
    """Takes the vectors in order and gives the file.

    Args:
        dimension: of the vectors.
    """

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._first: list[Vectors] = []
        self._waiting = 0
        self._means: Vectors | None = None
        self._bits: list[NDArray[np.uint64]] = []
        self.rows = 0

    def add(self, vectors: Vectors) -> None:
        """The next rows: float32 [n, dimension]."""
        self.rows += len(vectors)
        if self._means is not None:
            self._bits.append(_bits(vectors, self._means))
            return
        self._first.append(vectors.copy())
        self._waiting += len(vectors)
        if self._waiting >= ABOVE:
            self._settle()

    def file(self) -> bytes:
        """The finished file."""
        means = self._settle() if self._means is None else self._means
        head = MAGIC + _HEAD.pack(self.rows, self._dimension) + means.astype("<f4").tobytes()
        return head + b"".join(column.tobytes() for column in self._columns())

    def _columns(self) -> Iterator[NDArray[np.uint64]]:
        import numpy as np

        for word in range(_words(self._dimension)):
            yield np.concatenate([each[:, word] for each in self._bits] or [np.zeros(0, "<u8")])

    def _settle(self) -> Vectors:
        import numpy as np

        first = np.concatenate(self._first) if self._first else np.zeros((0, self._dimension), dtype=np.float32)
        means = first.mean(axis=0, dtype=np.float64) if len(first) else np.zeros(self._dimension)
        found: Vectors = means.astype(np.float32)
        if len(first):
            self._bits.append(_bits(first, found))
        self._means, self._first = found, []
        return found


class Sketch:
    """A sketch in memory.

    Args:
        data: the file.

    Raises:
        Conflict: it is damaged.
    """

    def __init__(self, data: bytes) -> None:
        import numpy as np

        place = len(MAGIC)
        if data[:place] != MAGIC or len(data) < place + _HEAD.size:
            raise Conflict("The dataset's search sketch is damaged. Build the dataset again.")
        self.rows, dimension = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        words = _words(dimension)
        if len(data) != place + 4 * dimension + 8 * words * self.rows:
            raise Conflict("The dataset's search sketch is damaged. Build the dataset again.")
        self._means = np.frombuffer(data, "<f4", dimension, place)
        self._bits = np.frombuffer(data, "<u8", words * self.rows, place + 4 * dimension).reshape(words, self.rows)

    def candidates(
        self, vector: Vectors, number: int = CANDIDATES, among: NDArray[np.bool_] | None = None
    ) -> list[int]:
        """The rows whose bits are most like the vector's, in the order of the table; blocking.

        Args:
            among: which rows may be candidates, bool [rows]; None: all.
        """
        import numpy as np

        rows = None if among is None else np.flatnonzero(among)
        if number >= (self.rows if rows is None else len(rows)):
            return (np.arange(self.rows) if rows is None else rows).tolist()

        apart = self._apart(_bits(vector.reshape(1, -1), self._means)[0])
        apart = apart if rows is None else apart[rows]
        limit = np.searchsorted(np.cumsum(np.bincount(apart)), number)  # so many rows are as near, or nearer
        nearer = np.flatnonzero(apart < limit)
        equal = np.flatnonzero(apart == limit)[: number - len(nearer)]  # the first of them: the same on every machine
        found = np.sort(np.concatenate([nearer, equal]))
        return (found if rows is None else rows[found]).tolist()

    def _apart(self, own: NDArray[np.uint64]) -> NDArray[np.uint16]:
        """In how many bits each row differs from these words."""
        import numpy as np

        apart = np.zeros(self.rows, np.uint16)
        differing, counts = np.empty(_ROWS_AT_ONCE, np.uint64), np.empty(_ROWS_AT_ONCE, np.uint8)
        for start in range(0, self.rows, _ROWS_AT_ONCE):
            total = apart[start : start + _ROWS_AT_ONCE]
            for column, word in zip(self._bits[:, start : start + len(total)], own, strict=True):
                np.bitwise_xor(column, word, out=differing[: len(total)])
                np.bitwise_count(differing[: len(total)], out=counts[: len(total)])
                total += counts[: len(total)]
        return apart


def _words(dimension: int) -> int:
    return (dimension + 63) // 64


def _bits(vectors: Vectors, means: Vectors) -> NDArray[np.uint64]:
    import numpy as np

    packed = np.packbits(vectors > means, axis=1, bitorder="little")
    padding = -packed.shape[1] % 8
    if padding:
        packed = np.pad(packed, ((0, 0), (0, padding)))
    return np.ascontiguousarray(packed).view("<u8")
