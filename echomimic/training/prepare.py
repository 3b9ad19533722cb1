"""From a folder of videos to training clips: scenes of one person, cropped from head to waist, with sound and poses.

Each video is analysed once; its result is kept in `DATA/.prepared`, so that an interrupted run continues with the next
video.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import pad

from ..audio import read_video_sound
from ..cancellation import cancellable
from ..errors import (
    AudioError,
    Cancelled,
    EchoMimicError,
    MissingPackageError,
    OutputError,
    PoseError,
    TrainingError,
)
from ..files.atomic import atomic_output
from ..files.listing import scan
from ..media.video_writer import write_video
from ..media.waveform import SAMPLE_RATE, mono_16khz
from ..pose import PoseSequence, save_poses
from ..pose.anatomy import SEEN, region_sides
from ..pose.canvas import picture_canvas
from ..pose.fitting.align import crop_picture, crop_poses, head_to_waist
from ..pose.sequence import FACE
from ..pose.sources.cache import file_key
from ..pose.sources.extract import Detector, poses_of_pictures
from .clip_files import frames_at_rate, write_wav
from .clip_filters import CountingDetector, PrepareSettings, is_headshot, refuse_poses
from .records import CARD, ClipRecord
from .regions import Box, PlacedHeadshot
from .run_folder import write_text
from .scenes import check_packages, scenes
from .video_results import Refusal, VideoResult, read_result, unlisted_clips, write_metadata

logger = logging.getLogger("echomimic")

VIDEO_ENDINGS = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")
STATE = ".prepared"
MAX_STEM_BYTES = 120
# Longest side of a refused part's picture, in pixels.
THUMBNAIL = 192


# Called with (videos done, videos in all, the latest result).
OnVideo = Callable[[int, int, VideoResult], Any]


def prepare(
    videos: Iterable[Path],
    output: Path,
    detect: Detector,
    settings: PrepareSettings | None = None,
    *,
    workers: int = 1,
    on_video: OnVideo | None = None,
) -> list[VideoResult]:
    """Make training clips of videos.

    Args:
        videos: files; those that were done before with the same settings are skipped, and copies of one are refused.
            `metadata.jsonl` lists the clips of these alone.
        output: the data folder.
        detect: finds the people of a picture; called from several threads.
        settings: what becomes a clip.
        workers: videos at a time.
        on_video: see `OnVideo`.

    Returns:
        each video's result, in the order of `videos`.

    Raises:
        TrainingError: there are no videos.
        MissingPackageError: PySceneDetect is not installed.
        OutputError: the folder cannot be written.
        KeyboardInterrupt, or what `on_video` raises: after each video that is being done has stopped at its next frame;
            the results of those that were done stay.
    """
    settings = settings or PrepareSettings()
    paths = list(dict.fromkeys(videos))
    if not paths:
        raise TrainingError("there are no videos to prepare")
    check_packages()
    for folder in (output, output / "clips", output / "refused", output / STATE):
        folder.mkdir(parents=True, exist_ok=True)
    if not (output / "README.md").is_file():
        write_text(output / "README.md", CARD)
    results: dict[Path, VideoResult] = {}
    taken: dict[str, Path] = {}
    stopped = threading.Event()

    def check_stopped() -> None:
        if stopped.is_set():
            raise Cancelled("stopped")

    def work(path: Path) -> VideoResult:
        with cancellable(check_stopped):
            return prepare_video(path, output, detect, settings, taken)

    with ThreadPoolExecutor(workers, thread_name_prefix="echomimic-prepare") as pool:
        jobs = {pool.submit(work, path): path for path in paths}
        try:
            for job in as_completed(jobs):
                result = results[jobs[job]] = job.result()
                write_metadata(output, [results[path] for path in paths if path in results])
                if on_video is not None:
                    on_video(len(results), len(paths), result)
        except BaseException:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            raise
    if left_out := unlisted_clips(output, output / STATE, list(results.values())):
        logger.warning(
            "metadata.jsonl in %s no longer lists %d of its clips (%s first), which other videos or settings gave: "
            "to train on all, give all videos in one command; those that were done are not done again",
            output, len(left_out), left_out[0],
        )  # fmt: skip
    return [results[path] for path in paths]


def prepare_video(
    path: Path, output: Path, detect: Detector, settings: PrepareSettings, taken: dict[str, Path]
) -> VideoResult:
    """One video's clips; taken from an earlier run where it was done already.

    Args:
        taken: the videos of this run by content, to which it adds itself.
    """
    try:
        key = file_key(path, "prepare 2", detect.identity, settings_text(settings))
    except PoseError as error:
        return VideoResult(path.name, refusals=[Refusal(path.name, (0.0, 0.0), str(error))])
    # A copy's clips would have the same names, be written at the same time, and count twice.
    if (original := taken.setdefault(key, path)) != path:
        return VideoResult(path.name, refusals=[Refusal(path.name, (0.0, 0.0), f"it is a copy of {original}")])
    state = output / STATE / f"{key}.json"
    if state.is_file():
        done = read_result(state)
        files = [] if done is None else [name for c in done.clips for name in (c.file_name, c.audio, c.poses)]
        if done is not None and all((output / name).is_file() for name in files):
            return done
    result = VideoResult(path.name)
    try:
        samples = mono_16khz(*read_video_sound(path))
        streams = Streams.of(path, settings.fps)
        for number, (begin, end) in enumerate(scenes(path, settings)):
            part = sound_of(samples, begin, end, settings.fps)
            stem = f"clips/{shortened(path.stem)}-{key[:6]}-{number:03d}"
            counting = CountingDetector(detect)
            made = make_clip(streams, begin, end, part, output, stem, counting, settings)
            if isinstance(made, ClipRecord):
                result.clips.append(made)
            else:
                example = counting.example
                if example is None:  # refused before anybody looked for people
                    example = next(part_of(streams.analysed, begin, end), None)
                picture = write_thumbnail(output, f"refused/{Path(stem).name}.jpg", example)
                result.refusals.append(Refusal(path.name, (begin / settings.fps, end / settings.fps), made, picture))
    except (OutputError, MissingPackageError):
        raise  # not this video's fault: every other one would fail as well
    except EchoMimicError as error:
        first = first_picture(path, settings.fps)
        reason = str(error).replace(str(path), path.name)
        if isinstance(error, AudioError):
            reason = "this is not a video, or a damaged one" if first is None else f"no usable sound: {reason}"
        picture = write_thumbnail(output, f"refused/{shortened(path.stem)}-{key[:6]}.jpg", first)
        result.refusals.append(Refusal(path.name, (0.0, 0.0), reason, picture))
    except Cancelled:
        raise
    except Exception as error:  # one video must not end the night's work; it is tried again in the next run
        logger.debug("%s", path, exc_info=True)
        reason = f"it failed ({type(error).__name__}: {error})"
        return replace(result, refusals=[*result.refusals, Refusal(path.name, (0.0, 0.0), reason)])
    write_text(state, result.to_json())
    return result


def sound_of(samples: Tensor, begin: int, end: int, fps: float) -> Tensor:
    """The sound of frames begin..end, `[n]`; silence where it ends before the pictures."""
    first, last = round(begin / fps * SAMPLE_RATE), round(end / fps * SAMPLE_RATE)
    part = samples[first:last]
    return pad(part, (0, last - first - len(part)))


def shortened(stem: str) -> str:
    """The start of a video's name that leaves room for what its clips' names add; file systems allow 255 bytes."""
    return os.fsencode(stem)[:MAX_STEM_BYTES].decode(errors="ignore")


def make_clip(
    streams: Streams,
    begin: int,
    end: int,
    sound: Tensor,
    output: Path,
    stem: str,
    counting: CountingDetector,
    settings: PrepareSettings,
) -> ClipRecord | str:
    """One scene, frames begin..end at the clips' rate, as files; or the reason why not."""
    frames = end - begin
    if frames < settings.min_seconds * settings.fps:
        return f"the scene lasts {frames / settings.fps:.2f} s, {settings.min_seconds:g} s are needed"
    loudness = float(sound.square().mean().sqrt())
    if loudness < settings.min_loudness:
        return f"the sound is silent (level {loudness:.1e}, {settings.min_loudness:.0e} is needed)"
    try:
        poses = poses_of_pictures(part_of(streams.analysed, begin, end), counting, settings.fps)
    except PoseError as error:
        return str(error)
    poses = replace(poses, info={"name": Path(stem).name, "source": f"extracted from {streams.name}"})
    reason = refuse_poses(poses, counting, settings)
    if reason:
        return reason
    headshot = is_headshot(poses, settings)
    if headshot and not settings.headshots:
        return "no hands are found: it is a headshot, and headshots are not wanted"
    try:
        placed = place_head(poses, settings.size) if headshot else place_body(poses, settings.size)
        pictures = (placed.cut(picture)[None] for picture in part_of(streams.cut_from, begin, end))
        write_video(output / f"{stem}.mp4", pictures, settings.fps, crf=12)
    except (PoseError, TrainingError) as error:
        return str(error)
    write_wav(output / f"{stem}.wav", sound)
    save_poses(placed.poses, output / f"{stem}.poses.safetensors", precision="float32")
    box = placed.box
    return ClipRecord(
        file_name=f"{stem}.mp4",
        audio=f"{stem}.wav",
        poses=f"{stem}.poses.safetensors",
        frames=len(poses),
        fps=settings.fps,
        size=settings.size,
        headshot=headshot,
        head_box=(box.left, box.top, box.right, box.bottom),
        source=f"{streams.name} {begin / settings.fps:.2f}-{end / settings.fps:.2f} s",
    )


