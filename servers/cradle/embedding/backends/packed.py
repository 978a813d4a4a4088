"""An own encoder for BERT and XLM-RoBERTa: texts lie one behind the other, and no token is ever padding.

Everything but attention looks at one token at a time, so a batch of any lengths is one matrix [tokens, hidden]: in
float32 on a CPU, in bfloat16 on CUDA (`packed_cuda`). GELU is the exact one; pooling and length 1 are float32 on both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch.nn import functional

from servers.cradle.embedding.backends.attention import Attend, over_groups
from servers.cradle.embedding.backends.weights import Layer, Pair, Weights, biases_moved, read_weights
from shared.encoder import same_alone

if TYPE_CHECKING:
    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids, Vectors


Normed = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""Rows, weight, bias and epsilon → the rows after LayerNorm."""


def _layer_norm(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    return functional.layer_norm(hidden, hidden.shape[-1:], weight, bias, epsilon)


class Encoder:
    """The layers.

    Args:
        weights: with their biases moved.
        gelu: may write over what it is given.
    """

    def __init__(
        self,
        weights: Weights,
        normed: Normed = _layer_norm,
        gelu: Callable[[torch.Tensor], torch.Tensor] = functional.gelu,
    ) -> None:
        self._weights, self._norm, self._gelu = weights, normed, gelu

    def run(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """The last hidden state of every token, [tokens, hidden]."""
        weights = self._weights
        hidden = weights.words[ids] + weights.places[positions + weights.first_place] + weights.kind
        hidden = self._normed(hidden, weights.norm)
        for layer in weights.layers:
            hidden = self._layer(hidden, layer, attend)
        return hidden

    def _layer(self, hidden: torch.Tensor, layer: Layer, attend: Attend) -> torch.Tensor:
        qkv = functional.linear(hidden, *layer.qkv).view(len(hidden), 3, self._weights.heads, -1)
        hidden = self._normed(hidden.addmm_(attend(qkv), layer.out[0].t()), layer.norm)
        inner = self._gelu(functional.linear(hidden, *layer.up))
        return self._normed(hidden.addmm_(inner, layer.down[0].t()), layer.last_norm)

    def _normed(self, hidden: torch.Tensor, norm: Pair) -> torch.Tensor:
        return self._norm(hidden, *norm, self._weights.epsilon)


class PackedBackend:
    """The encoder on a CPU.

    Args:
        folder: the model's files: `config.json` and safetensors.
    """

    name, mixed, in_flight, lacks = "packed", True, 1, ""

    def __init__(self, folder: Path, pooling: Literal["mean", "cls"] = "mean") -> None:
        self._encoder = Encoder(biases_moved(read_weights(folder, torch.device("cpu"), torch.float32)))
        self._mean = pooling == "mean"

    @torch.inference_mode()
    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """See `Backend.start`."""
        sizes = torch.from_numpy(lengths)
        starts = functional.pad(sizes.cumsum(0), (1, 0))
        positions = torch.arange(len(ids)) - starts[:-1].repeat_interleave(sizes)
        hidden = self._encoder.run(torch.from_numpy(ids), positions, over_groups(sizes, starts))
        if self._mean:
            pooled = torch.segment_reduce(hidden, "mean", lengths=sizes, axis=0, unsafe=True)
        else:
            pooled = hidden[starts[:-1]]
        unit = functional.normalize(pooled, dim=1)
        return lambda: (pooled.numpy(), unit.numpy())

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        """As `shared.encoder.Graph.run`: texts of equal length."""
        import numpy as np

        return self.start(ids.reshape(-1), np.full(len(ids), ids.shape[1], np.int64))()

    def batched_equals_alone(self) -> bool:
        """See `Backend.batched_equals_alone`; matrix products of another size may round otherwise."""
        return same_alone(self.run)
