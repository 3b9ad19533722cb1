"""Stand-in for the attention kernel that users choose on ComfyUI's command line."""

import torch.nn.functional as F

calls = 0


def optimized_attention(q, k, v, heads, mask=None, **_):
    global calls
    calls += 1
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
