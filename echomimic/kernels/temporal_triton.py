"""The Triton side of `temporal_kernel`: attention along time over the frames of a window, every pixel on its own.

Imported only where triton is. A program takes one head of a few pixels, reads their queries, keys and values once from
where the projections left them and writes the result once: no transposes, and nothing of the scores leaves the chip.

Checked in Triton's interpreter and compiled for NVIDIA's and AMD's architectures; never run or timed on a GPU, none was
at hand. PROGRAM_NUMBERS and BYTES_A_WARP are the largest that the compiler keeps in registers, not what measured best.
"""

from __future__ import annotations

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

# A program holds about so many queries, and as many keys and values: what a few warps keep in registers.
PROGRAM_NUMBERS = 4096
BYTES_A_WARP = 2048
# Triton's matrix products have no smaller side.
LEAST_SIDE = 16


@triton.jit
def mix_along_time(  # type: ignore[no-untyped-def]  # triton takes annotations for code
    query,
    key,
    value,
    mixed,
    query_batch,  # strides, in numbers
    query_frame,
    query_pixel,
    key_batch,
    key_frame,
    key_pixel,
    value_batch,
    value_frame,
    value_pixel,
    batch,
    frames,
    pixels,
    scale,
    heads: tl.constexpr,
    size: tl.constexpr,
    PIXELS: tl.constexpr,
    FRAMES: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """`mixed = softmax(scale * ln 2 * query key^T) value`; `mixed [B, F, N, C]` is contiguous."""
    program = tl.program_id(0)
    # Heads of the same pixels run side by side: they share cache lines where a head is no multiple of a line.
    head = program % heads
    index = (program // heads) * PIXELS + tl.arange(0, PIXELS)[:, None, None]
    entry = (index // pixels).to(tl.int64)  # of the batch; products with strides can exceed 32 bits
    pixel = (index % pixels).to(tl.int64)
    frame = tl.arange(0, FRAMES)[None, :, None].to(tl.int64)
    channel = tl.arange(0, CHANNELS)[None, None, :]
    within = (index < batch * pixels) & (frame < frames) & (channel < size)
    channel += head * size

    queries = entry * query_batch + frame * query_frame + pixel * query_pixel + channel
    keys = entry * key_batch + frame * key_frame + pixel * key_pixel + channel
    values = entry * value_batch + frame * value_frame + pixel * value_pixel + channel
    q = tl.load(query + queries, mask=within, other=0.0)  # [PIXELS, FRAMES, CHANNELS]
    k = tl.load(key + keys, mask=within, other=0.0)
    v = tl.load(value + values, mask=within, other=0.0)

    scores = tl.dot(q, tl.permute(k, (0, 2, 1)), input_precision="ieee") * scale  # [PIXELS, FRAMES, FRAMES]
    seen = tl.arange(0, FRAMES)[None, None, :] < frames
    scores = tl.where(seen, scores, float("-inf"))
    weights = tl.exp2(scores - tl.max(scores, 2)[:, :, None])
    total = tl.sum(weights, 2)[:, :, None]
    result = tl.dot(weights.to(v.dtype), v, input_precision="ieee") / total

    places = ((entry * frames + frame) * pixels + pixel) * (heads * size) + channel
    tl.store(mixed + places, result.to(mixed.dtype.element_ty), mask=within)


def blocks(frames: int, size: int) -> dict[str, int]:
    """How many pixels, frames and channels of a head a program holds: powers of two, the last two with padding."""
    padded = {
        "FRAMES": max(triton.next_power_of_2(frames), LEAST_SIDE),
        "CHANNELS": max(triton.next_power_of_2(size), LEAST_SIDE),
    }
    return {"PIXELS": max(PROGRAM_NUMBERS // math.prod(padded.values()), 1), **padded}


def warps(block: dict[str, int], element_size: int) -> int:
    """Of how many warps a program is: 4 to 16, a power of two."""
    return math.prod(block.values()) * element_size // BYTES_A_WARP


def launch(query: Tensor, key: Tensor, value: Tensor, mixed: Tensor, heads: int) -> None:
    """Write the attention of `query`, `key` and `value [B, F, N, C]` along F to `mixed [B, F, N, C]`.

    Channels are last in memory in all of them, and `mixed` is contiguous.
    """
    batch, frames, pixels, channels = query.shape
    size = channels // heads
    block = blocks(frames, size)
    grid = (triton.cdiv(batch * pixels, block["PIXELS"]) * heads,)
    strides = [stride for tensor in (query, key, value) for stride in tensor.stride()[:3]]
    scale = size**-0.5 / math.log(2)  # powers of two are what the hardware computes
    # Triton launches on the current device, whatever the tensors' is.
    with torch.cuda.device_of(query):
        mix_along_time[grid](
            *(query, key, value, mixed),
            *strides,
            *(batch, frames, pixels, scale, heads, size),
            **block,
            num_warps=warps(block, query.element_size()),
        )
