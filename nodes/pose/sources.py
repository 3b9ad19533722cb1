"""Where gestures come from: files, videos, keypoints of other packs, the voice alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ...echomimic.audio import SpeechFeatures, frames_needed
from ...echomimic.errors import PoseError
from ...echomimic.pose import PoseSequence, from_pose_keypoints, load_poses
from ...echomimic.pose.gestures import GestureSettings, generate_gestures
from ...echomimic.pose.sources.cache import cached, pictures_key
from ...echomimic.pose.sources.dwpose import DWPose
from ...echomimic.pose.sources.extract import extract_poses, person_fact, poses_of_pictures
from .. import folders, host, previews, widgets
from ..values import to_waveform
from .clips import changed, find_clip, pose_clips
from .values import CATEGORY, PoseKeypoint, canvas_widgets, image_batch, pictures_of, to_canvas

logger = logging.getLogger("echomimic")

# The key under which `web/js/clips.js` finds what a node's poses look like, and the widget there that chooses clips.
SHOWN, CLIPS_WIDGET = "echomimic_poses", "ECHOMIMIC_CLIP_CHOICE"


class EchoMimicLoadPose(io.ComfyNode):
    """A clip from a file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicLoadPose",
            display_name="EchoMimic Load Pose",
            category=CATEGORY,
            description="Loads a gesture clip: one that ships with the pack, one that EchoMimic Save Pose wrote, or "
            "your own from models/echomimic/poses or the input folder (.safetensors, keypoints in .json or .jsonl or a "
            "folder of them, a folder of .npy).",
            search_aliases=["gesture", "hand pose", "dwpose", "npy", "motion", "echomimic"],
            inputs=[
                io.Combo.Input(
                    "clip",
                    options=list(pose_clips()) or [widgets.NOTHING],
                    tooltip="Bare names ship with the pack; poses/... are in models/echomimic/poses, input/... in "
                    "ComfyUI's input folder, output/... are those that EchoMimic Save Pose wrote.",
                ),
                widgets.rate(
                    "Frames a second of a clip that does not record its rate: a folder (the original's have 24), most "
                    "keypoint files. A rate that the clip records counts instead, and the log says so.",
                    advanced=True,
                ),
                *canvas_widgets(),
            ],
            outputs=[
                host.EchoMimicPose.Output(
                    display_name="pose", tooltip="For EchoMimic Fit Pose Length, then the sampler."
                ),
                io.Int.Output(display_name="frames", tooltip="Frames in the clip."),
            ],
        )

    @classmethod
    def validate_inputs(cls, clip: str | None) -> bool | str:
        # Instead of ComfyUI's own look into the list, which would refuse what `find_clip` finds beyond it.
        if clip is not None:  # linked: known when it runs
            try:
                clip_path(clip)
            except PoseError as error:
                return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, clip: str | None, **others: Any) -> Any:
        path = find_clip(clip or "")
        return None if path is None else (str(path), changed(path))

    @classmethod
    def execute(cls, clip: str, fps: float, canvas_width: int = 0, canvas_height: int = 0) -> io.NodeOutput:
        canvas = to_canvas(canvas_width, canvas_height)
        poses = load_poses(clip_path(clip), canvas_size=canvas, unrecorded_fps=fps)
        if poses.fps != fps:
            logger.info("%s records %g frames a second, which count instead of the node's %g", clip, poses.fps, fps)
        # The frontend has moving pictures of the clips that ship, whose names are bare.
        shown = previews.show_poses(poses, SHOWN) if "/" in clip else None
        return io.NodeOutput(poses, len(poses), ui=shown)


def clip_path(name: str) -> Path:
    """Where a listed clip is.

    Raises:
        PoseError: it is not there (any more).
    """
    path = find_clip(name)
    if path is None:
        raise PoseError(
            f"the pose clip {name} is not there: put clips into {folders.own_folder() / 'poses'} or ComfyUI's input "
            "folder, then press R to refresh the list"
        )
    return path


