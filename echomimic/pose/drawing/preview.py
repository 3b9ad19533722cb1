"""Previews of poses before a render: contact sheet, moving preview, and hand speed under the voice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from ...errors import OutputError, PoseError
from ...files.atomic import atomic_write
from ...media.limits import check_room
from ...media.waveform import mono_16khz
from ..canvas import region_in_picture
from ..gestures.graph import strokes
from ..gestures.prosody import Prosody, analyse_voice
from ..sequence import FACE, HAND_A, HAND_B, PoseSequence
from ..timing import hand_motion
from .hands import draw_poses
from .sheet import font, lay_out, sheet_pictures, spread_frames

# The body as a grey figure behind the hands: arms, shoulders, hips, neck.
_FIGURE = ((4, 3), (3, 2), (2, 1), (1, 5), (5, 6), (6, 7), (2, 8), (5, 11), (8, 11), (1, 0))
_GREY, _PAPER, _INK, _RULE = (92, 96, 104), (250, 250, 247), (48, 50, 56), (222, 222, 216)
_VOICE, _PAUSE, _ONSET = (126, 148, 176), (238, 234, 222), (206, 120, 60)
_LEFT, _RIGHT, _STROKE = (38, 126, 122), (150, 74, 140), (206, 120, 60)
# At 512 pixels; smaller pictures may be more.
_MAX_FRAMES = 3000
# What a pixel of a preview takes at its most: the drawings of all frames, and Pillow's copies of them (measured).
_PIXEL_BYTES = 12


def preview_frames(
    sequence: PoseSequence, frames: Sequence[int] | np.ndarray, side: int = 256, figure: bool = True
) -> np.ndarray:
    """Square pictures of the listed frames: the hands as the model sees them, over a grey figure of body and face.

    Args:
        sequence: the clip.
        frames: frame numbers.
        side: width and height in pixels, 16 to 4096.
        figure: False shows exactly what the model sees.

    Returns:
        uint8 `[n, side, side, 3]`, RGB.

    Raises:
        PoseError: a frame that is not there, an impossible size, or more pictures than fit in memory.
    """
    if not 16 <= side <= 4096:
        raise PoseError(f"a preview is 16 to 4096 pixels wide, not {side}")
    _check_room(len(frames), side, "choose fewer frames or a smaller size")
    hands = draw_poses(sequence, frames, side, side)
    if not figure:
        return hands
    bodies = np.stack([_figure(sequence, int(frame), side) for frame in frames]) if len(frames) else hands
    return np.where(hands.any(axis=-1, keepdims=True), hands, bodies)


def _check_room(count: int, side: int, advice: str) -> None:
    """Raises: PoseError with the advice when so many previews are more than anybody looks at, or than memory holds."""
    what, limit = f"{count} previews of {side} pixels", _MAX_FRAMES * 512 * 512 // side**2
    if count > limit:
        raise PoseError(f"{what} are too many, {limit} is the limit: {advice}")
    check_room(count * side**2 * _PIXEL_BYTES, what, advice, PoseError)


def contact_sheet(
    sequence: PoseSequence, pictures: int = 24, columns: int = 6, side: int = 256, figure: bool = True
) -> np.ndarray:
    """The clip at a glance: pictures evenly spread over it, first and last frame included, with their times.

    Args:
        sequence: the clip.
        pictures: how many; a clip with fewer frames shows them all.
        columns: most pictures in a row.
        side: size of each in pixels.
        figure: see `preview_frames`.

    Returns:
        uint8 `[rows*side, columns*side, 3]`, RGB.

    Raises:
        PoseError: less than one picture or column, or a sheet that is too large to show.
    """
    count = sheet_pictures(sequence, pictures, columns, (side, side))
    frames = spread_frames(len(sequence), count)
    return lay_out(preview_frames(sequence, frames, side, figure), frames / sequence.fps, columns)


def animated_preview(sequence: PoseSequence, path: str | Path, side: int = 256, figure: bool = True) -> Path:
    """Write the clip as a moving picture that plays at its own speed and repeats.

    GIF counts time in hundredths of a second and viewers do not play more than 50 frames a second, so every n-th frame
    is shown and the rest of the rounding is spread over the frames; WebP counts thousandths.

    Args:
        sequence: the clip.
        path: ends in `.gif` or `.webp`.
        side: size in pixels.
        figure: see `preview_frames`.

    Raises:
        PoseError: another ending, or a clip too long to be shown like this.
        OutputError: it cannot be written; nothing is left behind.
    """
    path = Path(path)
    unit = {".gif": 10, ".webp": 1}.get(path.suffix.lower())
    if unit is None:
        raise PoseError(f"{path.name}: an animated preview ends in .gif or .webp")
    step = max(1, ceil(sequence.fps / 30))
    frames = np.arange(0, len(sequence), step)
    _check_room(
        len(frames),
        side,
        f"cut out a part of the clip's {sequence.seconds:.0f} s (`pose convert --trim START END`), or make a contact "
        "sheet (.png)",
    )
    pictures = [Image.fromarray(picture) for picture in preview_frames(sequence, frames, side, figure)]
    ends = np.round(np.append(frames[1:], len(sequence)) * 1000 / sequence.fps / unit).astype(int) * unit
    durations = np.maximum(np.diff(ends, prepend=0), unit).tolist()
    try:
        with atomic_write(path) as temporary:
            pictures[0].save(
                temporary,
                format=path.suffix[1:].upper(),
                save_all=True,
                append_images=pictures[1:],
                duration=durations,
                loop=0,
                **({"quality": 80, "method": 2} if unit == 1 else {"optimize": False}),
            )
    except OSError as error:
        raise OutputError(f"{path}: the preview cannot be written ({error.strerror or error})") from error
    return path


def speed_plot(
    sequence: PoseSequence, waveform: Tensor | np.ndarray, sample_rate: int, width: int = 1280, height: int = 480
) -> np.ndarray:
    """Do the gestures follow the voice? The waveform with its pauses and syllables, and the hands' speed below it.

    Pauses are shaded through both halves; onsets of syllables are ticks under the waveform, taller for stressed ones,
    and the strokes of the hands are dots on the speed with a line up to the voice.

    Args:
        sequence: the poses.
        waveform: `[samples]` or `[channels, samples]`.
        sample_rate: in Hz.
        width, height: of the picture in pixels, at least 320 and 200, at most 8192.

    Returns:
        uint8 `[height, width, 3]`, RGB.

    Raises:
        PoseError: an impossible size.
        AudioError: a recording without samples or with samples that are not numbers.
    """
    if not (320 <= width <= 8192 and 200 <= height <= 8192):
        raise PoseError(f"a plot is 320x200 to 8192x8192 pixels, not {width}x{height}")

    scale = 2  # drawn twice as large and reduced, which smooths lines
    voice = analyse_voice(waveform, sample_rate)
    seconds = max(voice.seconds, sequence.seconds)
    image = Image.new("RGB", (width * scale, height * scale), _PAPER)
    draw = ImageDraw.Draw(image)
    left, right = 58 * scale, (width - 16) * scale
    top, middle, bottom = 34 * scale, int(height * 0.47) * scale, (height - 34) * scale

    def across(time: float) -> float:
        return left + (right - left) * time / seconds

    _draw_time(draw, voice, seconds, across, (top, bottom), scale)
    samples = np.asarray(mono_16khz(waveform, sample_rate))
    _draw_voice(draw, voice, samples, across, (top, middle - 14 * scale), scale)

    _draw_speed(draw, sequence, across, (middle + 22 * scale, bottom), (left, right), middle - 14 * scale, scale)
    titles = [
        (left, top - 10 * scale, "voice; ticks: syllables, tall where stressed; shaded: pauses", _INK),
        (left, middle + 10 * scale, "speed of the left hand", _LEFT),
        (left + 170 * scale, middle + 10 * scale, "right hand", _RIGHT),
        (left + 262 * scale, middle + 10 * scale, "a stroke lands", _STROKE),
        (right, middle + 10 * scale, "canvas sides a second", _INK),
    ]
    for x, y, text, colour in titles:
        draw.text((x, y), text, fill=colour, font=font(12 * scale), anchor="rm" if x == right else "lm")
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))


def _figure(sequence: PoseSequence, frame: int, side: int) -> np.ndarray:
    """Body and face of one frame as a thin grey drawing, uint8 `[side, side, 3]`."""
    import cv2  # heavy

    picture = np.zeros((side, side, 3), np.uint8)
    rows, columns = region_in_picture(sequence.canvas, side, side)
    size = np.array([columns[1] - columns[0], rows[1] - rows[0]])
    # Far outside the picture OpenCV's whole numbers would overflow.
    points = np.clip(sequence.keypoints[frame] * size + [columns[0], rows[0]], -4 * side, 5 * side)
    pixels = np.round(points * 16).astype(int)  # OpenCV's sixteenths of a pixel
    present = sequence.scores[frame] > 0.2
    thickness = max(1, side // 160)
    for a, b in _FIGURE:
        if present[a] and present[b]:
            cv2.line(picture, pixels[a].tolist(), pixels[b].tolist(), _GREY, thickness, cv2.LINE_AA, 4)
    for point in np.flatnonzero(present[FACE]) + FACE.start:
        cv2.circle(picture, pixels[point].tolist(), 16 * max(1, side // 256), _GREY, -1, cv2.LINE_AA, 4)
    return picture


def _draw_time(
    draw: ImageDraw.ImageDraw,
    voice: Prosody,
    seconds: float,
    across: Callable[[float], float],
    span: tuple[int, int],
    scale: int,
) -> None:
    """Shaded pauses, and lines and figures for the time."""
    top, bottom = span
    edges = [0.0, *(edge for phrase in voice.phrases for edge in phrase), voice.seconds]
    for begin, end in zip(edges[::2], edges[1::2]):
        if end > begin:
            draw.rectangle((across(begin), top, across(end), bottom), fill=_PAUSE)
    step = next(
        step for step in (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 3600) if seconds / step <= 16 or step == 3600
    )
    small = font(12 * scale)
    for time in np.arange(0, seconds + 1e-9, step):
        draw.line((across(time), top, across(time), bottom), fill=_RULE, width=scale)
        draw.text((across(time), bottom + 14 * scale), f"{time:g} s", fill=_INK, font=small, anchor="mm")


def _draw_voice(
    draw: ImageDraw.ImageDraw,
    voice: Prosody,
    samples: np.ndarray,
    across: Callable[[float], float],
    span: tuple[int, int],
    scale: int,
) -> None:
    """The waveform's envelope, and a tick under it for each onset."""
    top, bottom = span
    base = bottom - 26 * scale
    middle, half = (top + base) / 2, (base - top) / 2 - 4 * scale
    begin, end = int(across(0)), max(int(across(voice.seconds)), int(across(0)) + 1)
    bounds = np.linspace(0, len(samples), end - begin + 1).astype(int)
    peaks = np.maximum.reduceat(np.abs(samples), np.minimum(bounds[:-1], len(samples) - 1))
    peaks = peaks / max(float(peaks.max()), 1e-6)
    for column, peak in zip(range(begin, end), peaks):
        draw.line((column, middle - half * peak, column, middle + half * peak), fill=_VOICE)
    for time, stress in zip(voice.onsets, voice.stress):
        x = across(float(time))
        draw.line((x, bottom, x, bottom - (5 + 19 * float(stress)) * scale), fill=_ONSET, width=2 * scale)


