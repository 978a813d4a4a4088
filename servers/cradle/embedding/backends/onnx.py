"""The exported model on ONNX Runtime: no torch in the serving process, for machines where OpenVINO does not run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.encoder import same_alone

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids, Vectors


class OnnxBackend:
    """The graph of `onnx_graph`.

    Args:
        folder: holds `model.onnx` and its weights.
        threads: of one call; 0: the machine's.
    """

    name = "onnx"
    mixed = False
    in_flight = 1
    lacks = ""

    def __init__(self, folder: Path, threads: int = 0) -> None:
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

    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """See `Backend.start`; the texts have equal lengths."""
        both = self.run(ids.reshape(len(lengths), -1))
        return lambda: both

    def batched_equals_alone(self) -> bool:
        """See `Backend.batched_equals_alone`."""
        return same_alone(self.run)
