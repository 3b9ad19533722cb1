"""The portrait's keypoints by hand: five marks, clicked on the picture or typed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from ...echomimic.pose import PoseSequence
from ...echomimic.pose.drawing.landmark_overlay import draw_marks
from ...echomimic.pose.fitting.linear import portrait_from_points
from .. import host, previews
from .values import CATEGORY, to_images, to_picture

# The key under which `web/js/marks.js` finds the picture to click on.
MARKED = "echomimic_marked"
# Where the points of a half-body portrait usually are, in per cent: those of the sample portrait.
USUAL = {
    "nose": (50.0, 20.5),
    "neck": (50.0, 48.0),
    "right_shoulder": (32.0, 48.0),
    "left_shoulder": (68.0, 48.0),
    "wrist": (34.0, 86.5),
}
MEANT = {
    "nose": "The tip of the nose",
    "neck": "The pit of the throat, between the shoulders",
    "right_shoulder": "The person's right shoulder (left in the picture)",
    "left_shoulder": "The person's left shoulder (right in the picture)",
    "wrist": "One wrist, whichever is in view",
}


def mark_widgets(advanced: bool | None = None) -> list[Any]:
    """x and y of the five marks; `web/js/marks.js` sets them where the picture is clicked."""
    return [
        io.Float.Input(
            f"{name}_{axis}",
            default=USUAL[name][number],
            min=-50.0,
            max=150.0,
            step=0.5,
            round=0.001,
            advanced=advanced,
            tooltip=f"{meant}: per cent of the picture's {side}, from the {edge}.",
        )
        for name, meant in MEANT.items()
        for number, (axis, side, edge) in enumerate((("x", "width", "left"), ("y", "height", "top")))
    ]


def marked_portrait(picture: np.ndarray, marks: dict[str, float]) -> PoseSequence:
    """The keypoints of a picture `[H, W, 3]` by the values of `mark_widgets`."""
    height, width = picture.shape[:2]
    points = {name: (marks[f"{name}_x"] * width / 100, marks[f"{name}_y"] * height / 100) for name in USUAL}
    return portrait_from_points((width, height), **points)


class EchoMimicMarkPortrait(io.ComfyNode):
    """The portrait's keypoints, by hand."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicMarkPortrait",
            display_name="EchoMimic Mark Portrait",
            category=CATEGORY,
            description="Marks by hand the portrait's nose, neck, shoulders and one wrist: click on the "
            "picture, or type per cents of it. No detector is needed. The preview shows the marks and a grid.",
            search_aliases=[
                "keypoints",
                "click points",
                "pick points",
                "landmarks",
                "portrait pose",
                "manual pose",
                "echomimic",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The portrait. Of a batch the first is used."),
                *mark_widgets(),
            ],
            outputs=[
                host.EchoMimicPose.Output(
                    display_name="portrait", tooltip="For EchoMimic Retarget Pose and EchoMimic Align Portrait."
                ),
                io.Image.Output(
                    display_name="preview", tooltip="The portrait with the marks and a grid, to check them."
                ),
            ],
        )

    @classmethod
    def execute(cls, image: torch.Tensor, **marks: float) -> io.NodeOutput:
        picture = to_picture(image)
        portrait = marked_portrait(picture, marks)
        shown = previews.show_picture(picture, MARKED)
        return io.NodeOutput(portrait, to_images(draw_marks(picture, portrait)[None]), ui=shown)


NODES: list[type[io.ComfyNode]] = [EchoMimicMarkPortrait]
