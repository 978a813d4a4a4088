"""Any model that sentence-transformers can load, with torch in this process: for architectures that do not export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from servers.cradle.embedding.backends.base import EqualLengths

if TYPE_CHECKING:
    from shared.encoder import Ids, Vectors


class SentenceTransformersBackend(EqualLengths):
    """A model of safetensors, from its folder alone: the network is off and no code of the model runs."""

    name = "sentence-transformers"

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self._torch: Any = torch
        self._device = device
        model = SentenceTransformer(
            str(folder),
            device=device,
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
        )
        self._modules = [each for each in model.eval() if type(each).__name__ != "Normalize"]

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        """As `shared.encoder.Graph.run`."""
        torch = self._torch
        with torch.inference_mode():
            tensor = torch.from_numpy(ids).to(self._device)
            features: dict[str, Any] = {"input_ids": tensor, "attention_mask": torch.ones_like(tensor)}
            for module in self._modules:
                features = module(features)
            pooled = features["sentence_embedding"].float()
            unit = torch.nn.functional.normalize(pooled, dim=1)
            return pooled.cpu().numpy(), unit.cpu().numpy()
