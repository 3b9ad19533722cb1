"""Poses and portraits: mark the portrait, bring the clip onto it, or it to the clip, and put the frames back."""

from __future__ import annotations

from itertools import repeat
from typing import Any, get_args

import numpy as np
import torch
from comfy_api.latest import io

from ...echomimic.errors import PoseError
from ...echomimic.media.limits import FLOAT_PIXEL, check_room
from ...echomimic.pose import PoseSequence
from ...echomimic.pose.drawing.fit_overlay import draw_fit
from ...echomimic.pose.drawing.landmark_overlay import draw_marks
from ...echomimic.pose.drawing.sheet import spread_frames
from ...echomimic.pose.fitting.crop import align_portrait, paste_back
from ...echomimic.pose.fitting.linear import portrait_from_points
from ...echomimic.pose.fitting.portrait import FitMethod, FitSettings, fit_to_portrait
from .. import host, previews, widgets
from .values import CATEGORY, image_batch, pictures_of, to_crop_box, to_images, to_mask, to_picture

# The key under which `web/js/marks.js` finds the picture to click on.
MARKED = "echomimic_marked"
BLACK_SIDE = 512  # longer side of the overlay where there is no picture to lay it over

PORTRAIT_TOOLTIP = (
    "The portrait's own keypoints: from EchoMimic Extract Pose or EchoMimic Pose From Keypoints of the portrait, or "
    "EchoMimic Mark Portrait."
)
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


def by_hand(scale: str, advanced: bool | None = None) -> list[Any]:
    """Widgets for the scale and offset on top."""
    return [
        widgets.factor("scale", 1.0, scale, low=0.1, high=10.0, step=0.01, round=0.0001, advanced=advanced),
        widgets.factor(
            "right",
            0.0,
            "After that: to the right, in shares of the picture's width; below 0 to the left.",
            low=-2.0,
            high=2.0,
            step=0.01,
            round=0.0001,
            advanced=advanced,
        ),
        widgets.factor(
            "down",
            0.0,
            "After that: down, in shares of the picture's height; below 0 up.",
            low=-2.0,
            high=2.0,
            step=0.01,
            round=0.0001,
            advanced=advanced,
        ),
    ]


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
                *by_hand("After that: above 1 makes the person larger, about the neck."),
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


class EchoMimicAlignPortrait(io.ComfyNode):
    """The portrait to the clip: the other way round."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicAlignPortrait",
            display_name="EchoMimic Align Portrait",
            category=CATEGORY,
            description="Cuts the part out of a picture in which the person stands where the clip's person does, in "
            "the video's size. EchoMimic Paste Back puts the finished frames into the full picture.",
            search_aliases=["crop portrait", "crop to pose", "inpaint crop", "half body crop", "echomimic"],
            inputs=[
                io.Image.Input("image", tooltip="The full picture. Of a batch the first is used."),
                host.EchoMimicPose.Input("portrait", tooltip=PORTRAIT_TOOLTIP),
                host.EchoMimicPose.Input("pose", tooltip="The clip that will drive the video."),
                widgets.pixels("width", 768, "Width of the video in pixels; 768 x 768 works best.", high=8192),
                widgets.pixels("height", 768, "Height of the video in pixels.", high=8192),
                *by_hand("After that: above 1 makes the person larger, so less of the picture is shown."),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="For VAE Encode."),
                host.EchoMimicPose.Output(
                    display_name="portrait", tooltip="The portrait's keypoints in it, for EchoMimic Retarget Pose."
                ),
                io.BoundingBox.Output(display_name="crop_box", tooltip="For EchoMimic Paste Back."),
                io.String.Output(display_name="report", tooltip="How much of the picture it is."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        portrait: PoseSequence,
        pose: PoseSequence,
        width: int,
        height: int,
        scale: float,
        right: float,
        down: float,
    ) -> io.NodeOutput:
        aligned = align_portrait(to_picture(image), portrait, pose, width, height, scale, (right, down))
        box = {"x": aligned.box.left, "y": aligned.box.top, "width": aligned.box.width, "height": aligned.box.height}
        return io.NodeOutput(to_images(aligned.image[None]), aligned.portrait, box, aligned.sentence)


class EchoMimicPasteBack(io.ComfyNode):
    """Frames into the full picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicPasteBack",
            display_name="EchoMimic Paste Back",
            category=CATEGORY,
            description="Puts the finished frames back into the full picture that they were cut from, with a soft "
            "edge.",
            search_aliases=["uncrop", "stitch", "composite", "inpaint stitch", "two people", "full body", "echomimic"],
            inputs=[
                io.Image.Input("images", tooltip="The finished frames, from EchoMimic Decode."),
                io.Image.Input(
                    "picture",
                    tooltip="The full picture that the portrait was cut from; or as many pictures as frames, of "
                    "another EchoMimic Paste Back, for several people in one picture.",
                ),
                io.BoundingBox.Input(
                    "crop_box",
                    socketless=False,
                    force_input=True,
                    tooltip="Where they belong, from EchoMimic Fit Portrait or EchoMimic Align Portrait.",
                ),
                widgets.factor(
                    "feather", 0.06, "Width of the soft edge, 0 to 0.5 of the box's shorter side.", high=0.5, step=0.01
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="White where the frames may show, of the full picture's size: keeps people apart whose "
                    "boxes overlap.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="The full picture, once a frame.")],
        )

    @classmethod
    def execute(
        cls,
        images: torch.Tensor,
        picture: torch.Tensor,
        crop_box: Any,
        feather: float,
        mask: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        box, show_progress = to_crop_box(crop_box), host.progress()
        images, pictures = image_batch(images), image_batch(picture)
        if len(pictures) not in (1, len(images)):
            raise PoseError(
                f"there are {len(images)} frames but {len(pictures)} full pictures: give one picture, or one a frame"
            )
        fulls = pictures_of(pictures) if len(pictures) > 1 else repeat(to_picture(pictures))
        shares = None if mask is None else to_mask(mask)
        height, width = pictures.shape[1:3]
        what = f"{len(images):,} pictures of {width}x{height}"
        check_room(FLOAT_PIXEL * len(images) * width * height, what, "paste fewer frames at a time", PoseError)
        pasted = torch.empty(len(images), *pictures.shape[1:3], 3)  # [F, H, W, 3]
        for number, (frame, full) in enumerate(zip(pictures_of(images), fulls)):
            pasted[number] = to_images(paste_back(frame[None], full, box, feather, shares))[0]
            show_progress(number + 1, len(images))
        return io.NodeOutput(pasted)


NODES: list[type[io.ComfyNode]] = [
    EchoMimicMarkPortrait,
    EchoMimicRetargetPose,
    EchoMimicAlignPortrait,
    EchoMimicPasteBack,
]
