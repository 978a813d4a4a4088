"""The exported model on ONNX Runtime: no torch in the serving process, for machines where OpenVINO does not run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.cradle.embedding.backends.base import EqualLengths

if TYPE_CHECKING:
    from shared.encoder import Ids, Vectors


class OnnxBackend(EqualLengths):
    """The graph of `onnx_graph`.

    Args:
        folder: holds `model.onnx` and its weights.
        threads: of one call; 0: the machine's.
    """

    name = "onnx"

    def __init__(self, folder: Path, threads: int) -> None:
        import onnxruntime

        options: Any = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3  # its warnings repeat shapes
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(
            str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        """As `shared.encoder.Graph.run`."""
        pooled, unit = self._session.run(("pooled", "unit"), {"input_ids": ids})
        return pooled, unit
