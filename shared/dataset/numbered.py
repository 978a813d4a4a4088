"""Ids, names and edges as numbers, in columns: as objects, those of a large catalogue take several times the memory.

A node costs its id and a few bytes, an edge 16 bytes, a name its text and 12 bytes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

_AT_ONCE = 8192


class Ids:
    """Numbers for ids, from 0 on, in the order in which they came. An id that was only named has a number too."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        self._there = bytearray()
        self._columns: list[NDArray[np.bytes_]] = []
        self._held: list[bytes] = []

    def named(self, identifier: str) -> int:
        """The number of an id that comes often; whether there is such a node shows later."""
        number = self._known.get(identifier)
        if number is None:
            number = self._known[identifier] = self._add(identifier)
        return number

    def there(self, identifier: str) -> tuple[int, bool]:
        """The number of a node that comes often, and whether this is the first time that it is there."""
        number = self.named(identifier)
        first, self._there[number] = not self._there[number], 1
        return number, first

    def once(self, identifier: str) -> int:
        """The number of a node that comes once: nothing is remembered to find it by its id."""
        number = self._add(identifier)
        self._there[number] = 1
        return number

    def finish(self) -> tuple[NDArray[np.bytes_], Numbers]:
        """The ids of what is there in their order, and for each number its place among them, -1 for what is not."""
        import numpy as np

        self._flush()
        ids = np.concatenate(self._columns) if self._columns else np.empty(0, "S1")
        there = np.flatnonzero(np.frombuffer(self._there, np.uint8))
        order = there[np.argsort(ids[there], kind="stable")]
        places = np.full(len(ids), -1, np.int64)
        places[order] = np.arange(len(order))
        return ids[order], places

    def _add(self, identifier: str) -> int:
        self._held.append(identifier.encode())
        self._there.append(0)
        if len(self._held) == _AT_ONCE:
            self._flush()
        return len(self._there) - 1

    def _flush(self) -> None:
        import numpy as np

        held, self._held = self._held, []
        if held:
            self._columns.append(np.array(held, np.bytes_))


class Names:
    """Which numbers bear a name. Names are added first, then looked up."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._numbers = array("q")
        self._columns: list[pa.Array] = []
        self._held: list[str] = []
        self._sorted: tuple[Numbers, Numbers, pa.Array] | None = None

    def add(self, name: str, number: int) -> None:
        self._hashes.append(hash(name))
        self._numbers.append(number)
        self._held.append(name)
        if len(self._held) == _AT_ONCE:
            self._flush()

    def __len__(self) -> int:
        return len(self._hashes)

    def find(self, names: Sequence[str]) -> Iterator[tuple[int, list[int]]]:
        """For each of these names that is borne, its position and the numbers that bear it."""
        import numpy as np

        if not len(self) or not names:
            return
        hashes, numbers, texts = self._sorted = self._sorted or self._in_order()
        wanted = np.fromiter(map(hash, names), np.int64, len(names))
        low, high = np.searchsorted(hashes, wanted, "left"), np.searchsorted(hashes, wanted, "right")
        for at in np.flatnonzero(high > low).tolist():
            # Equal hashes are not always equal names.
            found = [place for place in range(int(low[at]), int(high[at])) if texts[place].as_py() == names[at]]
            if found:
                yield at, [int(numbers[place]) for place in found]

    def _in_order(self) -> tuple[Numbers, Numbers, Any]:
        import numpy as np
        import pyarrow as pa

        self._flush()
        hashes, numbers = np.frombuffer(self._hashes, np.int64), np.frombuffer(self._numbers, np.int64)
        order = np.argsort(hashes, kind="stable")
        return hashes[order], numbers[order], pa.concat_arrays(self._columns).take(pa.array(order))

    def _flush(self) -> None:
        import pyarrow as pa

        held, self._held = self._held, []
        if held:
            self._columns.append(pa.array(held, pa.large_string()))


class Edges:
    """Directed edges between numbers, with a kind and a label."""

    def __init__(self) -> None:
        self._flat = array("i")
        self._words: dict[str, int] = {}

    def add(self, source: int, kind: str, target: int, label: str = "") -> None:
        words = self._words
        kind_number, label_number = words.setdefault(kind, len(words)), words.setdefault(label, len(words))
        self._flat.extend((source, kind_number, target, label_number))

    def finish(self, places: Numbers) -> tuple[NDArray[np.int64], list[str]]:
        """Edges between nodes that are there, each once: [n, 4] source, kind, target and label in the order of these
        columns; nodes as their places, kinds and labels as places in the list of words.

        Args:
            places: of each number; -1 where it is not there.
        """
        import numpy as np

        words = sorted(self._words)
        ranks = np.zeros(max(len(words), 1), np.int64)
        ranks[[self._words[word] for word in words]] = np.arange(len(words))
        flat = np.frombuffer(self._flat, np.int32).reshape(-1, 4)
        rows = np.column_stack((places[flat[:, 0]], ranks[flat[:, 1]], places[flat[:, 2]], ranks[flat[:, 3]]))
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 2] >= 0)]
        rows = rows[np.lexsort(rows.T[::-1])]
        new = np.ones(len(rows), bool)
        new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
        return rows[new], words


def pieces(length: int, size: int) -> Iterable[slice]:
    """Slices of so many, the last one shorter."""
    return (slice(start, min(start + size, length)) for start in range(0, length, size))
