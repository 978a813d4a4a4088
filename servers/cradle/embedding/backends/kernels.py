"""Kernels for CUDA in Triton, which comes with torch there: attention inside each text of a packed batch, LayerNorm and
exact GELU. The shapes of all three depend on the number of tokens alone, so that a CUDA graph can hold them.

Triton builds a small launcher with the machine's C compiler once; `attempt` tells whether it can.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportMissingParameterType=false
# pyright: reportUntypedFunctionDecorator=false, reportIndexIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl

from servers.cradle.embedding.backends.weights import Weights

ROWS, KEYS, WARPS, STAGES = 64, 64, 4, 3
"""Queries of a program, keys that it reads at once, and how it is run: the best of those tried on an H200."""
NORM_ROWS, GELU_BLOCK = 4, 4096
BASE_2 = 1.4426950408889634  # log2(e): the exponential is taken to base 2
NOTHING = tl.constexpr(-1.0e30)
"""A weight before its exponential: not infinite, since the difference of two infinities is no number."""


def attempt(weights: Weights) -> None:
    """Builds and runs each kernel once in the sizes of a model.

    Raises:
        Exception: it cannot be built or run here.
    """
    scale, move = weights.norm
    hidden = torch.zeros(1, len(scale), device=scale.device, dtype=scale.dtype)
    place = torch.zeros(1, device=scale.device, dtype=torch.int64)
    attention(hidden.repeat(1, 3).view(1, 3, weights.heads, -1), place, place + 1)
    layer_norm(hidden, scale, move, weights.epsilon)
    gelu_(hidden)
    torch.cuda.synchronize(scale.device)


def attention(qkv: torch.Tensor, firsts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """What each token attends to within its own text.

    Args:
        qkv: [tokens, 3, heads, width], the texts one behind the other.
        firsts: [tokens], where each token's text begins.
        ends: [tokens], where it ends.

    Returns:
        [tokens, heads × width].
    """
    tokens, _, heads, width = qkv.shape
    mixed = torch.empty(tokens, heads * width, device=qkv.device, dtype=qkv.dtype)
    columns = max(16, triton.next_power_of_2(width))
    _attention[(triton.cdiv(tokens, ROWS), heads)](
        qkv,
        firsts,
        ends,
        mixed,
        tokens,
        BASE_2 / width**0.5,
        heads,
        width,
        columns,
        ROWS,
        KEYS,
        num_warps=WARPS,
        num_stages=STAGES,
    )
    return mixed


def layer_norm(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, epsilon: float) -> torch.Tensor:
    """[tokens, width], each row brought to mean 0 and variance 1, then scaled and moved."""
    tokens, width = hidden.shape
    normed = torch.empty_like(hidden)
    columns = triton.next_power_of_2(width)
    _layer_norm[(triton.cdiv(tokens, NORM_ROWS),)](
        hidden, weight, bias, normed, tokens, epsilon, width, columns, NORM_ROWS, num_warps=NORM_ROWS
    )
    return normed


def gelu_(inner: torch.Tensor) -> torch.Tensor:
    """x × Φ(x), in place; Φ by formula 7.1.26 of Abramowitz and Stegun, off by less than 1.5e-7."""
    count = inner.numel()
    _gelu[(triton.cdiv(count, GELU_BLOCK),)](inner, count, GELU_BLOCK, num_warps=8)
    return inner


@triton.jit
def _attention(
    qkv,
    firsts,
    ends,
    mixed,
    tokens,
    scale,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
):
    """Some rows of one head: their texts lie between the first row's beginning and the last row's end."""
    head, top = tl.program_id(1), tl.program_id(0) * ROWS
    row, column = tl.arange(0, ROWS), tl.arange(0, COLUMNS)
    there, wide = top + row < tokens, column < WIDTH
    first = tl.load(firsts + top + row, mask=there, other=0).to(tl.int32)
    end = tl.load(ends + top + row, mask=there, other=0).to(tl.int32)
    stride: tl.constexpr = 3 * HEADS * WIDTH
    base = qkv + head * WIDTH + column[None, :]
    mask = there[:, None] & wide[None, :]
    query = tl.load(base + top.to(tl.int64) * stride + row[:, None] * stride, mask=mask, other=0.0)
    highest = tl.full([ROWS], NOTHING, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    found = tl.zeros([ROWS, COLUMNS], tl.float32)
    begin = tl.load(firsts + top).to(tl.int32)
    last = tl.load(ends + tl.minimum(top + ROWS, tokens) - 1).to(tl.int32)
    for start in range(begin, last, KEYS):
        at = start + tl.arange(0, KEYS)
        near = (at < last)[:, None] & wide[None, :]
        rows = base + at.to(tl.int64)[:, None] * stride
        key = tl.load(rows + HEADS * WIDTH, mask=near, other=0.0)
        value = tl.load(rows + 2 * HEADS * WIDTH, mask=near, other=0.0)
        own = (at[None, :] >= first[:, None]) & (at[None, :] < end[:, None])
        weights = tl.where(own, tl.dot(query, tl.trans(key)) * scale, NOTHING)
        higher = tl.maximum(highest, tl.max(weights, 1))
        weights = tl.exp2(weights - higher[:, None])
        shrunk = tl.exp2(highest - higher)
        total = total * shrunk + tl.sum(weights, 1)
        found = found * shrunk[:, None] + tl.dot(weights.to(value.dtype), value)
        highest = higher
    result = (found / total[:, None]).to(mixed.dtype.element_ty)
    place = mixed + head * WIDTH + column[None, :] + top.to(tl.int64) * (HEADS * WIDTH) + row[:, None] * (HEADS * WIDTH)
    tl.store(place, result, mask=mask)


@triton.jit
def _layer_norm(
    hidden,
    weight,
    bias,
    normed,
    tokens,
    epsilon,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    column = tl.arange(0, COLUMNS)
    wide = column < WIDTH
    place = row.to(tl.int64)[:, None] * WIDTH + column[None, :]
    mask = (row < tokens)[:, None] & wide[None, :]
    x = tl.load(hidden + place, mask=mask, other=0.0).to(tl.float32)
    mean = tl.sum(x, 1) / WIDTH
    away = tl.where(wide[None, :], x - mean[:, None], 0.0)
    spread = 1.0 / tl.sqrt(tl.sum(away * away, 1) / WIDTH + epsilon)
    scale = tl.load(weight + column, mask=wide, other=0.0).to(tl.float32)
    move = tl.load(bias + column, mask=wide, other=0.0).to(tl.float32)
    result = away * spread[:, None] * scale[None, :] + move[None, :]
    tl.store(normed + place, result.to(normed.dtype.element_ty), mask=mask)


@triton.jit
def _gelu(inner, count, BLOCK: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(inner + place, mask=place < count, other=0.0).to(tl.float32)
    u = tl.abs(x) * 0.7071067811865476
    t = 1.0 / (1.0 + 0.3275911 * u)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * tail * tl.exp2(u * u * -1.4426950408889634)  # 1 − Φ(|x|)
    result = x * tl.where(x > 0, 1.0 - tail, tail)
    tl.store(inner + place, result.to(inner.dtype.element_ty), mask=place < count)
