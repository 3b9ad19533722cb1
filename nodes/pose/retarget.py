"""The clip onto the portrait's body, and how well it fits."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from comfy_api.latest import io

from ...echomimic.errors import PoseError
from ...echomimic.media.limits import FLOAT_PIXEL, check_room
from ...echomimic.pose import PoseSequence
from ...echomimic.pose.drawing.fit_overlay import draw_fit
from ...echomimic.pose.drawing.sheet import spread_frames
from ...echomimic.pose.fitting.portrait import FitMethod, FitSettings, fit_to_portrait
from .. import host, widgets
from .values import CATEGORY, PORTRAIT_TOOLTIP, to_images, to_picture

BLACK_SIDE = 512  # longer side of the overlay where there is no picture to lay it over


class EchoMimicRetargetPose(io.ComfyNode):
    """The clip onto the portrait's body, with the verdict."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicRetargetPose",
            display_name="EchoMimic Retarget Pose",
            category=CATEGORY,
            description="Brings a clip onto the portrait's body, bone by bone, and rates how well it fits: an overlay "
            "and a score, before anything is rendered.",
            search_aliases=["align pose", "fit pose", "score", "overlay", "rescale pose", "echomimic"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="The clip: any poses of this pack."),
                host.EchoMimicPose.Input("portrait", tooltip=PORTRAIT_TOOLTIP),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The picture that goes to VAE Encode, for the overlay. Where it was cut to another shape "
                    "than the portrait's keypoints are for, its middle is taken.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(get_args(FitMethod)),
                    default="retarget",
                    tooltip="retarget: each limb gets the portrait's length. linear: the clip is scaled and moved as a "
                    "whole. none: only judge it, and move it by hand.",
                ),
                widgets.factor(
                    "proportions",
                    1.0,
                    "For retarget: 1 gives the arms the portrait's length, 0 keeps the driver's, which may "
                    "keep more of the hands in the picture.",
                ),
                *widgets.by_hand("Scale after the fit, about the neck: above 1 makes the person larger."),
                io.Int.Input(
                    "pictures",
                    default=6,
                    min=1,
                    max=100,
                    advanced=True,
                    tooltip="How many pictures the overlay has, spread over the clip.",
                ),
            ],
            outputs=[
                host.EchoMimicPose.Output(display_name="pose", tooltip="The clip on the portrait."),
                io.Image.Output(
                    display_name="overlay",
                    tooltip="The clip (white, with its hands) over the portrait (green): where they coincide, it fits.",
                ),
                io.Float.Output(display_name="score", tooltip="0 (does not fit) to 100 (fits)."),
                io.String.Output(display_name="report", tooltip="The score in words, with what to do."),
            ],
        )

    @classmethod
    def execute(
        cls,
        pose: PoseSequence,
        portrait: PoseSequence,
        method: FitMethod,
        proportions: float,
        scale: float,
        right: float,
        down: float,
        pictures: int,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        picture = None if image is None else to_picture(image)
        size = None if picture is None else (picture.shape[1], picture.shape[0])
        settings = FitSettings(method, proportions, scale, (right, down))
        fit = fit_to_portrait(pose, portrait, settings, size)
        if picture is None:
            picture = black_like(fit.portrait)
        if pictures < 1:
            raise PoseError(f"'pictures' must be 1 or more, got {pictures}")
        size = (picture.shape[1], picture.shape[0])
        check_room(
            2 * FLOAT_PIXEL * pictures * size[0] * size[1],
            f"{pictures} overlays of {size[0]}x{size[1]}",
            "choose fewer pictures",
            PoseError,
        )
        frames = spread_frames(len(fit.sequence), min(pictures, len(fit.sequence)))
        overlay = draw_fit(fit.sequence, frames, picture, fit.portrait)
        return io.NodeOutput(fit.sequence, to_images(overlay), 100 * fit.score.total, fit.report)


def black_like(portrait: PoseSequence) -> np.ndarray:
    """A black picture of the portrait's shape, uint8 `[H, W, 3]`."""
    rows, columns = portrait.canvas.rows, portrait.canvas.columns
    sides = np.array([rows[1] - rows[0], columns[1] - columns[0]])
    height, width = np.maximum(1, (sides * BLACK_SIDE / sides.max()).round().astype(int))
    return np.zeros((height, width, 3), np.uint8)


NODES: list[type[io.ComfyNode]] = [EchoMimicRetargetPose]