class EchoMimicExtractPose(io.ComfyNode):
    """A video's or a picture's poses, by the detector that the model was trained with."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicExtractPose",
            display_name="EchoMimic Extract Pose",
            category=CATEGORY,
            description="Finds the poses in a video, or in a portrait, with DWPose, the detector the model was trained "
            "with. Needs the optional packages onnxruntime and rtmlib and two files; ComfyUI's SDPose needs neither.",
            search_aliases=["dwpose", "openpose", "motion capture", "driving video", "keypoints", "echomimic"],
            inputs=[
                io.MultiType.Input(
                    "video",
                    [io.Video, io.Image],
                    tooltip="A video (Load Video; read frame by frame, so it may be long), images, or a portrait.",
                ),
                widgets.rate(
                    "Frames a second of the poses, 1 to 120. A video is brought to this rate, the gestures "
                    "keep their speed; images are assumed to have it."
                ),
                io.Int.Input(
                    "person",
                    default=-1,
                    min=-1,
                    max=7,
                    advanced=True,
                    tooltip="Which person where there are several, counted from 0 for the largest in the first frame "
                    "that shows so many, and followed from there; -1 follows the largest over all "
                    "frames. Whoever passes, in at most 12 frames, is not counted.",
                ),
                io.Combo.Input(
                    "device",
                    options=["auto", "cpu", "cuda"],
                    default="auto",
                    advanced=True,
                    tooltip="Where the detector runs; auto takes the GPU where onnxruntime has one (onnxruntime-gpu).",
                ),
            ],
            outputs=[
                host.EchoMimicPose.Output(
                    display_name="pose", tooltip="For EchoMimic Edit Pose (repair), then EchoMimic Retarget Pose."
                ),
                io.Int.Output(display_name="frames", tooltip="Frames in the clip."),
            ],
        )

    @classmethod
    def execute(cls, video: Any, fps: float, person: int, device: str) -> io.NodeOutput:
        detector = DWPose(folders.detector_folder(), None if device == "auto" else device)
        options = {
            "fps": fps,
            "person": None if person < 0 else person,
            "on_frame": extraction_progress(host.progress()),
        }
        if not hasattr(video, "get_stream_source"):
            poses = poses_of_images(video, detector, **options)
        else:
            with host.video_file(video) as (path, start, duration):
                part = {"start": start, "duration": duration or None}
                poses = extract_poses(path, detector, cache=folders.cache_folder(), **part, **options)
        return io.NodeOutput(poses, len(poses))


def poses_of_images(images: torch.Tensor, detector: DWPose, **options: Any) -> PoseSequence:
    """The poses of IMAGE `[n, H, W, C]`, cached by content."""
    images = image_batch(images)
    key = pictures_key(pictures_of(images), detector.identity, options["fps"], person_fact(options["person"]))
    make = partial(poses_of_pictures, detect=detector, expected=len(images), **options)
    return cached(folders.cache_folder(), key, lambda: make(pictures_of(images)))


def extraction_progress(report: Callable[[int, int], None]) -> Callable[[int, int | None], None]:
    """Progress of an extraction as the host's; a container may claim fewer frames than it has, or none."""
    return lambda done, expected: report(done, max(done, expected or done + 1))


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
                widgets.rate(
                    "Frames a second of the driving video (Get Video Components gives it): keypoints do not record it.",
                    largest=1000.0,
                ),
                io.Int.Input(
                    "person",
                    default=-1,
                    min=-1,
                    max=99,
                    advanced=True,
                    tooltip="Which person where there are several, from 0; -1 takes the largest.",
                ),
                *canvas_widgets(),
            ],
            outputs=[host.EchoMimicPose.Output(display_name="pose", tooltip="For EchoMimic Fit Pose Length.")],
        )

    @classmethod
    def execute(
        cls, keypoints: Any, fps: float, person: int, canvas_width: int = 0, canvas_height: int = 0
    ) -> io.NodeOutput:
        canvas = to_canvas(canvas_width, canvas_height)
        return io.NodeOutput(from_pose_keypoints(keypoints, fps, None if person < 0 else person, canvas))


