"""Gestures from the voice alone: prosody, a walk through the motion graph, and one seamless pose sequence."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor

from ...errors import PoseError
from ..sequence import PoseSequence, check_rate
from ..timing import blend_seams, resampled_length, sample_at, typical_top_speed
from .graph import MotionGraph, build_motion_graph
from .library import load_library
from .planner import Step, gesture_targets, plan
from .prosody import Prosody, analyse_voice

logger = logging.getLogger("echomimic")

_BLEND_SECONDS = 0.35
SILENT = "The recording holds no voice: hands and mouth rest throughout."


@dataclass(frozen=True)
class GestureSettings:
    """How to gesture.

    Attributes:
        energy: 0 (hardly moving) to 1 (as large and quick as the clips get).
        expressiveness: 0 (even throughout) to 1 (loud phrases and stressed words make all the difference).
        seed: another seed, other gestures; the same seed, the same ones.
        clips: names of the clips that may be used. None: all but those that mean something by themselves (a clip with
            `"kind": "emblem"` in its info, such as a thumbs up), which a voice alone gives no reason for.
        mirrored: let clips also be used the other way round, the right hand's gestures made by the left.
    """

    energy: float = 0.5
    expressiveness: float = 0.5
    seed: int = 0
    clips: tuple[str, ...] | None = None
    mirrored: bool = True

    def __post_init__(self) -> None:
        for name in ("energy", "expressiveness"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PoseError(f"gestures: {name} must lie between 0 and 1, got {value}")
        if self.seed < 0:
            raise PoseError(f"gestures: the seed must be 0 or more, got {self.seed}")


def generate_gestures(
    waveform: Tensor | np.ndarray,
    sample_rate: int,
    fps: float = 24.0,
    library: Sequence[PoseSequence] | None = None,
    settings: GestureSettings | None = None,
    frames: int | None = None,
) -> PoseSequence:
    """A pose sequence for a recording: hands at rest in silence, strokes on stressed syllables, larger when louder.

    Args:
        waveform: `[samples]` or `[channels, samples]`, any rate.
        sample_rate: in Hz.
        fps: rate of the result.
        library: clips to make the gestures from, all of one person in one framing; None: those that ship.
        settings: see `GestureSettings`.
        frames: how many are wanted, 1 or more; None: as many as the recording is long, to the nearest frame. Before and
            after the voice the hands rest.

    Returns:
        A clip with that many frames.

    Raises:
        AudioError: a recording without samples or with samples that are not numbers.
        PoseError: no usable clips, an unknown clip name, or an impossible rate or number of frames.
    """
    settings = settings or GestureSettings()
    check_rate(fps)
    if frames is not None and frames < 1:
        raise PoseError(f"gestures: a sequence cannot have {frames} frames: choose 1 or more")
    clips = choose_clips(load_library() if library is None else library, settings.clips)
    voice = analyse_voice(waveform, sample_rate)
    graph = build_motion_graph(clips, settings.mirrored)
    return gestures_for(voice, graph, fps, settings, frames)


def choose_clips(library: Sequence[PoseSequence], names: Sequence[str] | None) -> list[PoseSequence]:
    """The clips of a library that may be used; see `GestureSettings.clips`. A clip of a folder goes by its file's name,
    and by the one that it recorded before it was renamed.

    Raises:
        PoseError: a name that the library does not have, or nothing left.
    """
    if names is None:
        chosen = [clip for clip in library if clip.info.get("kind") != "emblem"]
        # A library of emblems only was meant to be used.
        return chosen or list(library)
    by_name = {clip.info.get(key, ""): clip for key in ("name", "file") for clip in library}
    unknown = [name for name in names if name not in by_name]
    if unknown or not names:
        what = f"no clip named {', '.join(map(repr, unknown))}" if unknown else "no clips are allowed"
        raise PoseError(f"gestures: {what}; the library has: {', '.join(sorted(filter(None, by_name)))}")
    return [by_name[name] for name in names]


def gestures_for(
    voice: Prosody, graph: MotionGraph, fps: float, settings: GestureSettings, frames: int | None = None
) -> PoseSequence:
    """The sequence for an analysed voice and a built graph; see `generate_gestures`."""
    if frames is None:
        frames = resampled_length(round(voice.seconds * 1e6), 1e6, fps)
    targets = gesture_targets(voice, settings.energy, settings.expressiveness, settings.seed)
    steps = plan(graph, targets, frames, fps)
    silent = not voice.speaking.any()
    if silent:
        logger.info("%s", SILENT)
    sequence = _assemble(graph, steps, frames, fps)
    info = {
        "name": "gestures",
        "description": "Generated from the voice.",
        "source": f"energy {settings.energy:g}, expressiveness {settings.expressiveness:g}, seed {settings.seed}",
    }
    if silent:  # read in the report of a fit
        info["note"] = SILENT
    return replace(sequence, info=info)


def _assemble(graph: MotionGraph, steps: list[Step], frames: int, fps: float) -> PoseSequence:
    """Play the movements one after the other, each stretched into its frames, and blend where clips change."""
    parts, seams = [], []
    limits = [typical_top_speed(clip) * clip.fps / fps for clip in graph.clips]
    for number, step in enumerate(steps):
        clip, length = graph.clip[step.movement], step.end - step.begin
        source = graph.clips[clip]
        begin, end = graph.begin[step.movement] * source.fps, graph.end[step.movement] * source.fps
        parts.append(sample_at(source, begin + (end - begin) * np.arange(length) / length))
        before = steps[number - 1] if number else None
        if before and graph.distance[before.movement, step.movement] > 0 and step.begin < frames:
            room = min(before.end - before.begin, length, round(fps / 2))
            other = limits[graph.clip[before.movement]]
            seams.append((step.begin, max(room * 2 // 3, 1), max(limits[clip], other)))
    joined = parts[0].with_points(
        np.concatenate([part.keypoints for part in parts]), np.concatenate([part.scores for part in parts]), fps=fps
    )
    return blend_seams(joined, seams, _BLEND_SECONDS).take(np.arange(frames))