@dataclass(frozen=True)
class Streams:
    """A video read twice side by side, so that each scene is analysed and then cut without seeking back.

    Attributes:
        name: the video's.
        analysed, cut_from: its numbered frames at the clips' rate.
    """

    name: str
    analysed: Iterator[tuple[int, np.ndarray]]
    cut_from: Iterator[tuple[int, np.ndarray]]

    @classmethod
    def of(cls, path: Path, fps: float) -> Streams:
        return cls(path.name, enumerate(frames_at_rate(path, fps)), enumerate(frames_at_rate(path, fps)))


def part_of(stream: Iterator[tuple[int, np.ndarray]], begin: int, end: int) -> Iterator[np.ndarray]:
    """The frames begin..end of a stream that has not come to `begin` yet."""
    for number, picture in stream:
        if number >= begin:
            yield picture
        if number >= end - 1:
            return


@dataclass(frozen=True)
class Placed:
    """How a scene's pictures are cut to the training square, its poses there, and the part that the video covers."""

    cut: Callable[[np.ndarray], np.ndarray]
    poses: PoseSequence
    box: Box


def place_body(poses: PoseSequence, size: int) -> Placed:
    """Cut from head to waist, as the published model's data are."""
    crop = head_to_waist(poses)
    return Placed(lambda picture: crop_picture(picture, crop, size), crop_poses(poses, crop), Box(0.0, 0.0, 1.0, 1.0))


