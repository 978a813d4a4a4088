"""An own encoder for BERT and XLM-RoBERTa: texts lie one behind the other, and no token is ever padding.

Everything but attention looks at one token at a time, so a batch of any lengths is one matrix [tokens, hidden]. On CUDA
attention runs over the whole batch at once (`torch.nn.attention.varlen`, weights in bfloat16); on a CPU it runs over
each group of equal lengths, in float32. GELU is the exact one; pooling and length 1 are float32 on both.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import functional

from servers.cradle.embedding.backends.attention import Attend, over_groups, over_packed
from servers.cradle.embedding.backends.weights import Layer, Weights, read_weights
from shared.encoder import same_alone

if TYPE_CHECKING:
    import numpy as np

    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids, Vectors

GRAPH_TOKENS = (64, 128, 256, 512, 1024, 2048)
"""Sizes for which CUDA graphs are kept: below about 3,000 tokens launching the kernels takes longer than they do."""
GRAPH_TEXTS = 64


class PackedBackend:
    """The encoder on one device.

    Args:
        folder: the model's files: `config.json` and safetensors.
        device: `cpu` or `cuda:0`.
    """

    name = "packed"
    mixed = True

    def __init__(self, folder: Path, device: str = "cpu", pooling: Literal["mean", "cls"] = "mean") -> None:
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        self.in_flight = 2 if self._cuda else 1
        dtype = torch.bfloat16 if self._cuda else torch.float32
        self._weights: Weights = read_weights(folder, self._device, dtype)
        self._mean = pooling == "mean"
        self._graphs: dict[int, CapturedGraph] = {}

    @torch.inference_mode()
    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """See `Backend.start`."""
        try:
            pooled = self._pooled(torch.from_numpy(ids), torch.from_numpy(lengths))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise
        return self._copied(torch.stack((pooled, functional.normalize(pooled, dim=1))))

    def run(self, ids: Ids) -> tuple[Vectors, Vectors]:
        """As `shared.encoder.Graph.run`: texts of equal length."""
        import numpy as np

        return self.start(ids.reshape(-1), np.full(len(ids), ids.shape[1], np.int64))()

    def batched_equals_alone(self) -> bool:
        """See `Backend.batched_equals_alone`; matrix products of another size may round otherwise."""
        return same_alone(self.run)

    def _copied(self, both: torch.Tensor) -> Pending:
        """The copy to the host runs beside the next batch's work; what is returned waits for this copy alone."""
        if not self._cuda:
            return lambda: (both[0].numpy(), both[1].numpy())
        target = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
        target.copy_(both, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def wait() -> tuple[np.ndarray, np.ndarray]:
            done.synchronize()
            return target[0].numpy(), target[1].numpy()

        return wait

    def _pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """[n, hidden] in float32."""
        starts = functional.pad(lengths.cumsum(0), (1, 0))
        positions = torch.arange(len(ids)) - starts[:-1].repeat_interleave(lengths)
        if self._cuda:
            longest = int(lengths.max())
            # From pinned memory, so that the host does not wait: the batch before this one may still be computed.
            ids, lengths, starts, positions = (
                each.pin_memory().to(self._device, non_blocking=True) for each in (ids, lengths, starts, positions)
            )
            hidden = self._on_cuda(ids, positions, starts, longest)
        else:
            hidden = self._encoded(ids, positions, over_groups(lengths, starts))
        if not self._mean:
            return hidden[starts[:-1]].float()
        return torch.segment_reduce(hidden.float(), "mean", lengths=lengths, axis=0, unsafe=True)

    def _on_cuda(self, ids: torch.Tensor, positions: torch.Tensor, starts: torch.Tensor, longest: int) -> torch.Tensor:
        size = next((each for each in GRAPH_TOKENS if each >= len(ids)), None)
        if size is not None and len(starts) <= GRAPH_TEXTS + 1:
            return self._graph(size).run(ids, positions, starts)
        return self._encoded(ids, positions, over_packed(starts.int(), longest))

    def _graph(self, size: int) -> CapturedGraph:
        if size not in self._graphs:
            self._graphs[size] = CapturedGraph(self._encoded, size, self._device)
        return self._graphs[size]

    def _encoded(self, ids: torch.Tensor, positions: torch.Tensor, attend: Attend) -> torch.Tensor:
        """The last hidden state of every token, [tokens, hidden]."""
        weights = self._weights
        hidden = weights.words[ids] + weights.places[positions + weights.first_place] + weights.kind
        hidden = _normed(hidden, weights.norm, weights.epsilon)
        for layer in weights.layers:
            hidden = self._layer(hidden, layer, attend)
        return hidden

    def _layer(self, hidden: torch.Tensor, layer: Layer, attend: Attend) -> torch.Tensor:
        heads, epsilon = self._weights.heads, self._weights.epsilon
        query, key, value = functional.linear(hidden, *layer.qkv).view(len(hidden), 3, heads, -1).unbind(1)
        mixed = attend(query, key, value).reshape(hidden.shape)
        hidden = _normed(hidden + functional.linear(mixed, *layer.out), layer.norm, epsilon)
        inner = functional.gelu(functional.linear(hidden, *layer.up))
        return _normed(hidden + functional.linear(inner, *layer.down), layer.last_norm, epsilon)


class CapturedGraph:
    """The kernels of one batch size, recorded once and launched together.

    Shapes are fixed: what is left of `size` tokens is one more text of token 0, and texts that are not there have no
    length. Its result is overwritten by the next run, which the device does after whatever reads it.
    """

    def __init__(self, encoded: Any, size: int, device: torch.device) -> None:
        self._size = size
        self._ids = torch.zeros(size, dtype=torch.int64, device=device)
        self._positions = torch.zeros(size, dtype=torch.int64, device=device)
        self._starts = torch.full((GRAPH_TEXTS + 2,), size, dtype=torch.int32, device=device)
        self._starts[0] = 0
        attend = over_packed(self._starts, size)
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            for _ in range(2):  # libraries choose their kernels and make room before the recording
                encoded(self._ids, self._positions, attend)
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._hidden = encoded(self._ids, self._positions, attend)

    def run(self, ids: torch.Tensor, positions: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """The last hidden state of each of the ids."""
        tokens = len(ids)
        self._ids[:tokens] = ids
        self._ids[tokens:] = 0
        self._positions[:tokens] = positions
        self._positions[tokens:] = 0
        self._starts[: len(starts)] = starts
        self._starts[len(starts) :] = self._size
        self._graph.replay()
        return self._hidden[:tokens]


def _normed(hidden: torch.Tensor, norm: tuple[torch.Tensor, torch.Tensor], epsilon: float) -> torch.Tensor:
    return functional.layer_norm(hidden, hidden.shape[-1:], *norm, epsilon)