def _draw_speed(
    draw: ImageDraw.ImageDraw,
    sequence: PoseSequence,
    across: Callable[[float], float],
    span: tuple[int, int],
    sides: tuple[int, int],
    voice_foot: int,
    scale: int,
) -> None:
    """The speed of both hands with its axis, and a dot and a line up to the voice for each stroke."""
    tracks = [_speed(sequence, hand) for hand in (HAND_A, HAND_B)]
    fastest = max(float(np.max(tracks)), 0.2)
    ceiling, floor = span
    left, right = sides

    def up(speed: float) -> float:
        return floor - (floor - ceiling) * speed / fastest

    small = font(12 * scale)
    tick = float(f"{fastest / 2:.1g}")
    for value in np.arange(0, fastest + 1e-9, tick):
        draw.line((left, up(value), right, up(value)), fill=_RULE, width=scale)
        draw.text((left - 8 * scale, up(value)), f"{value:g}", fill=_INK, font=small, anchor="rm")
    for track, colour in zip(tracks, (_LEFT, _RIGHT)):
        line = [(across(frame / sequence.fps), up(speed)) for frame, speed in enumerate(track)]
        draw.line([*line, line[-1]], fill=colour, width=2 * scale, joint="curve")
    landings, _ = strokes(sequence)
    for time in landings:
        x, y = across(time), up(float(max(track[min(round(time * sequence.fps), len(track) - 1)] for track in tracks)))
        draw.line((x, voice_foot, x, y), fill=_STROKE, width=scale)
        draw.ellipse((x - 4 * scale, y - 4 * scale, x + 4 * scale, y + 4 * scale), fill=_STROKE)


def _speed(sequence: PoseSequence, hand: slice) -> np.ndarray:
    """Speed of one hand at each frame `[F]`, in canvas sides a second."""
    motion = hand_motion(sequence, hand) * sequence.fps
    return np.concatenate([motion[:1], (motion[1:] + motion[:-1]) / 2, motion[-1:]]) if len(motion) else np.zeros(1)
