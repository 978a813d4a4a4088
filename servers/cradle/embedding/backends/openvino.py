"""The exported model on OpenVINO: no torch in the serving process."""

from __future__ import annotations

from servers.cradle.embedding.backends.base import EqualLengths
from shared.encoder import Graph


class OpenVinoBackend(Graph, EqualLengths):
    """The graph that customer images carry too."""

    name = "openvino"
