"""Gestures: clips, keypoints of other packs, their length, and a look at them."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from comfy_api.latest import io

from ..echomimic.audio import SpeechFeatures
from ..echomimic.errors import PoseError
from ..echomimic.pose import PoseSequence, draw_poses, load_poses
from ..echomimic.pose.keypoints import from_pose_keypoints, to_pose_keypoints
from ..echomimic.pose.overlay import overlay_poses
from ..echomimic.pose.timing import FitMode, fit_length
from ..echomimic.vae import to_bytes
from . import host
from .clips import changed, pose_clips

CATEGORY = "EchoMimic/pose"
PoseKeypoint = io.Custom("POSE_KEYPOINT")
NOTHING = "(none found)"


def to_images(pictures: np.ndarray) -> torch.Tensor:
    """uint8 `[n, H, W, 3]` as ComfyUI's IMAGE, 0..1."""
    return torch.from_numpy(pictures).float() / 255


class EchoMimicLoadPose(io.ComfyNode):
    """A clip from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicLoadPose",
            display_name="EchoMimic Load Pose",
            category=CATEGORY,
            description="Loads a gesture clip: one that ships with the pack, or your own from models/echomimic/poses "
            "or the input folder (a .safetensors clip, a .json of keypoints, a folder of the original's .npy).",
            search_aliases=["gesture", "hand pose", "dwpose", "npy", "motion", "echomimic"],
            inputs=[
                io.Combo.Input(
                    "clip",
                    options=list(pose_clips()) or [NOTHING],
                    tooltip="Bare names ship with the pack; poses/... are in models/echomimic/poses, input/... in "
                    "ComfyUI's input folder.",
                ),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=1.0,
                    max=120.0,
                    step=1.0,
                    round=0.001,
                    advanced=True,
                    tooltip="Frames a second of a .json or a folder of .npy, which do not say it (the original's have "
                    "24). Clips in .safetensors know theirs.",
                ),
            ],
            outputs=[
                host.EchoMimicPose.Output(
                    display_name="pose", tooltip="For EchoMimic Fit Pose Length, then the sampler."
                ),
                io.Int.Output(display_name="frames", tooltip="Frames in the clip."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, clip: str | None, fps: float | None) -> Any:
        path = pose_clips().get(clip or "")
        return None if path is None else (str(path), changed(path))

    @classmethod
    def execute(cls, clip: str, fps: float) -> io.NodeOutput:
        path = pose_clips().get(clip)
        if path is None:
            raise PoseError(
                f"the pose clip {clip} is not there: put clips into {host.own_folder() / 'poses'} or ComfyUI's input "
                "folder, then press R to refresh the list"
            )
        poses = load_poses(path, fps)
        return io.NodeOutput(poses, len(poses))


class EchoMimicPoseFromKeypoints(io.ComfyNode):
    """POSE_KEYPOINT of other nodes."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicPoseFromKeypoints",
            display_name="EchoMimic Pose From Keypoints",
            category=CATEGORY,
            description="Takes keypoints of ComfyUI's SDPose, of the ControlNet preprocessors' DWPose and OpenPose, "
            "or of a pose editor, one frame after the other.",
            search_aliases=["openpose", "dwpose", "sdpose", "pose_keypoint", "gesture", "motion capture", "echomimic"],
            inputs=[
                PoseKeypoint.Input("keypoints", tooltip="One entry per frame of the driving video."),
                io.Float.Input(
                    "fps",
                    default=24.0,
                    min=1.0,
                    max=1000.0,
                    step=1.0,
                    round=0.001,
                    tooltip="Frames a second of the driving video (Get Video Components tells it): keypoints do not "
                    "say it.",
                ),
                io.Int.Input(
                    "person",
                    default=-1,
                    min=-1,
                    max=99,
                    advanced=True,
                    tooltip="Which person where there are several, from 0; -1 takes the largest.",
                ),
            ],
            outputs=[host.EchoMimicPose.Output(display_name="pose", tooltip="For EchoMimic Fit Pose Length.")],
        )

    @classmethod
    def execute(cls, keypoints: Any, fps: float, person: int) -> io.NodeOutput:
        return io.NodeOutput(from_pose_keypoints(keypoints, fps, person=None if person < 0 else person))


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


