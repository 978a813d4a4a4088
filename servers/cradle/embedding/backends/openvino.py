"""The exported model on OpenVINO: no torch in the serving process."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from shared.encoder import Graph

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids


class OpenVinoBackend(Graph):
    """The graph that customer images carry too."""

    name = "openvino"
    mixed = False
    in_flight = 1
    lacks = ""

    def __init__(self, folder: Path, threads: int = 0) -> None:
        super().__init__(folder, threads)

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """See `Backend.start`; the texts have equal lengths."""
        both = self.run(ids.reshape(len(lengths), -1))
        return lambda: both
