"""Attention inside each text of a packed batch: a kernel over all of it on CUDA, groups of equal lengths on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Attend = Callable[[torch.Tensor], torch.Tensor]
"""Query, key and value, [tokens, 3, heads, width] → [tokens, heads × width]."""


def over_packed(starts: torch.Tensor, longest: int) -> Attend:
    """For CUDA where the own kernel cannot be built. One split over the keys, so that a text's result does not depend
    on how full the device is.

    Args:
        starts: int32 [texts + 1], where each text begins, and the end.
    """
    from torch.nn.attention.varlen import varlen_attn

    def attend(qkv: torch.Tensor) -> torch.Tensor:
        query, key, value = qkv.unbind(1)
        found = varlen_attn(query, key, value, starts, starts, longest, longest, num_splits=1)
        assert isinstance(found, torch.Tensor)  # noqa: S101  # a tuple only with `return_aux`
        return found.flatten(1)

    return attend


def over_groups(lengths: torch.Tensor, starts: torch.Tensor) -> Attend:
    """For a CPU. Texts of one length make one call."""
    order = lengths.argsort(stable=True)
    sizes, counts = lengths[order].unique_consecutive(return_counts=True)
    groups = [
        (starts[texts][:, None] + torch.arange(size))
        for size, texts in zip(sizes.tolist(), order.split(counts.tolist()), strict=True)
    ]

    def attend(qkv: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(qkv[:, 0])
        for rows in groups:
            query, key, value = (part[rows].transpose(1, 2) for part in qkv.unbind(1))
            result[rows] = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        return result.flatten(1)

    return attend
