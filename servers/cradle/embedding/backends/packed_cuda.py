"""The packed encoder on a GPU: bfloat16, two batches in flight, and CUDA graphs, so that the GPU never waits for
Python, which needs some 6 ms to launch the kernels of 24 layers one by one: as long as they take for 4,000 tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch.nn import functional

from servers.cradle.embedding.backends.attention import Attend, over_packed
from servers.cradle.embedding.backends.base import CUDA_SIZES
from servers.cradle.embedding.backends.packed import Encoder, PackedBackend
from servers.cradle.embedding.backends.weights import Weights, biases_moved, read_weights

if TYPE_CHECKING:
    import numpy as np

    from servers.cradle.embedding.backends.base import Pending
    from shared.encoder import Ids


class CudaBackend(PackedBackend):
    """The encoder on one GPU.

    Args:
        device: `cuda:0`.
    """

    in_flight = 2

    def __init__(self, folder: Path, device: str, pooling: Literal["mean", "cls"]) -> None:
        self._device, self._mean = torch.device(device), pooling == "mean"
        torch.cuda.set_device(self._device)  # Triton launches on the thread's device, events are of its stream
        weights = biases_moved(read_weights(folder, self._device, torch.bfloat16))
        kernels, self.lacks = own_kernels(weights)
        self._kernels = kernels
        self._encoder = Encoder(weights, kernels.layer_norm, kernels.gelu_) if kernels else Encoder(weights)
        self._graphs = self._captured() if kernels else []

    @torch.inference_mode()
    def start(self, ids: Ids, lengths: Ids) -> Pending:
        """See `Backend.start`."""
        try:
            pooled = self._pooled(torch.from_numpy(ids), torch.from_numpy(lengths))
            return _copied(torch.stack((pooled, functional.normalize(pooled, dim=1))))
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            raise

    def _pooled(self, ids: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """[n, hidden] in float32."""
        ends = lengths.cumsum(0)
        starts = ends - lengths
        inputs = torch.stack((ids, starts.repeat_interleave(lengths), ends.repeat_interleave(lengths)))
        firsts, sizes = self._sent(torch.stack((starts, lengths)))
        graph = next((each for each in self._graphs if each.size >= len(ids)), None)
        if graph is not None:
            hidden = graph.run(inputs)
        elif self._kernels:
            hidden = self._encoded(self._sent(inputs))
        else:
            packed = over_packed(functional.pad(sizes.cumsum(0), (1, 0)).int(), int(lengths.max()))
            hidden = self._with(self._sent(inputs), packed)
        if not self._mean:
            return hidden[firsts].float()
        # A product adds up in float32 on the matrix units; in `segment_reduce` one thread adds up a column.
        at = torch.arange(len(ids), device=self._device)
        own = (at >= firsts[:, None]) & (at < (firsts + sizes)[:, None])
        summed: torch.Tensor = torch.ops.aten.mm.dtype(own.to(hidden.dtype), hidden, torch.float32)
        return summed / sizes[:, None]

    def _sent(self, host: torch.Tensor) -> torch.Tensor:
        """From pinned memory, so that the host does not wait: the batch before this one may still be computed."""
        return host.pin_memory().to(self._device, non_blocking=True)

    def _encoded(self, inputs: torch.Tensor) -> torch.Tensor:
        assert self._kernels is not None  # noqa: S101  # asked before
        attention, (_, firsts, ends) = self._kernels.attention, inputs
        return self._with(inputs, lambda qkv: attention(qkv, firsts, ends))

    def _with(self, inputs: torch.Tensor, attend: Attend) -> torch.Tensor:
        ids, firsts, _ = inputs
        return self._encoder.run(ids, torch.arange(len(ids), device=self._device) - firsts, attend)

    @torch.inference_mode()
    def _captured(self) -> list[CapturedGraph]:
        """The graphs, smallest first. Recorded with the model, so that no caller waits for that; they share memory,
        since none is launched before the one before it has been read."""
        pool, stream = torch.cuda.graph_pool_handle(), torch.cuda.Stream(self._device)
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            graphs = [CapturedGraph(self._encoded, size, self._device, pool) for size in CUDA_SIZES]
        torch.cuda.current_stream(self._device).wait_stream(stream)
        return graphs


class CapturedGraph:
    """The kernels of one batch size, recorded once on the stream of the moment and launched together.

    What is left of `size` tokens are texts of one token each. The result is overwritten by the next run of any graph,
    which the device does after whatever reads it.

    Args:
        encoded: the last hidden states of ids, their texts' beginnings and ends, [3, size].
        pool: of memory, as `torch.cuda.graph_pool_handle`.
    """

    def __init__(
        self, encoded: Callable[[torch.Tensor], torch.Tensor], size: int, device: torch.device, pool: Any
    ) -> None:
        self.size = size
        at = torch.arange(size)
        self._alone = torch.stack((torch.zeros_like(at), at, at + 1))
        self._inputs = self._alone.to(device)
        for _ in range(2):  # libraries choose their kernels and make room before the recording
            encoded(self._inputs)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, stream=torch.cuda.current_stream(device)):
            self._hidden = encoded(self._inputs)

    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """The last hidden state of each of the ids; the argument is on the host."""
        tokens = inputs.shape[1]
        filled = torch.empty(self._alone.shape, dtype=torch.int64, pin_memory=True)
        filled[:, :tokens] = inputs
        filled[:, tokens:] = self._alone[:, tokens:]
        self._inputs.copy_(filled, non_blocking=True)
        self._graph.replay()
        return self._hidden[:tokens]


def own_kernels(weights: Weights) -> tuple[ModuleType | None, str]:
    """The module of kernels; or None, and what keeps it from being used for a model on its device."""
    try:
        from servers.cradle.embedding.backends import kernels

        kernels.attempt(weights)
    except Exception as error:  # noqa: BLE001  # whatever Triton, its compiler, the C compiler and the driver raise
        return None, f"triton: {type(error).__name__}"
    return kernels, ""


def _copied(both: torch.Tensor) -> Pending:
    """The copy to the host runs beside the next batch's work; what is returned waits for this copy alone."""
    target = torch.empty(both.shape, dtype=both.dtype, pin_memory=True)
    target.copy_(both, non_blocking=True)
    done = torch.cuda.Event()
    done.record(torch.cuda.current_stream(both.device))

    def wait() -> tuple[np.ndarray, np.ndarray]:
        done.synchronize()
        return target[0].numpy(), target[1].numpy()

    return wait
