"""The weights of BERT and XLM-RoBERTa out of safetensors. Nothing else of the folder is read; no code of it runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
    offset = int(config["pad_token_id"]) + 1 if config["model_type"] in OFFSET_POSITIONS else 0
    with ExitStack() as files:
        found = _Tensors(folder, files, device, dtype)
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


def biases_moved(weights: Weights) -> Weights:
    """The same encoder, in which the biases of `out` and `down` are not to be added any more.

    Each lies in the norm before it, to whose result its product is added; the product that reads that norm has it taken
    off its own bias. So a product is added to what is there while it is computed, with nothing to do afterwards.
    """
    norm, layers = weights.norm, list[Layer]()
    for layer in weights.layers:
        before, qkv = _moved(layer.out[1], norm, layer.qkv)
        between, up = _moved(layer.down[1], layer.norm, layer.up)
        if layers:
            layers[-1] = replace(layers[-1], last_norm=before)
        else:
            weights = replace(weights, norm=before)
        layers.append(replace(layer, qkv=qkv, norm=between, up=up))
        norm = layer.last_norm
    return replace(weights, layers=layers)


def _moved(bias: torch.Tensor, norm: Pair, product: Pair) -> tuple[Pair, Pair]:
    """The norm with the bias in it, and the product that gives what it gave of the norm without."""
    weight, own = product
    return (norm[0], norm[1] + bias), (weight, (own.float() - weight.float() @ bias.float()).to(own.dtype))


class _Tensors:
    """The tensors of every safetensors file in a folder, with or without the name of the model before theirs.

    Each is read when it is asked for: beside the model a device holds one in the file's width, not all of them.
    """

    def __init__(self, folder: Path, files: ExitStack, device: torch.device, dtype: torch.dtype) -> None:
        from safetensors import safe_open

        self._device, self._dtype = device, dtype
        self._files: dict[str, tuple[Any, str]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            file: Any = files.enter_context(safe_open(path, framework="pt"))
            for name in file.keys():  # noqa: SIM118  # a file is no mapping
                self._files[name.removeprefix("bert.").removeprefix("roberta.")] = file, name

    def __getitem__(self, name: str) -> torch.Tensor:
        file, full = self._files[name]
        return file.get_tensor(full).to(self._device).to(self._dtype).contiguous()

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
