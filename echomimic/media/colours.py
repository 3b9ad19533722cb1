"""Colours of other displays brought to sRGB: wide gamuts, other gammas, and high dynamic range."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

# x and y in the CIE's diagram (ITU-R BT.709, BT.2020, SMPTE EG 432-1); all have the white point D65.
SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
BT2020 = ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046))
DISPLAY_P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
D65 = (0.3127, 0.3290)
# Bradford's cone responses, in which white points are exchanged.
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])

# ITU-T H.273: what a video's numbers of primaries and transfer functions stand for.
VIDEO_PRIMARIES = {9: BT2020, 11: DISPLAY_P3, 12: DISPLAY_P3}
PQ, HLG = 16, 18
# ITU-R BT.2408: a white page in high dynamic range, in cd/m^2, and the display that HLG is mastered on.
HDR_WHITE, HLG_PEAK = 203.0, 1000.0
# Brighter light is compressed, from this share of white up to the peak.
KNEE = 0.8

Convert = Callable[[np.ndarray], np.ndarray]


def gamut_matrix(primaries: Sequence[Sequence[float]], white: Sequence[float] = D65) -> np.ndarray:
    """`[3, 3]` that brings linear red, green and blue of these primaries to sRGB's."""

    def to_xyz(corners: Sequence[Sequence[float]], centre: np.ndarray) -> np.ndarray:
        columns = np.array([[x / y, 1, (1 - x - y) / y] for x, y in corners]).T
        return columns * np.linalg.solve(columns, centre)

    own, ours = (np.array([x / y, 1, (1 - x - y) / y]) for x, y in (white, D65))
    adapt = np.linalg.inv(BRADFORD) @ np.diag((BRADFORD @ ours) / (BRADFORD @ own)) @ BRADFORD
    return np.linalg.inv(to_xyz(SRGB, ours)) @ adapt @ to_xyz(primaries, own)


def decode_srgb(values: np.ndarray) -> np.ndarray:
    """sRGB's values in 0..1 to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encode_srgb(light: np.ndarray) -> np.ndarray:
    """Linear light to sRGB's values; both in 0..1, what is beyond is cut off."""
    light = light.clip(0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


@cache
def srgb_table() -> np.ndarray:
    """The uint8 value of each of 65536 levels of linear light."""
    return np.round(255 * encode_srgb(np.linspace(0, 1, 65536))).astype(np.uint8)


def to_srgb_bytes(light: np.ndarray) -> np.ndarray:
    """Linear light to sRGB's uint8 values; beyond 0..1 it is cut off."""
    return srgb_table()[(65535 * light.clip(0, 1)).round().astype(np.uint16)]


def decode_pq(values: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084: values in 0..1 to linear light, of which a white page has 1."""
    power = values ** (1 / 78.84375)
    return 10000 / HDR_WHITE * ((power - 0.8359375).clip(0) / (18.8515625 - 18.6875 * power)) ** (1 / 0.1593017578125)


def decode_hlg(values: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100's hybrid log-gamma before the system's gamma: values in 0..1 to the scene's light in 0..1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)


def compress_highlights(light: np.ndarray, peak: float) -> np.ndarray:
    """Light `[..., 3]` of up to `peak` into 0..1; below the knee it stays as it is, and hues stay everywhere."""
    highest = light.max(axis=-1, keepdims=True)
    room = 1 - KNEE
    beyond = (highest - KNEE).clip(0) / room
    most = (peak - KNEE) / room
    # Reinhard's curve with a white point: slope 1 at the knee, `most` becomes 1.
    squeezed = KNEE + room * beyond * (1 + beyond / most**2) / (1 + beyond)
    return light * np.where(highest > KNEE, squeezed / np.maximum(highest, 1e-6), 1)


def video_colours(primaries: int, transfer: int) -> Convert | None:
    """How a video's pictures come to sRGB; None where they are near enough as they are.

    Args:
        primaries, transfer: ITU-T H.273's numbers, as FFmpeg gives them.

    Returns:
        a function of uint16 RGB `[H, W, 3]` that gives uint8 RGB.
    """
    if transfer not in (PQ, HLG) and primaries not in VIDEO_PRIMARIES:
        return None
    matrix = gamut_matrix(VIDEO_PRIMARIES.get(primaries, SRGB)).T.astype(np.float32)
    levels = np.linspace(0, 1, 65536)
    decode = {PQ: decode_pq, HLG: decode_hlg}.get(transfer, decode_srgb)
    light_of = decode(levels).astype(np.float32)

    def convert(picture: np.ndarray) -> np.ndarray:
        light = light_of[picture]
        if transfer == HLG:
            luminance = light @ np.array([0.2627, 0.6780, 0.0593], np.float32)  # [H, W]
            light *= (HLG_PEAK / HDR_WHITE) * luminance[..., None] ** 0.2
        light = light @ matrix
        if transfer in (PQ, HLG):
            light = compress_highlights(light, HLG_PEAK / HDR_WHITE)
        return to_srgb_bytes(light)

    return convert


def png_colours(info: dict[Any, Any]) -> Convert | None:
    """How a PNG's picture comes to sRGB by its chunks gAMA and cHRM; None where it is sRGB or does not say.

    Args:
        info: Pillow's notes about the file.

    Returns:
        a function of uint8 RGB `[H, W, 3]` that gives the same.
    """
    gamma, corners = info.get("gamma"), info.get("chromaticity")
    if "srgb" in info or not (gamma or corners):
        return None
    usual = not gamma or abs(gamma - 1 / 2.2) < 0.01
    matrix = np.eye(3)
    if corners and len(corners) == 8 and min(corners[1::2]) > 0:
        white, *primaries = zip(corners[::2], corners[1::2])
        matrix = gamut_matrix(primaries, white)
    if (usual and np.abs(matrix - np.eye(3)).max() < 0.02) or not np.isfinite(matrix).all():
        return None
    levels = np.linspace(0, 1, 256)
    light_of = (decode_srgb(levels) if usual else levels ** (1 / float(gamma or 1))).astype(np.float32)

    def convert(picture: np.ndarray) -> np.ndarray:
        return to_srgb_bytes(light_of[picture] @ matrix.T.astype(np.float32))

    return convert
