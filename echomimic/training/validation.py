"""Renders of fixed clips during training, what they measure, and the picture of all curves."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from ..audio import frame_levels, read_audio
from ..errors import MissingPackageError
from ..media.pictures import frame_strip
from ..media.video_writer import write_picture, write_video
from ..models.config import MAX_WINDOW
from ..models.networks import Networks
from ..runtime.context import RunContext
from ..sampling import SamplingSettings, sample_frames
from .clip_files import read_clip_frames
from .config import TrainingConfig
from .data import LoadedClip, TrainingClips
from .losses import gaussian_map
from .metrics import as_tensor
from .records import ClipRecord
from .regions import hand_and_body_points, region_box
from .run_folder import RunFolder
from .similarity import psnr, ssim

logger = logging.getLogger("echomimic")

STRIP_PICTURES = 6


@dataclass(frozen=True)
class Validation:
    """Renders the first clips of the data; see `ValidationConfig`."""

    config: TrainingConfig
    clips: TrainingClips
    networks: Networks
    folder: Path
    device: torch.device
    dtype: torch.dtype

    def run(self, step: int) -> Path:
        """Render and measure; returns the strip of the first clip: truth above, render below."""
        settings = self.config.validation
        strips = []
        for number in range(min(settings.clips, len(self.clips.records))):
            clip = self.clips.clip(number)
            truth, made = self.render(clip)
            stem = self.folder / "validation" / f"step-{step:06d}-clip-{number}"
            sound = self.clips.folder / clip.record.audio
            audio = read_audio(sound) if clip.record.audio else None
            write_video(stem.with_suffix(".mp4"), [made], clip.record.fps, audio=audio)
            measures = measure(truth, made, clip, audio)
            captions = ("the video", f"step {step}: {measures['psnr']:.1f} dB")
            rows, columns = without_padding(clip.record, *truth.shape[1:3])
            strip = make_strip(truth[:, rows, columns], made[:, rows, columns], captions=captions)
            strips.append(write_picture(stem.with_suffix(".png"), strip))
            RunFolder(self.folder).log({"step": step - 1, "validation": number, **measures})
            logger.info("step %d, clip %d: %s", step, number, ", ".join(f"{k} {v:.3g}" for k, v in measures.items()))
        return strips[0]

    def render(self, clip: LoadedClip) -> tuple[np.ndarray, np.ndarray]:
        """The clip's own frames and those that the networks make, uint8 `[F, H, W, 3]` each.

        The reference is the clip's first frame; guidance and steps are the weights' unless the configuration has its
        own.
        """
        settings, networks, size = self.config.validation, self.networks, self.config.size
        # Sound of data that an earlier version prepared may end before the pictures.
        count = min(settings.frames, clip.record.frames, len(clip.speech))
        truth = np.stack(read_clip_frames(self.clips.folder / clip.record.file_name, range(count), size))
        distilled = self.config.stage == "distill"
        steps = settings.steps or (self.config.distill.student_steps if distilled else networks.settings.steps)
        guidance = settings.guidance or (1.0 if distilled else networks.settings.guidance)
        window = min(self.config.window if self.config.stage != "stage1" else 12, MAX_WINDOW, count)
        sampling = SamplingSettings(
            steps, guidance, window_length=window, overlap=min(3, window - 1), seed=settings.seed
        )
        context = RunContext(device=self.device, dtype=self.dtype)
        return truth, sample_frames(
            networks, truth[0], clip.speech, clip.poses, sampling, frames=count, context=context
        )


def measure(truth: np.ndarray, made: np.ndarray, clip: LoadedClip, audio: Any) -> dict[str, float]:
    """PSNR and SSIM of a render, its error on hands and body, and how the mouth follows the voice.

    Args:
        truth, made: uint8 `[F, H, W, 3]`.
        clip: whose poses and sound they have.
        audio: waveform and sample rate, if there is any.

    Returns:
        `psnr` in dB and `ssim` (absent without torchmetrics), of a headshot's picture without its padding;
        `hands_psnr`, weighted by Gaussians on the hands' points; `mouth`, the correlation of the mouth's change from
        frame to frame with the loudness (absent without lips or voice).
    """
    a, b = as_tensor(truth), as_tensor(made)
    rows, columns = without_padding(clip.record, *truth.shape[1:3])
    inside = a[..., rows, columns], b[..., rows, columns]
    found = {"psnr": psnr(*inside)}
    try:
        found["ssim"] = ssim(*inside)
    except MissingPackageError as error:
        logger.info("%s", error)
    points, weights = hand_and_body_points(clip.poses.take(range(len(truth))), truth.shape[2], truth.shape[1])
    hands = torch.from_numpy(points[:, 8:]).float(), torch.from_numpy(weights[:, 8:]).float()
    heat = gaussian_map(*hands, truth.shape[1], truth.shape[2], sigma=0.02 * truth.shape[2])
    if heat.sum() > 0:
        squared_error = float(((a - b).square().mean(dim=1) * heat).sum() / heat.sum())
        found["hands_psnr"] = -10 * float(np.log10(max(squared_error, 1e-10)))
    mouth = None if audio is None else mouth_follows_voice(made, clip, audio)
    return found if mouth is None else {**found, "mouth": mouth}


def without_padding(record: ClipRecord, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a headshot's own picture: its padding counts nowhere in training, and may become anything."""
    if not record.headshot:
        return slice(None), slice(None)
    left, top, right, bottom = record.head_box
    return slice(round(top * height), round(bottom * height)), slice(round(left * width), round(right * width))


def mouth_follows_voice(frames: np.ndarray, clip: LoadedClip, audio: tuple[torch.Tensor, int]) -> float | None:
    """Correlation over time of the mouth region's change with the voice's loudness.

    None where one is constant, or the mouth lies outside the picture.
    """
    height, width = frames.shape[1:3]
    box = region_box(clip.poses, "lips", width, height)
    if box is None or len(frames) < 3:
        return None
    rows = slice(max(0, int(box.top * height)), max(0, int(np.ceil(box.bottom * height))))
    columns = slice(max(0, int(box.left * width)), max(0, int(np.ceil(box.right * width))))
    region = frames[:, rows, columns].astype(np.float32)
    if not region.size:
        return None
    change = np.abs(np.diff(region, axis=0)).mean(axis=(1, 2, 3))
    loudness = frame_levels(*audio, clip.record.fps, len(frames))[1:]
    if change.std() < 1e-9 or loudness.std() < 1e-9:
        return None
    return float(np.corrcoef(change, loudness)[0, 1])


def make_strip(*clips: np.ndarray, captions: Sequence[str] = ()) -> np.ndarray:
    """Some frames of clips of one length side by side, the first clip on top; uint8.

    Args:
        clips: uint8 `[F, H, W, 3]` each.
        captions: a line over each clip; none without.
    """
    rows = [frame_strip(frames, STRIP_PICTURES) for frames in clips]
    for place, caption in zip(range(len(rows)), captions):
        rows[place] = np.concatenate([caption_bar(caption, rows[place].shape[1]), rows[place]])
    return np.concatenate(rows, axis=0)


def caption_bar(text: str, width: int) -> np.ndarray:
    """White text on dark grey, uint8 `[h, width, 3]`; smaller where the width is."""
    size = int(np.clip(width / 60, 11, 28))
    bar = Image.new("RGB", (width, round(1.7 * size)), (32, 33, 36))
    ImageDraw.Draw(bar).text((size // 2, round(0.2 * size)), text, fill="white", font=ImageFont.load_default(size))
    return np.asarray(bar)
