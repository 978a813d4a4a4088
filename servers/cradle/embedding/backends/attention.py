"""Attention inside each text of a packed batch: one kernel on CUDA, groups of equal lengths on a CPU."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""Query, key and value, each [tokens, heads, width] → [tokens, heads, width]."""


def over_packed(starts: torch.Tensor, longest: int) -> Attend:
    """For CUDA. One split over the keys, so that a text's result does not depend on how full the device is.

    Args:
        starts: int32 [texts + 1], where each text begins, and the end.
    """
    from torch.nn.attention.varlen import varlen_attn

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        found = varlen_attn(query, key, value, starts, starts, longest, longest, num_splits=1)
        assert isinstance(found, torch.Tensor)  # noqa: S101  # a tuple only with `return_aux`
        return found

    return attend


def over_groups(lengths: torch.Tensor, starts: torch.Tensor) -> Attend:
    """For a CPU. Texts of one length make one call."""
    order = lengths.argsort(stable=True)
    sizes, counts = lengths[order].unique_consecutive(return_counts=True)
    groups = [
        (starts[texts][:, None] + torch.arange(size))
        for size, texts in zip(sizes.tolist(), order.split(counts.tolist()), strict=True)
    ]

    def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        result = torch.empty_like(query)
        for rows in groups:
            of_query, of_key, of_value = (part[rows].transpose(1, 2) for part in (query, key, value))
            result[rows] = functional.scaled_dot_product_attention(of_query, of_key, of_value).transpose(1, 2)
        return result

    return attend
