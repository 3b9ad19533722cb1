"""How many bytes sampling and decoding take on a device, and what to do when that is too much."""

from __future__ import annotations

import math

from ..audio.tokens import tokens_per_frame
from ..models.config import MAX_WINDOW, UNetConfig
from ..models.layers import CHUNK_BYTES_ON_DEVICE

# Peak of the denoising UNet's activations, in units of one frame's first level, [h, w, C0] numbers: a share for
# each frame and a constant. Measured by tracking every allocation of a pass (tests/test_runtime_memory.py). It is
# reached either in the widest resnet or in the widest feed-forward, whose inner activations are computed in chunks.
RESNET_UNITS, RESNET_CONSTANT = 13.5, 12
BLOCK_UNITS, BLOCK_CONSTANT, MIDDLE_UNITS = 10, 12, 12
# At its peak the feed-forward holds a chunk of its projection and the gated result: together this many chunks.
MIDDLE_PIECES = 1.75
# A frame's peak in the VAE's decoder, in units of [256, height, width] numbers: its widest layer at full resolution,
# that layer's output, and the residual, measured by tracking every allocation (tests/test_runtime_plan.py).
DECODE_UNITS = 3.2
DECODE_CHANNELS = 256
# Projected audio of the whole clip is kept on the device up to this size: at the published size and half precision a
# frame takes 2.5 MB. A longer clip's tokens are projected a window at a time, 0.03 % of a window's operations.
AUDIO_CACHE_BYTES = 256 * 2**20


def window_bytes(config: UNetConfig, frames: int, height: int, width: int, element_size: int) -> int:
    """Peak bytes of activations in one window, the weights not counted.

    Args:
        config: the networks' size.
        frames: window length.
        height, width: latent size (image / 8).
        element_size: bytes of one number: 2 in half precision, 4 in float32.
    """
    unit = height * width * config.block_out_channels[0] * element_size
    resnet = (RESNET_UNITS * frames + RESNET_CONSTANT) * unit
    middle = min(MIDDLE_UNITS * frames * unit, MIDDLE_PIECES * CHUNK_BYTES_ON_DEVICE)
    return int(max(resnet, (BLOCK_UNITS * frames + BLOCK_CONSTANT) * unit + middle))


def reference_bytes(config: UNetConfig, height: int, width: int, element_size: int) -> int:
    """Keys and values of the reference in every block; height and width are the latents'."""
    total = 0
    for level, (channels, blocks) in enumerate(attention_blocks(config)):
        total += 2 * blocks * math.ceil(height / 2**level) * math.ceil(width / 2**level) * channels
    return total * element_size


def audio_frame_bytes(config: UNetConfig, element_size: int) -> int:
    """Keys and values of one frame's audio tokens in every block."""
    tokens = tokens_per_frame(config.audio_context)
    return sum(2 * blocks * tokens * channels for channels, blocks in attention_blocks(config)) * element_size


def attention_blocks(config: UNetConfig) -> list[tuple[int, int]]:
    """Channels and number of transformer blocks of every level; the lowest one has the middle's only."""
    last = len(config.block_out_channels) - 1
    return [
        (channels, 2 * config.layers_per_block + 1 if level < last else 1)
        for level, channels in enumerate(config.block_out_channels)
    ]


def clip_bytes(config: UNetConfig, frames: int, window_length: int, height: int, width: int, element_size: int) -> int:
    """Bytes that sampling takes on the device besides the weights: a window's pass, and what is kept between windows.

    Args:
        config: the networks' size.
        frames: length of the clip.
        window_length: frames in a window.
        height, width: latent size (image / 8).
        element_size: bytes of one number: 2 in half precision, 4 in float32.
    """
    window = min(frames, window_length)
    audio = audio_frame_bytes(config, element_size)
    cached = frames * audio if frames * audio <= AUDIO_CACHE_BYTES else 0
    pose = window * height * width * config.block_out_channels[0] * element_size
    kept = reference_bytes(config, height, width, element_size) + cached + window * audio + pose
    return window_bytes(config, window, height, width, element_size) + kept


def decode_bytes(height: int, width: int, element_size: int) -> int:
    """Peak bytes that decoding one frame takes besides the VAE's weights; height and width are the latents'."""
    return int(DECODE_UNITS * DECODE_CHANNELS * height * 8 * width * 8 * element_size)


def smaller_settings(
    config: UNetConfig, frames: int, height: int, width: int, element_size: int, free: int | None
) -> str:
    """A sentence for the user whose window did not fit: what it takes, and which length and size would fit.

    Args:
        config, frames, height, width, element_size: as in `window_bytes`.
        free: bytes that the window may take; None if unknown: then half of what this window takes.
    """
    needed = window_bytes(config, frames, height, width, element_size)
    budget = needed // 2 if free is None else free
    length = next(
        (
            n
            for n in range(min(frames, MAX_WINDOW) - 1, 0, -1)
            if window_bytes(config, n, height, width, element_size) <= budget
        ),
        None,
    )
    scale = min(1.0, (budget / needed) ** 0.5)
    # Whole multiples of 64 pixels: eight latent rows.
    small_height, small_width = (max(8, int(side * scale) // 8 * 8) * 8 for side in (height, width))
    message = (
        f"a window of {frames} frames at {width * 8}x{height * 8} takes about {gigabytes(needed)} besides the weights"
    )
    if free is not None:
        message += f", {gigabytes(free)} are free"
    ways = [f"{small_width}x{small_height} pixels"]
    if length:
        ways.insert(0, f"a window length of {length}")
    return f"{message}; try {' or '.join(ways)}, or free memory by closing other programs"


def gigabytes(count: int) -> str:
    """Bytes in words: `2.3 GB`, or `310 MB` below one."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
