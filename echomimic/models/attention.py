"""The attention function that networks use unless a host or a kernel supplies another."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

# (query [B, N, heads*d], key [B, M, heads*d], value [B, M, heads*d], heads) -> [B, N, heads*d]
AttentionFunction = Callable[[Tensor, Tensor, Tensor, int], Tensor]

# CUDA's kernels index batch entries along an axis of at most 65535; motion modules have an entry for every pixel.
MAX_ROWS = 32768


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Softmax attention by torch's own kernels.

    Args:
        query: `[B, N, heads * d]`.
        key, value: `[B, M, heads * d]`.
        heads: number of heads.

    Returns:
        `[B, N, heads * d]`.
    """
    if len(query) > MAX_ROWS:
        parts = zip(*(x.split(MAX_ROWS) for x in (query, key, value)))
        return torch.cat([scaled_dot_product_attention(q, k, v, heads) for q, k, v in parts])
    if query.requires_grad and query.dtype == torch.bfloat16 and query.device.type == "cpu":
        # The CPU kernel's backward pass takes two to five times as long in bfloat16 as in float32 (torch 2.13).
        result = scaled_dot_product_attention(query.float(), key.float(), value.float(), heads)
        return result.to(query.dtype)
    query, key, value = (split_heads(x, heads) for x in (query, key, value))
    return merge_heads(F.scaled_dot_product_attention(query, key, value))


def split_heads(tokens: Tensor, heads: int) -> Tensor:
    """`[B, N, heads * d]` -> `[B, heads, N, d]`."""
    return tokens.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(tokens: Tensor) -> Tensor:
    """`[B, heads, N, d]` -> `[B, N, heads * d]`."""
    return tokens.transpose(1, 2).flatten(2)
