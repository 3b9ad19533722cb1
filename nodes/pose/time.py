"""Time and repair: cut, reverse, join and repair clips, and bring them to the audio's length."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from comfy_api.latest import io

from ...echomimic.audio import SpeechFeatures
from ...echomimic.errors import PoseError
from ...echomimic.pose import PoseSequence, fit_length, resample
from ...echomimic.pose.fitting.linear import adjust
from ...echomimic.pose.repair import RepairSettings, mirror, repair
from ...echomimic.pose.timing import (
    FitMode,
    back_and_forth,
    concatenate,
    hold_seconds,
    loop,
    make_loop,
    reverse,
    trim_seconds,
)
from .. import host, widgets
from .values import CATEGORY

BLEND_TOOLTIP = "How long the blend at the seam lasts at least, in seconds, 0 to 10; 0 is a hard cut."


def edits() -> list[io.DynamicCombo.Option]:
    """What can be done, with each edit's own settings."""
    option = io.DynamicCombo.Option
    return [
        option(
            "repair",
            [
                widgets.factor(
                    "score_floor",
                    0.3,
                    "Points the detector is less sure of are dropped, 0 to 1.",
                    step=0.01,
                    round=0.0001,
                ),
                io.Boolean.Input("swaps", default=True, tooltip="Give exchanged hands back to their own side."),
                io.Boolean.Input("outliers", default=True, tooltip="Drop points that jump away and come back."),
                widgets.seconds(
                    "fill_gaps",
                    0.5,
                    "Points that vanish for up to this long, most often hands, are filled in; in seconds.",
                    10.0,
                ),
                widgets.factor(
                    "smoothing",
                    0.5,
                    "How much jitter is removed, 0 to 1. Fast moves keep their shape.",
                    step=0.01,
                    round=0.0001,
                ),
                widgets.seconds(
                    "fade", 0.15, "How long hands take to appear and vanish, in seconds: no blinking.", 5.0
                ),
            ],
        ),
        option(
            "trim",
            [
                widgets.seconds("start", 0.0, "Where to begin, in seconds."),
                widgets.seconds("duration", 0.0, "How much to keep, in seconds; 0 keeps all that follows."),
            ],
        ),
        option("reverse", []),
        option("mirror", []),
        option("back and forth", []),
        option(
            "loop",
            [
                io.Int.Input("times", default=2, min=1, max=10000, tooltip="How often the clip is played."),
                widgets.seconds("blend_seconds", 0.5, BLEND_TOOLTIP, 10.0),
            ],
        ),
        option("make seamless", [widgets.seconds("blend_seconds", 0.5, BLEND_TOOLTIP, 10.0)]),
        option(
            "hold",
            [
                widgets.seconds("before", 0.0, "How long the first pose is held, in seconds."),
                widgets.seconds("after", 1.0, "How long the last pose is held, in seconds."),
            ],
        ),
        option("join", [widgets.seconds("blend_seconds", 0.5, BLEND_TOOLTIP, 10.0)]),
        option(
            "resample",
            [widgets.rate("The new rate; the gestures keep their speed.")],
        ),
        option(
            "move",
            [
                widgets.factor("scale", 1.0, "Above 1 makes the person larger, about the neck.", 0.1, 10, 0.01, 0.0001),
                widgets.factor(
                    "right",
                    0.0,
                    "Moves the person right, in fractions of the video's width; below 0 left.",
                    -2,
                    2,
                    0.01,
                    0.0001,
                ),
                widgets.factor(
                    "down",
                    0.0,
                    "Moves the person down, in fractions of the video's height; below 0 up.",
                    -2,
                    2,
                    0.01,
                    0.0001,
                ),
            ],
        ),
    ]


def join(pose: PoseSequence, then: PoseSequence | None, blend_seconds: float) -> PoseSequence:
    """Two clips, one after the other."""
    if then is None:
        raise PoseError("there is nothing to join: link the second clip to 'then'")
    return concatenate([pose, then], blend_seconds)


# By edit: called with the clip, the second clip, and the edit's settings by name.
EDITS: dict[str, Callable[[PoseSequence, PoseSequence | None, dict[str, Any]], PoseSequence]] = {
    "repair": lambda pose, _, s: repair(
        pose,
        RepairSettings(s["score_floor"], s["swaps"], s["outliers"], s["fill_gaps"], s["smoothing"], s["fade"]),
    ),
    "trim": lambda pose, _, s: trim_seconds(pose, s["start"], s["duration"] or None),
    "reverse": lambda pose, _, s: reverse(pose),
    "mirror": lambda pose, _, s: mirror(pose),
    "back and forth": lambda pose, _, s: back_and_forth(pose),
    "loop": lambda pose, _, s: loop(pose, s["times"], s["blend_seconds"]),
    "make seamless": lambda pose, _, s: make_loop(pose, s["blend_seconds"]),
    "hold": lambda pose, _, s: hold_seconds(pose, s["before"], s["after"]),
    "join": lambda pose, then, s: join(pose, then, s["blend_seconds"]),
    "resample": lambda pose, _, s: resample(pose, s["fps"]),
    "move": lambda pose, _, s: adjust(pose, s["scale"], (s["right"], s["down"])),
}


class EchoMimicEditPose(io.ComfyNode):
    """One edit; several nodes in a row make several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="EchoMimicEditPose",
            display_name="EchoMimic Edit Pose",
            category=CATEGORY,
            description="Changes a clip: repair a detector's jitter and gaps, trim, reverse, mirror, loop, join, hold, "
            "resample, move. Put several in a row for several edits.",
            search_aliases=["smooth", "trim", "reverse", "mirror", "loop", "concatenate", "resample", "echomimic"],
            inputs=[
                host.EchoMimicPose.Input("pose", tooltip="Any poses of this pack."),
                host.EchoMimicPose.Input("then", optional=True, tooltip="For 'join': the clip that follows."),
                io.DynamicCombo.Input(
                    "edit",
                    options=edits(),
                    tooltip="What to do. repair: remove a detector's jitter, gaps and exchanged hands. back and forth: "
                    "once forwards, once backwards. make seamless: bend both ends towards each other. move: scale and "
                    "shift the whole person.",
                ),
            ],
            outputs=[
                host.EchoMimicPose.Output(display_name="pose", tooltip="The changed clip."),
                io.Int.Output(display_name="frames", tooltip="Frames in the clip."),
            ],
        )

    @classmethod
    def execute(cls, pose: PoseSequence, edit: dict[str, Any], then: PoseSequence | None = None) -> io.NodeOutput:
        changed = EDITS[edit["edit"]](pose, then, edit)
        return io.NodeOutput(changed, len(changed))


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
                    tooltip="How a clip that is too short continues. back_and_forth: backwards, then forwards again, "
                    "without a jump. loop: from the start again. hold: the last pose stays.",
                ),
                widgets.seconds(
                    "blend_seconds",
                    0.5,
                    "How softly it continues, in seconds, 0 to 10: the blend at the seam of a loop, or how long "
                    "the hands slow down at a turn.",
                    10.0,
                ),
            ],
            outputs=[host.EchoMimicPose.Output(display_name="pose", tooltip="For EchoMimic Sampler.")],
        )

    @classmethod
    def execute(cls, pose: PoseSequence, audio: SpeechFeatures, mode: FitMode, blend_seconds: float) -> io.NodeOutput:
        return io.NodeOutput(fit_length(pose, len(audio), audio.fps, mode, blend_seconds))


NODES: list[type[io.ComfyNode]] = [EchoMimicEditPose, EchoMimicFitPose]
