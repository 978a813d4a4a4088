"""The weights of BERT and XLM-RoBERTa out of safetensors. Nothing else of the folder is read; no code of it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson
import torch

from servers.cradle.embedding.models import OFFSET_POSITIONS, is_packable

Pair = tuple[torch.Tensor, torch.Tensor]
"""Weight and bias."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer; query, key and value in one matrix."""

    qkv: Pair
    out: Pair
    norm: Pair
    up: Pair
    down: Pair
    last_norm: Pair


@dataclass(frozen=True, slots=True)
class Weights:
    """A model.

    Args:
        kind: the embedding of token type 0, which every token has.
        first_place: row of `places` of a text's first token.
    """

    words: torch.Tensor
    places: torch.Tensor
    kind: torch.Tensor
    norm: Pair
    layers: list[Layer]
    heads: int
    epsilon: float
    first_place: int


def read_weights(folder: Path, device: torch.device, dtype: torch.dtype) -> Weights:
    """The weights, on the device.

    Raises:
        ValueError: the model is of another architecture.
        KeyError: a tensor is missing.
    """
    config = orjson.loads((folder / "config.json").read_bytes())
    if not is_packable(config):
        raise ValueError("not a BERT or XLM-RoBERTa encoder")
    found = _Tensors(folder, device, dtype)
    offset = int(config["pad_token_id"]) + 1 if config["model_type"] in OFFSET_POSITIONS else 0
    return Weights(
        words=found["embeddings.word_embeddings.weight"],
        places=found["embeddings.position_embeddings.weight"],
        kind=found["embeddings.token_type_embeddings.weight"][0],
        norm=found.pair("embeddings.LayerNorm"),
        layers=[found.layer(f"encoder.layer.{at}") for at in range(int(config["num_hidden_layers"]))],
        heads=int(config["num_attention_heads"]),
        epsilon=float(config["layer_norm_eps"]),
        first_place=offset,
    )


class _Tensors:
    """The tensors of every safetensors file in a folder, with or without the name of the model before theirs."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype) -> None:
        from safetensors.torch import load_file

        self._dtype = dtype
        self._found: dict[str, torch.Tensor] = {}
        for file in sorted(folder.glob("*.safetensors")):
            for name, tensor in load_file(file, device=str(device)).items():
                self._found[name.removeprefix("bert.").removeprefix("roberta.")] = tensor

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._found.pop(name).to(self._dtype).contiguous()

    def pair(self, name: str) -> Pair:
        return self[name + ".weight"], self[name + ".bias"]

    def layer(self, name: str) -> Layer:
        parts = [self.pair(f"{name}.attention.self.{each}") for each in ("query", "key", "value")]
        return Layer(
            qkv=(torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])),
            out=self.pair(f"{name}.attention.output.dense"),
            norm=self.pair(f"{name}.attention.output.LayerNorm"),
            up=self.pair(f"{name}.intermediate.dense"),
            down=self.pair(f"{name}.output.dense"),
            last_norm=self.pair(f"{name}.output.LayerNorm"),
        )
