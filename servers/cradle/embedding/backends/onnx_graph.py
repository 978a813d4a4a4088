"""The own encoder's arithmetic as an ONNX graph: BERT and XLM-RoBERTa, texts of equal length → pooled vectors, and the
same at length 1. Runs in the child process that exports a model.

It is written node by node and not traced: a trace of transformers' code holds the example's length in its positions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import torch

from servers.cradle.embedding.backends.weights import Layer, Pair, Weights, read_weights
from shared.encoder import ModelCard

GRAPH, DATA = "model.onnx", "model.bin"
OPSET, FORMAT_VERSION = 20, 10
ALIGNED = 4096
"""Bytes; what lies in its own file is mapped into memory at such places."""


def convert(source: Path, target: Path, card: ModelCard) -> None:
    """Writes `model.onnx` and its weights, fp32. The same source gives the same bytes."""
    weights = read_weights(source, torch.device("cpu"), torch.float32)
    with (target / DATA).open("wb") as data:
        graph = _Graph(data)
        hidden = _embedded(graph, weights)
        for layer in weights.layers:
            hidden = _layer(graph, hidden, layer, weights)
        _pooled(graph, hidden, card.pooling)
    (target / GRAPH).write_bytes(graph.model(card.dimension).SerializeToString(deterministic=True))


class _Graph:
    """Nodes and constants in the order in which they are asked for."""

    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def node(self, kind: str, *inputs: str, named: str = "", **attributes: Any) -> str:
        """The name of the result of an operator."""
        from onnx import helper

        name = named or f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def split(self, value: str, parts: int, axis: int) -> list[str]:
        """The names of equal parts of a value."""
        from onnx import helper

        names = [f"Split_{len(self._nodes)}_{at}" for at in range(parts)]
        self._nodes.append(helper.make_node("Split", [value], names, axis=axis, num_outputs=parts))
        return names

    def numbers(self, *values: float, kind: str = "INT64", shape: tuple[int, ...] | None = None) -> str:
        """A small constant in the graph itself."""
        from onnx import TensorProto, helper

        name = f"constant_{len(self._constants)}"
        place = shape if shape is not None else (len(values),)
        self._constants.append(helper.make_tensor(name, getattr(TensorProto, kind), place, values))
        return name

    def weight(self, tensor: torch.Tensor) -> str:
        """A large constant in the file beside it."""
        from onnx import TensorProto

        raw = tensor.contiguous().numpy().tobytes()
        self._data.write(b"\0" * (-self._data.tell() % ALIGNED))
        told = TensorProto(name=f"constant_{len(self._constants)}", data_type=TensorProto.FLOAT, dims=tensor.shape)
        told.data_location = TensorProto.EXTERNAL
        for key, value in (("location", DATA), ("offset", self._data.tell()), ("length", len(raw))):
            told.external_data.add(key=key, value=str(value))
        self._data.write(raw)
        self._constants.append(told)
        return told.name

    def linear(self, value: str, pair: Pair) -> str:
        weight, bias = pair
        return self.node("Add", self.node("MatMul", value, self.weight(weight.T)), self.weight(bias))

    def normed(self, value: str, pair: Pair, epsilon: float) -> str:
        weight, bias = (self.weight(each) for each in pair)
        return self.node("LayerNormalization", value, weight, bias, axis=-1, epsilon=epsilon)

    def model(self, dimension: int) -> Any:
        from onnx import TensorProto, helper

        ids = helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["texts", "tokens"])
        vectors = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["texts", dimension]) for name in ("pooled", "unit")
        ]
        graph = helper.make_graph(self._nodes, "encoder", [ids], vectors, self._constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=FORMAT_VERSION, producer_name=""
        )


def _embedded(graph: _Graph, weights: Weights) -> str:
    words = graph.node("Gather", graph.weight(weights.words), "input_ids")
    tokens = graph.node("Shape", "input_ids", start=1, end=2)
    places = graph.node("Slice", graph.weight(weights.places[weights.first_place :]), graph.numbers(0), tokens)
    both = graph.node("Add", graph.node("Add", words, places), graph.weight(weights.kind))
    return graph.normed(both, weights.norm, weights.epsilon)


def _layer(graph: _Graph, hidden: str, layer: Layer, weights: Weights) -> str:
    mixed = graph.linear(_attention(graph, hidden, layer, weights.heads), layer.out)
    hidden = graph.normed(graph.node("Add", hidden, mixed), layer.norm, weights.epsilon)
    inner = graph.node("Gelu", graph.linear(hidden, layer.up))
    outer = graph.linear(inner, layer.down)
    return graph.normed(graph.node("Add", hidden, outer), layer.last_norm, weights.epsilon)


def _attention(graph: _Graph, hidden: str, layer: Layer, heads: int) -> str:
    width = layer.out[0].shape[0] // heads
    apart = graph.numbers(0, 0, heads, width)
    query, key, value = (
        graph.node("Reshape", part, apart) for part in graph.split(graph.linear(hidden, layer.qkv), 3, axis=2)
    )
    query = graph.node("Transpose", query, perm=[0, 2, 1, 3])
    key = graph.node("Transpose", key, perm=[0, 2, 3, 1])
    value = graph.node("Transpose", value, perm=[0, 2, 1, 3])
    scores = graph.node("Mul", graph.node("MatMul", query, key), graph.numbers(width**-0.5, kind="FLOAT", shape=()))
    mixed = graph.node("MatMul", graph.node("Softmax", scores, axis=-1), value)
    together = graph.node("Transpose", mixed, perm=[0, 2, 1, 3])
    return graph.node("Reshape", together, graph.numbers(0, 0, heads * width))


def _pooled(graph: _Graph, hidden: str, pooling: str) -> None:
    if pooling == "mean":
        pooled = graph.node("ReduceMean", hidden, graph.numbers(1), named="pooled", keepdims=0)
    else:
        pooled = graph.node("Gather", hidden, graph.numbers(0, shape=()), named="pooled", axis=1)
    length = graph.node("ReduceL2", pooled, graph.numbers(1), keepdims=1)
    least = graph.node("Max", length, graph.numbers(1e-12, kind="FLOAT", shape=()))
    graph.node("Div", pooled, least, named="unit")
