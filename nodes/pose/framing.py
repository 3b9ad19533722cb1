"""Pictures to the video's size, cut for the person or for a clip, and finished frames back into the full picture."""

from __future__ import annotations

from itertools import repeat
from typing import Any, get_args

import numpy as np
import torch
from comfy_api.latest import io

from ...echomimic.errors import PoseError
from ...echomimic.media.limits import FLOAT_PIXEL, check_room
from ...echomimic.pose import PoseSequence
from ...echomimic.pose.drawing.sheet import spread_frames
from ...echomimic.pose.fitting.crop import align_portrait
from ...echomimic.pose.fitting.framing import Fill, Framing, draw_cut, frame_portrait
from ...echomimic.pose.fitting.paste import match_tone, paste_back
from .. import host, previews, widgets
from .marks import MARKED, mark_widgets, marked_portrait
from .values import (
    CATEGORY,
    PORTRAIT_TOOLTIP,
    image_batch,
    pictures_of,
    to_bounding_box,
    to_crop_box,
    to_images,
    to_masks,
    to_picture,
)

NO_MARKS, CLICKED = "none", "by click"
TONE_FRAMES = 8  # of the clip, spread over it


class EchoMimicFitPortrait(io.ComfyNode):
    """A picture of any shape at the video's size, where a plain resize may cut heads and hands off."""

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
                *widgets.by_hand(
                    "Scale after the framing: above 1 makes the person larger, so less of the picture is shown.",
                    advanced=True,
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
        preview = to_images(draw_cut(picture, framed.box)[None])
        outputs = to_images(framed.image[None]), framed.portrait, to_bounding_box(framed.box), preview, framed.sentence
        return io.NodeOutput(*outputs, ui=previews.show_picture(picture, MARKED))


class EchoMimicAlignPortrait(io.ComfyNode):
    """Fits the portrait to the clip; EchoMimic Retarget Pose fits the clip to the portrait."""

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
                *widgets.by_hand(
                    "Scale after the fit: above 1 makes the person larger, so less of the picture is shown."
                ),
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
        box = to_bounding_box(aligned.box)
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
            "edge; a background that came back a little lighter or darker is brought to the picture's.",
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
                    "boxes overlap. One mask, or one a frame.",
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
        masks = None if mask is None else to_masks(mask)
        for count, what in ((len(pictures), "full picture"), (1 if masks is None else len(masks), "mask")):
            if count not in (1, len(images)):
                raise PoseError(f"there are {len(images)} frames but {count} {what}s: give one {what}, or one a frame")
        fulls = pictures_of(pictures) if len(pictures) > 1 else repeat(to_picture(pictures))
        height, width = pictures.shape[1:3]
        what = f"{len(images):,} pictures of {width}x{height}"
        check_room(FLOAT_PIXEL * len(images) * width * height, what, "paste fewer frames at a time", PoseError)
        sample = spread_frames(len(images), min(TONE_FRAMES, len(images)))
        around = [*pictures_of(pictures[sample if len(pictures) > 1 else [0]])]
        tone = match_tone(np.stack([*pictures_of(images[sample])]), np.stack(around), box)
        pasted = torch.empty(len(images), *pictures.shape[1:3], 3)  # [F, H, W, 3]
        for number, (frame, full) in enumerate(zip(pictures_of(images), fulls)):
            share = None if masks is None else masks[number % len(masks)].clamp(0, 1).cpu().numpy()
            pasted[number] = to_images(paste_back(frame[None], full, box, feather, share, tone))[0]
            show_progress(number + 1, len(images))
        return io.NodeOutput(pasted)


NODES: list[type[io.ComfyNode]] = [EchoMimicFitPortrait, EchoMimicAlignPortrait, EchoMimicPasteBack]
