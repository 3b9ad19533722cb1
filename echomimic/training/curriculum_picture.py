"""The whole curriculum as one picture: what the pose shows, where audio acts, and which loss acts when."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..pose import PoseSequence
from .conditions import PAPER_PHASES, PARTS, Phase
from .losses import PhaseWeights
from .packages import missing_package
from .pose_pictures import draw_pose_parts
from .regions import Box, PlacedHeadshot, audio_mask, hard_box, soft_box

# The masks' colour over the pose.
AUDIO_COLOUR = np.array([255, 140, 30])
AUDIO_NAMES = {"none": "off", "picture": "whole picture"}
# A headshot as they often are: the face in brows to chin, in fractions of the picture.
USUAL_HEADSHOT = Box(0.3, 0.3, 0.7, 0.75)


def draw_curriculum(
    path: Path,
    poses: PoseSequence,
    frame: int = 0,
    phases: tuple[Phase, ...] = PAPER_PHASES,
    side: int = 256,
    weights: PhaseWeights | None = None,
) -> Path:
    """One column a phase: the pose picture, where audio acts, and how often the pose is dropped.

    Beneath lie the share of the denoising that each phase-specific loss has, and a padded headshot with its masks.

    Args:
        path: the PNG.
        poses: a clip with face, body and hands.
        frame: which of its frames to draw.
        phases: of the curriculum.
        side: of the drawn pictures in pixels.
        weights: of the phase-specific losses; None takes the defaults.

    Raises:
        MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg  # optional
        from matplotlib.figure import Figure  # optional
    except ImportError as error:
        raise missing_package("matplotlib", "drawing the curriculum") from error
    count = len(phases)
    figure = Figure(figsize=(2.4 * count + 1.2, 9), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("Audio-Pose Dynamic Harmonization: the pose steps back, the audio steps forward", fontsize=13)
    parts: Any = figure.subfigures(2, 1, height_ratios=[6.2, 2.6])
    upper, lower = parts
    axes = upper.subplots(3, count, height_ratios=[4, 4, 1.4], squeeze=False)
    total = sum(phase.share for phase in phases)
    whole = draw_pose_parts(poses, [frame], side, side, PARTS)[0]
    for column, phase in enumerate(phases):
        top, middle, bottom = axes[:, column]
        top.imshow(draw_pose_parts(poses, [frame], side, side, phase.parts)[0])
        name = phase.name if set(phase.parts) == set(PARTS) else f"spatial: {phase.name}"
        top.set_title(f"{name}\n{phase.share / total * 100:.0f} % of the steps", fontsize=10)
        middle.imshow(tinted(whole, audio_mask(poses, phase.audio, side // 8, side // 8).numpy()))
        middle.set_title(AUDIO_NAMES.get(phase.audio, phase.audio), fontsize=10)
        bottom.plot([0, 1], phase.pose_drop, color="tab:blue")
        bottom.fill_between([0, 1], phase.pose_drop, alpha=0.2, color="tab:blue")
        bottom.set(xlim=(0, 1), ylim=(0, 0.3), xticks=[], yticks=[0, 0.1, 0.2])
        bottom.set_yticklabels(["0 %", "10 %", "20 %"] if column == 0 else [], fontsize=8)
        bottom.grid(alpha=0.3)
        for axis in (top, middle):
            axis.set(xticks=[], yticks=[])
    labels = ("pose sampling:\nthe keypoint map", "audio diffusion:\nwhere audio attention acts", "pose dropped")
    for axis, label in zip(axes[:, 0], labels):
        axis.set_ylabel(label, fontsize=10)
    left, right = lower.subplots(1, 2, width_ratios=[count - 1.4, 1.4])
    draw_phase_losses(left, weights or PhaseWeights())
    draw_headshot(right, side)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    return path


def tinted(picture: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A picture uint8 `[H, W, 3]`, dimmed, with a mask `[h, w]` in 0..1 over it in colour."""
    height, width = mask.shape
    large = np.kron(mask, np.ones((picture.shape[0] // height, picture.shape[1] // width)))[..., None] * 0.85
    return (picture * 0.6 * (1 - large) + AUDIO_COLOUR * large).astype(np.uint8)


def draw_phase_losses(axis: Any, weights: PhaseWeights) -> None:
    """The timesteps from noise to the clean picture, and which term has which of them."""
    parts = (
        ("pose", 1000, weights.pose_from, weights.pose, "tab:red"),
        ("detail", weights.pose_from, weights.detail_from, weights.detail, "tab:green"),
        ("low level", weights.detail_from, 0, weights.low_level, "tab:purple"),
    )
    for name, begin, end, weight, colour in parts:
        axis.barh(0, end - begin, left=begin, height=0.8, color=colour, alpha=0.6)
        axis.text(
            (begin + end) / 2, 0, f"{name}\n{(begin - end) / 10:.0f} %\nweight {weight:g}", ha="center", va="center"
        )
    edges = [1000, weights.pose_from, weights.detail_from, 0]
    axis.set(xlim=(1000, 0), ylim=(-0.5, 0.5), yticks=[], xticks=edges)
    axis.set_xlabel("timestep, from noise to the clean picture", fontsize=9)
    axis.set_title("phase-specific loss: the latent loss + weight × one of", fontsize=10)


def draw_headshot(axis: Any, side: int) -> None:
    """A headshot in the half-body picture: the padding is black, audio acts on the face, the loss counts inside."""
    face, cells = USUAL_HEADSHOT, side // 8
    placed = PlacedHeadshot.of(side, side, face, side)
    inside = hard_box(placed.box, cells, cells).numpy()
    corner, scale = placed.shift / side, placed.scale
    region = Box(
        corner[0] + face.left * scale, corner[1] + face.top * scale,
        corner[0] + face.right * scale, corner[1] + face.bottom * scale,
    ).grown(1.2)  # fmt: skip
    picture = np.kron(inside[..., None] * [120, 120, 120], np.ones((8, 8, 1)))
    axis.imshow(tinted(picture, soft_box(region, cells, cells).numpy() * inside))
    box = placed.box
    axis.text((box.left + box.right) / 2 * side, box.bottom * side + 8, "loss only in the grey",
              color="white", fontsize=8, ha="center", va="top")  # fmt: skip
    axis.text(side / 2, side - 10, "padding: no loss, no audio", color="white", fontsize=8, ha="center")
    axis.set(xticks=[], yticks=[])
    axis.set_title("head partial attention:\na headshot, padded", fontsize=10)
