"""A picture of any shape to the video's size."""

from __future__ import annotations

from typing import Any, get_args

import torch
from comfy_api.latest import io

from ...echomimic.pose import PoseSequence
from ...echomimic.pose.fitting.framing import Fill, Framing, draw_cut, frame_portrait
from .. import host, previews, widgets
from .portrait import MARKED, PORTRAIT_TOOLTIP, by_hand, mark_widgets, marked_portrait
from .values import CATEGORY, to_images, to_picture

NO_MARKS, CLICKED = "none", "by click"


class EchoMimicFitPortrait(io.ComfyNode):
    """In place of a resize, which may cut heads and hands off."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicFitPortrait",
            display_name="EchoMimic Fit Portrait",
            category=CATEGORY,
            description="Brings a picture of any shape to the video's size without cutting off head or hands: framed "
            "from head to waist by its keypoints, or without any by keeping the top. The preview shows what is cut.",
            search_aliases=[
                "resize portrait",
                "crop portrait",
                "click points",
                "upscale image",
                "pad",
                "half body",
                "echomimic",
            ],
            inputs=[
                io.Image.Input("image", tooltip="The picture, of any shape. Of a batch the first is used."),
                widgets.pixels("width", 768, "Width of the video in pixels; 768 x 768 works best.", high=8192),
                widgets.pixels("height", 768, "Height of the video in pixels.", high=8192),
                host.EchoMimicPose.Input("portrait", optional=True, tooltip=PORTRAIT_TOOLTIP),
                io.Combo.Input(
                    "framing",
                    options=list(get_args(Framing)),
                    default="auto",
                    tooltip="auto: head to waist by the keypoints; without any, the top is kept. keep the top: cuts a "
                    "tall picture at its bottom, a wide one at both sides. whole picture: cuts nothing, fills.",
                ),
                io.Combo.Input(
                    "fill",
                    options=list(get_args(Fill)),
                    default="blur",
                    tooltip="What lies beyond the picture: edge repeats its edge, blur blurs that as well.",
                ),
                *by_hand(
                    "After that: above 1 makes the person larger, so less of the picture is shown.", advanced=True
                ),
                io.DynamicCombo.Input(
                    "marks",
                    options=[
                        io.DynamicCombo.Option(NO_MARKS, []),
                        io.DynamicCombo.Option(CLICKED, mark_widgets(advanced=True)),
                    ],
                    # Optional, so that graphs saved before this input existed still run.
                    optional=True,
                    tooltip="by click: five points that you click on the picture in this node; they count instead of "
                    "the portrait input. none: the portrait input, or where half-body portraits usually have them.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="image", tooltip="For VAE Encode."),
                host.EchoMimicPose.Output(
                    display_name="portrait",
                    tooltip="The keypoints in it, for EchoMimic Retarget Pose; assumed where neither marks nor "
                    "keypoints are given.",
                ),
                io.BoundingBox.Output(display_name="crop_box", tooltip="For EchoMimic Paste Back."),
                io.Image.Output(display_name="preview", tooltip="The full picture; what is cut is darkened."),
                io.String.Output(display_name="report", tooltip="What was cut and filled."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: torch.Tensor,
        width: int,
        height: int,
        framing: Framing,
        fill: Fill,
        scale: float,
        right: float,
        down: float,
        portrait: PoseSequence | None = None,
        marks: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        picture = to_picture(image)
        if marks is not None and marks["marks"] == CLICKED:
            portrait = marked_portrait(picture, marks)
        framed = frame_portrait(picture, width, height, portrait, framing, fill, scale, (right, down))
        box = {"x": framed.box.left, "y": framed.box.top, "width": framed.box.width, "height": framed.box.height}
        preview = to_images(draw_cut(picture, framed.box)[None])
        outputs = to_images(framed.image[None]), framed.portrait, box, preview, framed.sentence
        return io.NodeOutput(*outputs, ui=previews.show_picture(picture, MARKED))


NODES: list[type[io.ComfyNode]] = [EchoMimicFitPortrait]
