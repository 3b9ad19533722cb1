"""Widgets that many nodes have: a rate, a seed, a time, a fraction, pixels."""

from __future__ import annotations

from comfy_api.latest import io

from ..echomimic.models import MAX_WINDOW

# Stands in an empty list of files, since ComfyUI shows no explanation for one.
NOTHING = "(none found)"
MAX_SECONDS = 86400.0
MAX_SEED = 0xFFFFFFFFFFFFFFFF


def rate(tooltip: str, largest: float = 120.0, advanced: bool | None = None) -> io.Float.Input:
    """`fps`: frames a second."""
    return io.Float.Input(
        "fps", default=24.0, min=1.0, max=largest, step=1.0, round=0.001, advanced=advanced, tooltip=tooltip
    )


def seed(tooltip: str) -> io.Int.Input:
    """`seed`, with ComfyUI's choice of what becomes of it after a run."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=True, tooltip=tooltip)


def seconds(name: str, default: float, tooltip: str, largest: float = MAX_SECONDS) -> io.Float.Input:
    """A time or a duration."""
    return io.Float.Input(name, default=default, min=0.0, max=largest, step=0.1, round=0.001, tooltip=tooltip)


def factor(
    name: str,
    default: float,
    tooltip: str,
    low: float = 0.0,
    high: float = 1.0,
    step: float = 0.05,
    round: float = 0.001,
    advanced: bool | None = None,
) -> io.Float.Input:
    """A fraction or a factor."""
    return io.Float.Input(
        name, default=default, min=low, max=high, step=step, round=round, advanced=advanced, tooltip=tooltip
    )


def window_length(advanced: bool | None = None) -> io.Int.Input:
    """`window_length`: frames that the network sees together."""
    return io.Int.Input(
        "window_length",
        default=12,
        min=1,
        max=MAX_WINDOW,
        advanced=advanced,
        tooltip=f"Frames denoised together, 1 to {MAX_WINDOW}. 12 is the model's own; memory grows with it.",
    )


def strengths(advanced: bool | None = None) -> list[io.Float.Input]:
    """`pose_strength` and `audio_scale`: how much poses and audio count."""
    return [
        factor(
            "pose_strength",
            1.0,
            "Factor on the poses, 0 to 2. 1 is the model's own, 0 ignores them.",
            high=2.0,
            advanced=advanced,
        ),
        factor(
            "audio_scale",
            1.0,
            "Factor on the audio, 0 to 3. 1 is the model's own; more opens the mouth wider.",
            high=3.0,
            advanced=advanced,
        ),
    ]


def by_hand(scale: str, advanced: bool | None = None) -> list[io.Float.Input]:
    """Widgets for a scale and an offset that come on top of an automatic fit; `scale` is the first one's tooltip."""
    return [
        factor("scale", 1.0, scale, low=0.1, high=10.0, step=0.01, round=0.0001, advanced=advanced),
        factor(
            "right",
            0.0,
            "Moves the person right after that, in fractions of the video's width; below 0 left.",
            low=-2.0,
            high=2.0,
            step=0.01,
            round=0.0001,
            advanced=advanced,
        ),
        factor(
            "down",
            0.0,
            "Moves the person down after that, in fractions of the video's height; below 0 up.",
            low=-2.0,
            high=2.0,
            step=0.01,
            round=0.0001,
            advanced=advanced,
        ),
    ]


def pixels(name: str, default: int, tooltip: str, low: int = 64, high: int = 4096) -> io.Int.Input:
    """A width, a height or a side."""
    return io.Int.Input(name, default=default, min=low, max=high, step=8, tooltip=tooltip)
