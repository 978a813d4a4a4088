"""A stand-in for the package flash-attn, which has no wheels: its functions over torch's own FlashAttention 2 kernel.

Without it sentence-transformers neither uses FlashAttention nor leaves padding away. Only what a forward pass calls.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

VERSION = "2.8.3"
MODULE = """
import torch

def flash_attn_varlen_func(
    q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k,
    dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), deterministic=False,
):
    return torch.ops.aten._flash_attention_forward(
        q, k, v, cu_seqlens_q.int(), cu_seqlens_k.int(), int(max_seqlen_q), int(max_seqlen_k), 0.0, causal, False,
        scale=softmax_scale,
    )[0]

def flash_attn_func(
    q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, window_size=(-1, -1), deterministic=False
):
    return torch.ops.aten._flash_attention_forward(
        q, k, v, None, None, q.shape[1], k.shape[1], 0.0, causal, False, scale=softmax_scale
    )[0]

def flash_attn_with_kvcache(*arguments, **named):
    raise NotImplementedError
"""
PADDING = """
from transformers.modeling_flash_attention_utils import _pad_input as pad_input, _unpad_input as unpad_input
"""


def put(folder: Path) -> bool:
    """Makes it importable from the folder, before transformers is imported; False: the real one is installed."""
    if importlib.util.find_spec("flash_attn") is not None:
        return False
    package, about = folder / "flash_attn", folder / f"flash_attn-{VERSION}.dist-info"
    for each in (package, about):
        each.mkdir(parents=True)
    (package / "__init__.py").write_text(f"__version__ = {VERSION!r}\n{MODULE}")
    (package / "bert_padding.py").write_text(PADDING)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: flash-attn\nVersion: {VERSION}\n")
    (about / "top_level.txt").write_text("flash_attn\n")
    sys.path.insert(0, str(folder))
    return True