def load_named(name: str) -> PoseSequence:
    """A listed clip, with the list's name as its own."""
    clip = load_poses(clip_path(name))
    return clip.with_points(clip.keypoints, info={**clip.info, "name": name})


class EchoMimicGenerateGestures(io.ComfyNode):
    """Gestures that follow the voice."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicGenerateGestures",
            display_name="EchoMimic Generate Gestures",
            category=CATEGORY,
            description="Makes gestures from the voice alone, for its whole length: hands rest in pauses, beat on "
            "stressed syllables, and move more where the voice is louder. No driving video is needed.",
            search_aliases=["co-speech", "speech to gesture", "auto gesture", "audio driven", "voice", "echomimic"],
            inputs=[
                io.Audio.Input("audio", tooltip="The voice: the audio output of EchoMimic Encode Audio."),
                host.EchoMimicAudio.Input(
                    "speech",
                    optional=True,
                    tooltip="From EchoMimic Encode Audio: the poses then have exactly the sampler's frames and rate.",
                ),
                widgets.factor("energy", 0.5, "How large and quick the gestures are, 0 (hardly moving) to 1."),
                widgets.factor(
                    "expressiveness",
                    0.5,
                    "How much loud phrases and stressed words stand out, 0 (even throughout) to 1.",
                ),
                widgets.seed("Another seed, other gestures; the same seed, the same ones."),
                io.MultiCombo.Input(
                    "clips",
                    options=list(pose_clips()),
                    default=[],
                    placeholder="all everyday clips",
                    # ComfyUI's own list of several choices is not shown in Nodes 2.0.
                    extra_dict={"widgetType": CLIPS_WIDGET},
                    tooltip="The clips that the gestures are made of, your own too (all of one person in one framing). "
                    "None chosen: all that ship, except signs like a thumbs up, which do not suit any speech.",
                ),
                io.Boolean.Input(
                    "mirrored",
                    default=True,
                    label_on="both hands",
                    label_off="as filmed",
                    advanced=True,
                    tooltip="Let clips also be used the other way round: the right hand's gestures by the left.",
                ),
                widgets.rate(
                    "Frames a second, 1 to 120, where speech is not linked: that of EchoMimic Encode Audio.",
                    advanced=True,
                ),
            ],
            outputs=[
                host.EchoMimicPose.Output(
                    display_name="pose", tooltip="For EchoMimic Retarget Pose, or the sampler where it fits already."
                ),
                io.Int.Output(display_name="frames", tooltip="Frames in the clip."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, clips: list[str] | None = None, **others: Any) -> Any:
        known = pose_clips()
        return [(name, changed(known[name])) for name in clips or [] if name in known]

    @classmethod
    def execute(
        cls,
        audio: dict[str, Any],
        energy: float,
        expressiveness: float,
        seed: int,
        clips: list[str],
        mirrored: bool,
        fps: float,
        speech: SpeechFeatures | None = None,
    ) -> io.NodeOutput:
        library = [load_named(name) for name in clips] or None
        # By name, as of a library whose clips are not named those that mean something by themselves are left out.
        settings = GestureSettings(energy, expressiveness, seed, tuple(clips) or None, mirrored)
        waveform, sample_rate = to_waveform(audio)
        rate = fps if speech is None else speech.fps
        frames = frames_needed(waveform, sample_rate, rate) if speech is None else len(speech)
        poses = generate_gestures(waveform, sample_rate, rate, library, settings, frames)
        return io.NodeOutput(poses, len(poses), ui=previews.show_poses(poses, SHOWN))


NODES: list[type[io.ComfyNode]] = [
    EchoMimicLoadPose,
    EchoMimicExtractPose,
    EchoMimicPoseFromKeypoints,
    EchoMimicGenerateGestures,
]
