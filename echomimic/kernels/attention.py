"""Attention over a handful of tokens on a CPU: the motion modules' attention along the frames of a window."""

from __future__ import annotations

from torch import Tensor

from ..models import attention as plain
from ..models.attention import merge_heads, split_heads

# Up to so many tokens batched products of small matrices are faster than flash attention, whose blocks are then mostly
# padding.
MAX_TOKENS = 32


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """`echomimic.models.scaled_dot_product_attention`, faster for short sequences on a CPU."""
    if query.device.type == "cpu" and max(query.shape[1], key.shape[1]) <= MAX_TOKENS:
        return merge_heads(short_attention(*(split_heads(x, heads) for x in (query, key, value))))
    return plain.scaled_dot_product_attention(query, key, value, heads)


def short_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """What `F.scaled_dot_product_attention` gives for `[B, heads, n, d]`, as batched products of small matrices."""
    scores = (query @ key.transpose(-1, -2)).mul_(query.shape[-1] ** -0.5)
    return scores.softmax(-1) @ value
