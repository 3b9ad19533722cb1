"""Output of poses: previews, files, keypoints for other packs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io, ui

from ...echomimic.errors import PoseError
from ...echomimic.media.limits import FLOAT_PIXEL, check_room
from ...echomimic.pose import PoseSequence, draw_poses, save_poses, to_pose_keypoints
from ...echomimic.pose.drawing.overlay import overlay_poses
from ...echomimic.pose.drawing.preview import contact_sheet, speed_plot
from .. import folders, host, widgets
from ..file_names import fill_in
from ..values import to_waveform
from .values import CATEGORY, PoseKeypoint, to_images, to_picture

# By what the widget says: what follows the number in the file's name.
FORMATS = {"clip (.safetensors)": ".safetensors", "keypoints (.json)": ".json", "folder (.npy)": ""}
FRAMES, SHEET, VOICE = "frames", "contact sheet", "hands and voice"
# The frontend translates a widget by its name: both views share these.
WIDTH_TOOLTIP = "Width in pixels. Frames over an image have the image's."
HEIGHT_TOOLTIP = "Height in pixels. Frames over an image have the image's."


class EchoMimicPreviewPose(io.ComfyNode):
    """What the model will see."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicPreviewPose",
            display_name="EchoMimic Preview Pose",
            category=CATEGORY,
            description="Shows poses before the long run: as the model sees them (hands on black) or over the "
            "reference image, as a contact sheet, or as the hands' speed under the voice.",
            search_aliases=["draw pose", "overlay", "visualize", "contact sheet", "plot", "check alignment"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="Any poses of this pack."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="For 'frames': the reference image; the poses are drawn over it in its size. Of a batch "
                    "the first is used.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="For 'hands and voice': the voice."),
                io.DynamicCombo.Input(
                    "view",
                    options=[
                        io.DynamicCombo.Option(
                            FRAMES,
                            [
                                widgets.pixels("width", 512, WIDTH_TOOLTIP),
                                widgets.pixels("height", 512, HEIGHT_TOOLTIP),
                                io.Int.Input(
                                    "every",
                                    default=6,
                                    min=1,
                                    max=10000,
                                    tooltip="Draw every n-th frame; 1 draws all (a minute of 512 x 512 takes 4.5 GB).",
                                ),
                                widgets.factor("opacity", 1.0, "How strongly the poses cover the image, 0 to 1."),
                            ],
                        ),
                        io.DynamicCombo.Option(
                            SHEET,
                            [
                                io.Int.Input(
                                    "pictures",
                                    default=24,
                                    min=1,
                                    max=200,
                                    tooltip="How many pictures, evenly spread over the clip.",
                                ),
                                io.Int.Input("columns", default=6, min=1, max=40, tooltip="Pictures in a row."),
                                widgets.pixels("side", 256, "Width and height of each picture in pixels.", 32),
                            ],
                        ),
                        io.DynamicCombo.Option(
                            VOICE,
                            [
                                widgets.pixels("width", 1280, WIDTH_TOOLTIP, 320),
                                widgets.pixels("height", 480, HEIGHT_TOOLTIP, 200),
                            ],
                        ),
                    ],
                    tooltip="frames: one picture per drawn frame. contact sheet: the whole clip in one picture. hands "
                    "and voice: how the gestures follow the voice.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="For Preview Image or Save Image.")],
        )

    @classmethod
    def execute(
        cls,
        pose: PoseSequence,
        view: dict[str, Any],
        image: torch.Tensor | None = None,
        audio: dict[str, Any] | None = None,
    ) -> io.NodeOutput:
        if view["view"] == SHEET:
            sheet = contact_sheet(pose, view["pictures"], view["columns"], view["side"])
            return io.NodeOutput(to_images(sheet[None]))
        if view["view"] == VOICE:
            if audio is None:
                raise PoseError("there is no voice to compare the hands with: link audio")
            plot = speed_plot(pose, *to_waveform(audio), view["width"], view["height"])
            return io.NodeOutput(to_images(plot[None]))
        picture = None if image is None else to_picture(image)
        height, width = (view["height"], view["width"]) if picture is None else picture.shape[:2]
        if view["every"] < 1:
            raise PoseError(f"'every' must be 1 or more, got {view['every']}")
        frames = range(0, len(pose), view["every"])
        what = f"{len(frames):,} pictures of {width}x{height}"
        # Bytes, bytes over the image, and floats.
        check_room(1.5 * FLOAT_PIXEL * len(frames) * width * height, what, "raise 'every'", PoseError)
        pictures = draw_poses(pose, frames, width, height)
        if picture is not None:
            pictures = overlay_poses(pictures, picture, view["opacity"])
        return io.NodeOutput(to_images(pictures))


class EchoMimicPoseToKeypoints(io.ComfyNode):
    """POSE_KEYPOINT for other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicPoseToKeypoints",
            display_name="EchoMimic Pose To Keypoints",
            category=CATEGORY,
            description="Gives poses to other nodes as keypoints that all of them read: nothing is left out where a "
            "hand or face is missing.",
            search_aliases=["openpose", "dwpose", "pose_keypoint", "export", "editor", "echomimic"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="Any poses of this pack."),
                io.Int.Input(
                    "width",
                    default=768,
                    min=64,
                    max=8192,
                    tooltip="Width of the picture that the keypoints are for, in pixels.",
                ),
                io.Int.Input(
                    "height",
                    default=768,
                    min=64,
                    max=8192,
                    tooltip="Height of that picture in pixels.",
                ),
                io.Boolean.Input(
                    "real_scores",
                    default=False,
                    label_on="detector's",
                    label_off="1 or 0",
                    advanced=True,
                    tooltip="Confidence as the detector gave it. Off is safe: the ControlNet preprocessors drop points "
                    "below 1.",
                ),
            ],
            outputs=[PoseKeypoint.Output(display_name="keypoints", tooltip="One entry per frame, in pixels.")],
        )

    @classmethod
    def execute(cls, pose: PoseSequence, width: int, height: int, real_scores: bool) -> io.NodeOutput:
        return io.NodeOutput(to_pose_keypoints(pose, width, height, real_scores))


class EchoMimicSavePose(io.ComfyNode):
    """A clip to a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicSavePose",
            display_name="EchoMimic Save Pose",
            category=CATEGORY,
            description="Saves poses in ComfyUI's output folder, to be loaded again by EchoMimic Load Pose: as a clip "
            "of this pack, as keypoints for other packs, or as the original's folder of .npy.",
            search_aliases=["export pose", "save keypoints", "npy", "gesture library", "echomimic"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="Any poses of this pack."),
                io.String.Input(
                    "filename_prefix",
                    default="poses/EchoMimic",
                    tooltip="Folder and start of the name below ComfyUI's output folder; a number follows. Dates "
                    "and widgets' values can be part of it, as %date:yyyy-MM-dd%. EchoMimic Load Pose lists what is in "
                    "the folder poses.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default=next(iter(FORMATS)),
                    tooltip="clip: keeps everything. keypoints: POSE_KEYPOINT, for editors. folder: for the original's "
                    "own programs; no rate, no feet.",
                ),
            ],
            outputs=[io.String.Output(display_name="path", tooltip="The file, or the folder.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, pose: PoseSequence, filename_prefix: str, format: str) -> io.NodeOutput:
        folder, name, counter, _ = folders.output_place(fill_in(filename_prefix, cls.hidden))
        ending = FORMATS[format]
        path = save_poses(pose, Path(folder, f"{name}_{counter:05}_{ending}"), as_folder=not ending)
        return io.NodeOutput(str(path), ui=ui.PreviewText(f"{len(pose)} frames: {path}"))


NODES: list[type[io.ComfyNode]] = [EchoMimicPreviewPose, EchoMimicPoseToKeypoints, EchoMimicSavePose]
