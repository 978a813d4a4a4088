"""The files that an image carries, byte-identical for equal content whatever run, folder or order wrote them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path


def frozen_files(
    root: Path | str, storage_options: Mapping[str, str] | None = None
) -> Iterator[tuple[str, Path | bytes]]:
    """Names (relative, `/`-separated, ascending) and contents of the frozen copy of the visible version; blocking.

    The copy opens with `DatasetReader` like the original. Raises NotFound where no version is visible.
    """
    raise NotImplementedError