class EchoMimicFitPose(io.ComfyNode):
    """As many frames as the audio."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicFitPose",
            display_name="EchoMimic Fit Pose Length",
            category=CATEGORY,
            description="Brings a clip to the audio's frame rate and length: cut if it is longer, continued if it is "
            "shorter.",
            search_aliases=["loop", "ping pong", "back and forth", "retime", "resample", "extend", "echomimic"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="Poses of any length and rate."),
                host.EchoMimicAudio.Input("audio", tooltip="The speech to fit, from EchoMimic Encode Audio."),
                io.Combo.Input(
                    "mode",
                    options=list(get_args(FitMode)),
                    default="back_and_forth",
                    tooltip="How a clip that is too short goes on. back_and_forth: backwards, then forwards again, "
                    "without a jump. loop: from the start again. hold: the last pose stays.",
                ),
                io.Float.Input(
                    "blend_seconds",
                    default=0.5,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    round=0.001,
                    tooltip="How softly it goes on, in seconds, 0 to 10: the blend at the seam of a loop, or how long "
                    "the hands slow down at a turn.",
                ),
            ],
            outputs=[host.EchoMimicPose.Output(display_name="pose", tooltip="For EchoMimic Sampler.")],
        )

    @classmethod
    def execute(cls, pose: PoseSequence, audio: SpeechFeatures, mode: FitMode, blend_seconds: float) -> io.NodeOutput:
        return io.NodeOutput(fit_length(pose, len(audio), audio.fps, mode, blend_seconds))


class EchoMimicPreviewPose(io.ComfyNode):
    """What the model will see."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicPreviewPose",
            display_name="EchoMimic Preview Pose",
            category=CATEGORY,
            description="Draws the poses as the model sees them: hands on black, or over the reference image, to check "
            "the fit before the long run.",
            search_aliases=["draw pose", "overlay", "visualize", "check alignment", "echomimic"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="Any poses of this pack."),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="The reference image; the poses are drawn over it in its size. Of a batch the first is "
                    "used.",
                ),
                io.Int.Input(
                    "width",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip="Width of the pictures in pixels; with an image, the image's counts.",
                ),
                io.Int.Input(
                    "height",
                    default=512,
                    min=64,
                    max=4096,
                    step=8,
                    tooltip="Height of the pictures in pixels; with an image, the image's counts.",
                ),
                io.Int.Input(
                    "every",
                    default=6,
                    min=1,
                    max=10000,
                    tooltip="Draw every n-th frame; 1 draws all (a minute of 512 x 512 takes 4.5 GB).",
                ),
                io.Float.Input(
                    "opacity",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    advanced=True,
                    tooltip="How strongly the poses cover the image, 0 to 1.",
                ),
            ],
            outputs=[io.Image.Output(display_name="images", tooltip="One picture per drawn frame.")],
        )

    @classmethod
    def execute(
        cls,
        pose: PoseSequence,
        width: int,
        height: int,
        every: int,
        opacity: float,
        image: torch.Tensor | None = None,
    ) -> io.NodeOutput:
        if image is not None:
            height, width = image.shape[1:3]
        pictures = draw_poses(pose, range(0, len(pose), every), width, height)
        if image is not None:
            pictures = overlay_poses(pictures, to_bytes(image[0, ..., :3].float()), opacity)
        return io.NodeOutput(to_images(pictures))


NODES: list[type[io.ComfyNode]] = [
    EchoMimicLoadPose,
    EchoMimicPoseFromKeypoints,
    EchoMimicPoseToKeypoints,
    EchoMimicFitPose,
    EchoMimicPreviewPose,
]