def place_head(poses: PoseSequence, size: int) -> Placed:
    """Bring a headshot's face to where half-body pictures have it, and pad.

    Raises:
        PoseError: no frame shows a face.
        TrainingError: the face lies so that nothing of the headshot would be seen.
    """
    seen = poses.scores[:, FACE] >= SEEN
    places = poses.keypoints[:, FACE][seen]
    if not len(places) or not np.ptp(places[:, 1]) > 0:
        raise PoseError(
            f"the {len(poses)} frames show hands too seldom for a clip from head to waist, and no face for a headshot "
            f"({len(places)} points of one are seen): use a video that shows the face"
        )
    low, high = places.min(axis=0), places.max(axis=0)
    width, height = region_sides(poses.canvas)
    face = Box(float(low[0]), float(low[1]), float(high[0]), float(high[1]))
    placed = PlacedHeadshot.of(int(width), int(height), face, size)
    points = placed.points(poses.keypoints * [width, height])
    return Placed(placed.picture, poses.with_points(points, canvas=picture_canvas(size, size)), placed.box)


def first_picture(path: Path, fps: float) -> np.ndarray | None:
    """A video's first frame, where it has one that can be decoded."""
    try:
        return next(frames_at_rate(path, fps), None)
    except EchoMimicError:
        return None


def write_thumbnail(output: Path, name: str, picture: np.ndarray | None) -> str:
    """Write a picture as a small JPEG; returns its name, or "" where there is none."""
    if picture is None:
        return ""
    image = Image.fromarray(picture)
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    with atomic_output(output / name) as temporary:
        image.save(temporary, "JPEG", quality=80)
    return name


def find_videos(paths: Sequence[Path]) -> list[Path]:
    """The video files among paths and in folders (with their subfolders), sorted; each once.

    Raises:
        TrainingError: a path is not there, or no video is found.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(scan(path, VIDEO_ENDINGS))
        elif path.is_file():
            found.append(path)
        else:
            raise TrainingError(f"there is no video or folder {path}")
    if not found:
        raise TrainingError(f"no video is in {', '.join(map(str, paths))}; known endings: {' '.join(VIDEO_ENDINGS)}")
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    return list(once.values())


def settings_text(settings: PrepareSettings) -> str:
    """The settings as text, for a key."""
    return ", ".join(f"{f.name}={getattr(settings, f.name)!r}" for f in fields(settings))
