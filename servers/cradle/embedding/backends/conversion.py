"""torch → OpenVINO: the graph of an exported model. Runs in a child process: torch never loads in the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shared.encoder import GRAPH, ModelCard, import_openvino


def convert(source: Path, target: Path, card: ModelCard) -> None:
    """Writes `model.xml` and `model.bin`: ids of texts of equal length → pooled vectors, and the same at length 1.

    fp32 throughout, whatever the weights were stored in. The same source gives the same bytes.
    """
    import torch
    from transformers import AutoModel

    model: Any = AutoModel.from_pretrained(
        str(source),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        attn_implementation="eager",
        dtype=torch.float32,
    ).eval()

    class Pooled(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
            hidden = self.model(input_ids=input_ids, attention_mask=torch.ones_like(input_ids)).last_hidden_state
            pooled = hidden.mean(1) if card.pooling == "mean" else hidden[:, 0]
            return {"pooled": pooled, "unit": torch.nn.functional.normalize(pooled, dim=1)}

    openvino = import_openvino()
    with torch.no_grad():
        graph = openvino.convert_model(
            Pooled(),
            example_input={"input_ids": torch.arange(4, 18).reshape(2, 7)},
            input=[openvino.PartialShape([-1, -1])],
        )
    graph.set_friendly_name("encoder")
    openvino.save_model(graph, str(target / GRAPH), compress_to_fp16=False)
