"""The exported model on OpenVINO: no torch in the serving process."""

from __future__ import annotations

from pathlib import Path

from shared.encoder import Graph


class OpenVinoBackend(Graph):
    """The graph that customer images carry too."""

    name = "openvino"

    def __init__(self, folder: Path, threads: int = 0) -> None:
        super().__init__(folder, threads)
